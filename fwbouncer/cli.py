"""The command line: arguments in, exit code out. What goes wrong is told in a line, never by a traceback."""

from __future__ import annotations

import argparse
import os
import sys
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

from fwbouncer import __version__
from fwbouncer.commands import COMMANDS, check, run
from fwbouncer.errors import FwbouncerError
from fwbouncer.exits import FAILED, FINE, WRONG, code_of, words_of

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence


def entry() -> None:
    """Run the command and leave with its code."""
    sys.exit(main(sys.argv[1:]))


def main(arguments: Sequence[str]) -> int:
    """Run the command that `arguments` ask for and return its exit code."""
    try:
        code = _dispatch(arguments)
        if sys.stdout is not None:  # it is None where the caller closed it
            sys.stdout.flush()  # here, where an error has a handler
    except KeyboardInterrupt:
        _complain(["interrupted"])
        return FAILED
    except BrokenPipeError:  # who reads has seen enough
        _drop_output()
        return FAILED
    except (FwbouncerError, OSError) as error:
        _drop_output()
        _complain(words_of(error))
        return code_of(error)
    return code


def _dispatch(arguments: Sequence[str]) -> int:
    parser = make_parser()
    options = parser.parse_args([_one_dash(argument) for argument in arguments])
    if options.version:
        print(f"fwbouncer {__version__}")  # noqa: T201 - what was asked for
        return FINE
    chosen = _chosen(options)
    if chosen is None:
        parser.print_help(sys.stderr)
        return WRONG
    return chosen(options)


def _chosen(options: argparse.Namespace) -> Callable[[argparse.Namespace], int] | None:
    """Return what is to be done. The incumbent's flags go ahead of a command; a file alone is to be run."""
    if options.show:
        return check.show
    if options.test:
        return check.test
    if options.command is None:
        return None if options.config is None else run.COMMAND.run
    return next(each.run for each in COMMANDS if each.name == options.command)


def make_parser() -> argparse.ArgumentParser:
    """Return the whole command line; help, manual pages and completion are made of it."""
    parser = argparse.ArgumentParser(
        prog="fwbouncer",
        description="Keeps CrowdSec's bans in the kernel's packet filter. With -c alone it runs, like `run`.",
        allow_abbrev=False,
    )
    _common(parser)
    parser.add_argument("-t", dest="test", action="store_true", help="check the configuration and exit")
    parser.add_argument("-T", dest="show", action="store_true", help="show the merged configuration and exit")
    # Go's flags have one dash, also long ones.
    parser.add_argument(
        "-V", "--version", "-version", dest="version", action="store_true", help="show the version and exit"
    )
    parser.set_defaults(config=None, verbose=False, control_socket=None)
    commands = parser.add_subparsers(dest="command", metavar="COMMAND", title="commands")
    for each in COMMANDS:
        command = commands.add_parser(
            each.name,
            help=each.summary,
            description=each.summary,
            epilog=each.more or None,
            formatter_class=argparse.RawDescriptionHelpFormatter,
            allow_abbrev=False,
        )
        _common(command)
        each.arguments(command)
        if each.json:
            command.add_argument("--json", action="store_true", help=each.json)
        if each.asks:
            _optional(
                command, "--control-socket", metavar="PATH", type=Path, help="the daemon's control socket"
            )
    return parser


def _common(parser: argparse.ArgumentParser) -> None:
    """Add the flags that may stand in front of a command and behind it."""
    _optional(parser, "-c", "--config", metavar="FILE", type=Path, help="the configuration file")
    _optional(parser, "-v", "--verbose", action="store_true", help="log at level debug")


def _optional(parser: argparse.ArgumentParser, *names: str, **more: Any) -> None:
    # Without a default of its own, a flag that isn't there doesn't undo the one in front of the command.
    parser.add_argument(*names, default=argparse.SUPPRESS, **more)


def _one_dash(argument: str) -> str:
    """Take two dashes for one where Go does: `--c FILE` is `-c FILE`."""
    short = argument[:3] in ("--c", "--t", "--T", "--v", "--V") and argument[3:4] in ("", "=")
    return argument[1:] if short else argument


def _complain(lines: Sequence[str]) -> None:
    for line in lines:
        with suppress(OSError, ValueError):
            print(f"fwbouncer: {line}", file=sys.stderr)  # noqa: T201 - the command's own words


def _drop_output() -> None:
    """Print what can still be printed; let the rest go nowhere, or the interpreter complains at its end."""
    try:
        sys.stdout.flush()
    except AttributeError:
        return  # there is no output at all
    except (OSError, ValueError):
        with suppress(OSError, ValueError):
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
