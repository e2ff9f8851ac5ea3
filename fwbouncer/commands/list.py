"""The command `list`: the decisions in force, as they come from the daemon."""
# ruff: noqa: PLC0415 - imports stand where they are needed, for speed

from __future__ import annotations

import argparse
import sys
from typing import TYPE_CHECKING, Any

from fwbouncer.commands.command import Command
from fwbouncer.commands.places import socket_of
from fwbouncer.exits import FINE, clean

if TYPE_CHECKING:
    from collections.abc import Iterator

_LONGEST = 3650  # days
_MORE = """\
The list comes in the order in which the decisions came, while it is read. With --json each line is one object:
  id        the LAPI's number; null for a ban that was found in the kernel
  value     the address or network
  until     when it ends, RFC 3339 in UTC; left: the same in seconds from now
  origin, scenario, type    as the LAPI says them
  policy    the policy of the configuration that it falls under

examples:
  fwbouncer list --origin crowdsec --expiring-within 1h
  fwbouncer list --scenario '*ssh*' --range 198.51.100.0/24
  fwbouncer list --json | jq -r .value
"""


def _arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--origin", metavar="GLOB", help="only of origins like this: CAPI, 'cscli*'")
    parser.add_argument("--scenario", metavar="GLOB", help="only of scenarios like this: '*ssh*'")
    parser.add_argument("--type", metavar="GLOB", help="only of types like this: ban")
    parser.add_argument(
        "--range", metavar="ADDRESS", help="only what has addresses in common with this one or network"
    )
    family = parser.add_mutually_exclusive_group()
    family.add_argument("-4", dest="family", action="store_const", const=4, help="only IPv4")
    family.add_argument("-6", dest="family", action="store_const", const=6, help="only IPv6")
    parser.add_argument("--expiring-within", metavar="TIME", help="only what ends within 30m, 1h, 7d")
    parser.add_argument("--limit", metavar="N", type=_whole, help="no more than so many")
    parser.add_argument(
        "--sort",
        choices=("value", "left", "origin", "scenario"),
        help="sorted; waits until the list is complete",
    )


def _whole(text: str) -> int:
    if not (text.isascii() and text.isdigit() and 0 < len(text) < 12 and int(text)):
        raise argparse.ArgumentTypeError(f"'{clean(text[:40])}' is no whole number above 0")
    return int(text)


def _list(options: argparse.Namespace) -> int:
    from fwbouncer.control.client import stream

    request = _request(options)
    limit = request.pop("limit", None) if options.sort else None  # the first of the sorted list, not of ours
    pieces = stream(socket_of(options), "list", **request)
    if options.sort:
        pieces = _sorted(pieces, options.sort, limit)
    if options.json:
        for piece in pieces:
            sys.stdout.buffer.write(piece)
        return FINE
    from fwbouncer.control.table import Table

    table = Table(header=sys.stdout.isatty())
    for piece in pieces:
        sys.stdout.write(table.rows(piece))
    return FINE


def _request(options: argparse.Namespace) -> dict[str, Any]:
    from fwbouncer.commands.addresses import address
    from fwbouncer.commands.times import seconds

    wanted = {name: getattr(options, name) for name in ("origin", "scenario", "type", "family", "limit")}
    if options.range is not None:
        wanted["range"] = address(options.range)
    if options.expiring_within is not None:
        wanted["within"] = seconds(options.expiring_within, "--expiring-within", _LONGEST)
    return {name: value for name, value in wanted.items() if value is not None}


def _sorted(pieces: Iterator[bytes], by: str, limit: int | None) -> Iterator[bytes]:
    import json
    from ipaddress import ip_network

    lines = [line for piece in pieces for line in piece.splitlines(keepends=True)]

    def key(line: bytes) -> Any:
        value = json.loads(line)[by]
        if by != "value":
            return value
        network = ip_network(value)
        return network.version, network.network_address, network.prefixlen

    lines = sorted(lines, key=key)[:limit]
    for at in range(0, len(lines), 1000):
        yield b"".join(lines[at : at + 1000])


COMMAND = Command(
    "list",
    "List the decisions in force.",
    _list,
    arguments=_arguments,
    more=_MORE,
    asks=True,
    json="as JSON, an object a line",
)
