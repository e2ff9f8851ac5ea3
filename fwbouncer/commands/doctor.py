"""The command `doctor`: looks the host over, and prints what is wrong and what mends it."""
# ruff: noqa: PLC0415, T201 - imports stand where they are needed, for speed; and commands print

from __future__ import annotations

import os
import shutil
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from fwbouncer.commands.command import Command
from fwbouncer.commands.places import config_of, socket_of
from fwbouncer.exits import FAILED, FINE

if TYPE_CHECKING:
    import argparse

_MORE = """\
It reads and changes nothing, with the daemon running or not; as root it sees most. The commands that it prints can be
copied into a root shell.

Exit codes: 0 there is no problem, notes and warnings aside; 1 there is one."""


def _doctor(options: argparse.Namespace) -> int:
    from fwbouncer.doctor.examine import examine
    from fwbouncer.doctor.finding import Severity
    from fwbouncer.doctor.gather import gather
    from fwbouncer.doctor.page import as_json, render

    findings = examine(gather(config_of(options), _socket(options), Path("/"), os.environ))
    if options.json:
        print(as_json(findings), end="")
    else:
        color = sys.stdout.isatty() and "NO_COLOR" not in os.environ
        print(render(findings, color=color, width=shutil.get_terminal_size().columns), end="")
    return FAILED if any(finding.severity is Severity.PROBLEM for finding in findings) else FINE


def _socket(options: argparse.Namespace) -> Path:
    """Return where to ask, also where the configuration can't be read: that is one of the findings."""
    from fwbouncer.commands.places import SOCKET
    from fwbouncer.errors import ConfigError

    try:
        return socket_of(options)
    except ConfigError:
        return SOCKET


COMMAND = Command(
    "doctor",
    "Look for what is wrong on this host, and say what mends it.",
    _doctor,
    more=_MORE,
    asks=True,
    json="as one JSON object",
)
