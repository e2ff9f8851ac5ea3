"""The command `status`: what the running daemon does, as a page or as JSON."""
# ruff: noqa: PLC0415, T201 - imports stand where they are needed, for speed; and commands print

from __future__ import annotations

from typing import TYPE_CHECKING

from fwbouncer.commands.command import Command
from fwbouncer.commands.places import socket_of
from fwbouncer.exits import FINE

if TYPE_CHECKING:
    import argparse


def _status(options: argparse.Namespace) -> int:
    from fwbouncer.control.client import ask

    answer = ask(socket_of(options), "status")
    if options.json:
        import json

        del answer["protocol"]
        print(json.dumps(answer, indent=2))
    else:
        from fwbouncer.control.page import render
        from fwbouncer.control.paint import wanted

        print(render(answer, color=wanted()), end="")
    return FINE


COMMAND = Command(
    "status", "Show what the running daemon does.", _status, asks=True, json="as one JSON object"
)
