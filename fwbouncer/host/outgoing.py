"""Which ports this host's own connections may come from."""

from __future__ import annotations

from pathlib import Path

from fwbouncer.core.policy import OUTGOING
from fwbouncer.core.ports import Ports

# One range for both families.
_RANGE = Path("/proc/sys/net/ipv4/ip_local_port_range")


def ports(path: Path = _RANGE) -> Ports:
    """Read the kernel's range; where a service sees nothing of /proc/sys, it is the usual one."""
    try:
        first, last = map(int, path.read_text().split())
        return Ports.of((first, last))
    except (OSError, ValueError):
        return OUTGOING
