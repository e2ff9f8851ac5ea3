"""The command `unblock`: lets an address pass for a while, lists who is let pass, ends it early."""
# ruff: noqa: PLC0415, T201 - imports stand where they are needed, for speed; and commands print

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from fwbouncer.commands.command import Command
from fwbouncer.commands.places import socket_of
from fwbouncer.commands.times import seconds
from fwbouncer.control.words import span
from fwbouncer.errors import ConfigError
from fwbouncer.exits import FINE, clean

if TYPE_CHECKING:
    import argparse

LONGEST = 30  # days; whoever needs longer writes it into never_block
_MORE = """\
examples:
  fwbouncer unblock 198.51.100.7 --for 30m
  fwbouncer unblock 2001:db8::/48 --for 7d
  fwbouncer unblock --list
  fwbouncer unblock --cancel 198.51.100.7
"""


def _arguments(parser: argparse.ArgumentParser) -> None:
    which = parser.add_mutually_exclusive_group(required=True)
    which.add_argument("address", nargs="?", metavar="ADDRESS", help="an address or a network")
    which.add_argument("--list", action="store_true", help="list who is unblocked, and for how long still")
    which.add_argument("--cancel", metavar="ADDRESS", help="let bans reach an address again")
    parser.add_argument(
        "--for", dest="span", default="1h", metavar="TIME", help="30m, 1h (unless given), 7d; at most 30d"
    )


def _unblock(options: argparse.Namespace) -> int:
    if options.list:
        answer = _ask(options)
        lines = [f"{address}  {span(left)} left" for address, left in answer.get("unblocked", {}).items()]
    elif options.cancel is not None:
        answer = _ask(options, cancel=_address(options.cancel))
        lines = [f"{answer.get('cancelled')} is no longer unblocked"]
    else:
        answer = _ask(
            options, address=_address(options.address), seconds=seconds(options.span, "--for", LONGEST)
        )
        lines = _told(answer)
    if options.json:
        import json

        del answer["protocol"]
        print(json.dumps(answer, indent=2))
    else:
        print("".join(clean(line) + "\n" for line in lines), end="")
    return FINE


def _ask(options: argparse.Namespace, **request: Any) -> dict[str, Any]:
    from fwbouncer.control.client import ask

    return ask(socket_of(options), "unblock", timeout=30, **request)


def _address(text: str) -> str:
    from fwbouncer.config.never_block import spared
    from fwbouncer.core.addresses import shown

    try:
        return shown(spared(text))
    except ValueError as error:
        raise ConfigError(str(error)) from None


def _told(answer: dict[str, Any]) -> list[str]:
    banned = answer.get("banned_by")
    bans = f"; it is banned by {', '.join(map(str, banned))}" if banned else "; nothing bans it now"
    lines = [f"{answer.get('address')} passes for {span(answer.get('seconds'))}{bans}"]
    if not answer.get("survives_restart"):
        lines.append("it could not be written down, so it ends with this daemon")
    return lines


COMMAND = Command(
    "unblock",
    "Let an address or network pass for a while, whatever bans it.",
    _unblock,
    arguments=_arguments,
    more=_MORE,
    asks=True,
    json="as one JSON object",
)
