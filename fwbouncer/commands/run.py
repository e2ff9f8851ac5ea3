"""The command `run`: becomes the daemon."""
# ruff: noqa: PLC0415 - what runs brings YAML, logging and the daemon along

from __future__ import annotations

from typing import TYPE_CHECKING

from fwbouncer.commands.command import Command

if TYPE_CHECKING:
    import argparse


def _run(options: argparse.Namespace) -> int:
    from fwbouncer.commands import running

    return running.run(options)


COMMAND = Command("run", "Run the bouncer in the foreground.", _run)
