"""fwbouncer's command line as data, read from its own parser: what manual pages and completion are made of."""

# ruff: noqa: INP001, SLF001 - beside the scripts that use it; argparse tells what it knows only by such names
from __future__ import annotations

import argparse
import sys
from dataclasses import dataclass
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[2]))

from fwbouncer.cli import make_parser
from fwbouncer.commands import COMMANDS


@dataclass(frozen=True)
class Option:
    """A flag with its names, or a positional argument without any."""

    names: tuple[str, ...]
    value: str  # what its value is called; empty: it takes none
    text: str
    file: bool = False  # its value is a path
    choices: tuple[str, ...] = ()
    optional: bool = False  # a positional argument that may be left out


@dataclass(frozen=True)
class Command:
    """A command with everything that it takes besides the options of all."""

    name: str
    text: str
    more: str
    options: tuple[Option, ...]


@dataclass(frozen=True)
class CommandLine:
    """All of it: the options in front of a command, those that every command takes, too, and the commands."""

    text: str
    common: tuple[Option, ...]
    alone: tuple[Option, ...]
    commands: tuple[Command, ...]


def read() -> CommandLine:
    """Walk over the parser."""
    parser = make_parser()
    subparsers = next(a for a in parser._actions if isinstance(a, argparse._SubParsersAction))
    front = [_option(a) for a in parser._actions if a is not subparsers]
    commands = [_command(each.name, each.summary, subparsers.choices[each.name]) for each in COMMANDS]
    in_all = set(front).intersection(*(command.options for command in commands))
    common = tuple(option for option in front if option in in_all)
    return CommandLine(
        text=parser.description or "",
        common=common,
        alone=tuple(option for option in front if option not in in_all),
        commands=tuple(
            Command(c.name, c.text, c.more, tuple(o for o in c.options if o not in in_all)) for c in commands
        ),
    )


def _command(name: str, summary: str, parser: argparse.ArgumentParser) -> Command:
    return Command(name, summary, parser.epilog or "", tuple(map(_option, parser._actions)))


def _option(action: argparse.Action) -> Option:
    takes = action.nargs != 0
    choices = tuple(map(str, action.choices or ()))
    value = action.metavar if isinstance(action.metavar, str) else "|".join(choices) or action.dest.upper()
    text = "" if action.help is argparse.SUPPRESS else action.help or ""
    return Option(
        names=tuple(action.option_strings),
        value=value if takes else "",
        text=text % {"default": action.default} if "%(" in text else text,
        file=takes and action.type is Path,
        choices=choices,
        optional=action.nargs in ("?", "*", argparse.REMAINDER),
    )
