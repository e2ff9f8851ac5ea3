"""The command `demo`: becomes the script packaging/demo."""

from __future__ import annotations

import argparse
import os
import sys
from pathlib import Path

from fwbouncer.commands.command import Command
from fwbouncer.errors import FwbouncerError

DEMOS = (Path(__file__).parents[2] / "packaging" / "demo", Path("/usr/share/fwbouncer/packaging/demo"))


def _arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("arguments", nargs=argparse.REMAINDER, help="what the demo itself takes")


def _demo(options: argparse.Namespace) -> int:
    for script in DEMOS:
        if os.access(script, os.X_OK):
            sys.stdout.flush()
            os.execv(script, [str(script), *options.arguments])  # noqa: S606 - our own script, no shell needed
    raise FwbouncerError(
        f"the demo is not installed: neither {DEMOS[0]} nor {DEMOS[1]} can be run; see the README"
    )


COMMAND = Command(
    "demo", "Show a real ban, in namespaces of its own; needs root.", _demo, arguments=_arguments
)
