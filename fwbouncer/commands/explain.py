"""The command `explain`: why an address or a range is blocked, or why not; its exit code says which."""
# ruff: noqa: PLC0415, T201 - imports stand where they are needed, for speed; and commands print

from __future__ import annotations

from typing import TYPE_CHECKING

from fwbouncer.commands.command import Command
from fwbouncer.commands.places import socket_of
from fwbouncer.exits import FAILED, FINE, NOT_BLOCKED, PARTLY_BLOCKED

if TYPE_CHECKING:
    import argparse

_CODES = {"blocked": FINE, "not blocked": NOT_BLOCKED, "partly blocked": PARTLY_BLOCKED}
_MORE = """\
exit codes:
  0  blocked
  4  not blocked
  5  a range of which some addresses are blocked
  1  the daemon can't be asked; 2  wrong usage

The kernel itself is asked, not only what is remembered. With --json, besides others:
  verdict        blocked, not blocked, partly blocked
  ports          which the decisions close together: all, or a list
  decisions      id, value, origin, scenario, type, until, left (seconds), policy, ports, action; the first 20 of
                 decisions_total
  never_block    what lets it pass ahead of all bans: value, source, left
  kernel         sets that hold it, with the rules that use them
  sessions       how many TCP connections with it are open, or null
  difference     what the kernel lacks or has too much, or null

examples:
  fwbouncer explain 198.51.100.7
  fwbouncer explain 198.51.100.0/24 --json
  fwbouncer explain -q 198.51.100.7 && echo blocked
"""


def _arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("address", metavar="ADDRESS", help="an address or a network")
    parser.add_argument("-q", "--quiet", action="store_true", help="print nothing; the exit code says it")


def _explain(options: argparse.Namespace) -> int:
    from fwbouncer.commands.addresses import address
    from fwbouncer.control.client import ask

    answer = ask(socket_of(options), "explain", timeout=30, address=address(options.address))
    if options.json:
        import json

        del answer["protocol"]
        print(json.dumps(answer, indent=2))
    elif not options.quiet:
        from fwbouncer.control.explained import render
        from fwbouncer.control.paint import wanted

        print(render(answer, color=wanted()), end="")
    return _CODES.get(str(answer.get("verdict")), FAILED)


COMMAND = Command(
    "explain",
    "Say why an address or network is blocked, or why not.",
    _explain,
    arguments=_arguments,
    more=_MORE,
    asks=True,
    json="as one JSON object",
)
