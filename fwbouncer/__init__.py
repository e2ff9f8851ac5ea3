"""CrowdSec's decisions, kept in the Linux kernel's packet filter."""

__version__ = "0.1.0"
