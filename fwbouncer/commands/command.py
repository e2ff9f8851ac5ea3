"""What a command of the command line is."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    import argparse
    from collections.abc import Callable


def _none(parser: argparse.ArgumentParser) -> None:
    """Add no arguments of its own."""
    del parser


class Command(NamedTuple):
    """One command. Help, manual page and completion are made of this, and of the arguments that it adds.

    Its module is imported by every start of the program, so that help is complete: what costs time (asyncio, httpx,
    pyroute2, rich, yaml, dataclasses) is imported in the functions that need it.
    """

    name: str
    summary: str  # one sentence, for the list of commands
    run: Callable[[argparse.Namespace], int]  # takes the parsed arguments, returns the exit code
    arguments: Callable[[argparse.ArgumentParser], None] = _none
    more: str = ""  # what help says below the arguments: exit codes, examples
    asks: bool = False  # it asks the running daemon, so it takes --control-socket
    json: str = ""  # it takes --json, and this is the help for that
