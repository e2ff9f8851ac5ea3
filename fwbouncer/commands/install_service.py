"""The command `install-service`: makes a service of an installation by pip, uv or pipx."""
# ruff: noqa: PLC0415, T201 - imports stand where they are needed, for speed; and commands print

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from fwbouncer.commands.command import Command
from fwbouncer.errors import FwbouncerError
from fwbouncer.exits import FINE, clean

if TYPE_CHECKING:
    import argparse

_MORE = """\
Writes the unit, the group that may read the configuration, and the configuration if there is none, and registers with
the CrowdSec on this host if there is one. Run it again after an upgrade. A package does all this by itself."""


def _arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--remove", action="store_true", help="stop the service and take its files away again"
    )


def _install(options: argparse.Namespace) -> int:
    from fwbouncer.host import service_files

    if os.geteuid() != 0:
        raise FwbouncerError("a service is installed by root: sudo, and the program's whole path")
    for line in service_files.remove() if options.remove else service_files.install():
        print(clean(line), flush=True)
    if not options.remove:
        service_files.register()
        print("now: systemctl enable --now fwbouncer")
    return FINE


COMMAND = Command(
    "install-service",
    "Make a systemd service of an installation by pip or uv.",
    _install,
    arguments=_arguments,
    more=_MORE,
)
