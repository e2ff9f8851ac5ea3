"""`python3 -m fwbouncer` is `fwbouncer`."""

from fwbouncer.cli import entry

entry()
