"""Where the commands find the configuration, and the daemon."""
# ruff: noqa: PLC0415 - the configuration's reader brings YAML along, and most commands never need it

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

from fwbouncer.errors import ConfigError

if TYPE_CHECKING:
    import argparse

CONFIG = Path("/etc/fwbouncer/fwbouncer.yaml")
INCUMBENTS = Path("/etc/crowdsec/bouncers/crowdsec-firewall-bouncer.yaml")
SOCKET = Path("/run/fwbouncer/control.sock")


def config_of(options: argparse.Namespace) -> Path:
    """Return the configuration file that was named, or the one that is installed."""
    if options.config is not None:
        named: Path = options.config
        return named
    return INCUMBENTS if not os.path.lexists(CONFIG) and os.path.lexists(INCUMBENTS) else CONFIG


def socket_of(options: argparse.Namespace) -> Path:
    """Return where to ask. The usual socket is known without a right to read the configuration."""
    named: Path | None = options.control_socket
    if named is not None:
        return named
    if options.config is None and SOCKET.exists():
        return SOCKET
    from fwbouncer.config.load import draft

    try:
        # A wrong configuration names it too: the daemon was started with an earlier one.
        return draft(config_of(options), os.environ).control_socket
    except ConfigError:
        if options.config is not None:
            raise
        return SOCKET
