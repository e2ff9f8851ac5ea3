"""What stands in the kernel: reads one family's table, without its elements."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from fwbouncer.errors import NoSuchObject
from fwbouncer.kernel import nft, wire
from fwbouncer.kernel.nft import Verb, request
from fwbouncer.kernel.wire import NLM_F_DUMP

if TYPE_CHECKING:
    from collections.abc import Iterator

    from fwbouncer.core.model import Family
    from fwbouncer.kernel.socket import NetlinkSocket

_COMMENT = 0  # the type of a comment in a rule's user data
# User data of a set that we made in the administrator's table: what nft shows as its comment.
MADE_HERE = b"\x07\x0afwbouncer\x00"


@dataclass(frozen=True, slots=True)
class StandingChain:
    """A chain as it stands; `rules` are its rules' comments in order, "" for a rule without."""

    hook: int | None
    priority: int
    accepts: bool
    rules: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class StandingSet:
    """A set as it stands."""

    flags: int
    key_type: int
    size: int = 0  # 0: no limit
    ours: bool = False  # made by us in the administrator's table


@dataclass(slots=True)
class Standing:
    """A table as it stands; `exists` is False for one that doesn't."""

    exists: bool = False
    flags: int = 0
    owner: int = 0  # port id of the socket that owns it
    chains: dict[str, StandingChain] = field(default_factory=dict)
    sets: dict[str, StandingSet] = field(default_factory=dict)
    counters: dict[str, tuple[int, int]] = field(default_factory=dict)  # packets, bytes


def read(sock: NetlinkSocket, family: Family, table: str) -> Standing:
    """Read a table's chains, rules, sets and counters. Raises KernelBusy where it changed meanwhile."""
    standing = Standing()
    for fields in _list(sock, Verb.GET_TABLE, family):
        if wire.string(fields[1]) == table:
            standing.exists = True
            standing.flags = wire.number(fields.get(2, b""))
            standing.owner = wire.number(fields.get(7, b""))
    if not standing.exists:
        return standing
    named = wire.text(1, table)
    try:
        rules = _rules(sock, family, named)
        standing.chains = _chains(sock, family, table, rules)
        for fields in _list(sock, Verb.GET_SET, family, named):
            standing.sets[wire.string(fields[2])] = _set(fields)
        standing.counters = counters(sock, family, table)
    except NoSuchObject:
        return Standing()  # it went while we read it
    return standing


def handle(sock: NetlinkSocket, family: Family, table: str) -> int:
    """Return the number that the kernel gave a table when it was made; 0 if there is none of that name."""
    for fields in _list(sock, Verb.GET_TABLE, family):
        if wire.string(fields[1]) == table:
            return int.from_bytes(fields.get(4, b""), "big")
    return 0


def counters(sock: NetlinkSocket, family: Family, table: str) -> dict[str, tuple[int, int]]:
    """Read a table's named counters: name -> packets, bytes."""
    found = {}
    for fields in _list(sock, Verb.GET_OBJECT, family, wire.text(1, table), wire.u32(3, nft.OBJECT_COUNTER)):
        if wire.string(fields[1]) == table:
            data = wire.table(fields[4])
            found[wire.string(fields[2])] = (wire.number(data[2]), wire.number(data[1]))
    return found


def _list(
    sock: NetlinkSocket, verb: Verb, family: Family, *filters: bytes
) -> Iterator[dict[int, memoryview]]:
    words = verb.name.lower().replace("get_", "list ") + "s"
    for reply in sock.dump(request(verb, family, *filters, flags=NLM_F_DUMP, about=words)):
        yield wire.table(reply.payload[4:])


def _rules(sock: NetlinkSocket, family: Family, named: bytes) -> dict[str, list[str]]:
    found: dict[str, list[str]] = {}
    for fields in _list(sock, Verb.GET_RULE, family, named):
        # Older kernels list the rules of all tables whatever is asked for.
        if wire.text(1, wire.string(fields[1])) == named:
            found.setdefault(wire.string(fields[2]), []).append(_comment(bytes(fields.get(7, b""))))
    return found


def _chains(
    sock: NetlinkSocket, family: Family, table: str, rules: dict[str, list[str]]
) -> dict[str, StandingChain]:
    found = {}
    for fields in _list(sock, Verb.GET_CHAIN, family):
        if wire.string(fields[1]) != table:
            continue
        name = wire.string(fields[3])
        place = wire.table(fields[4]) if 4 in fields else {}
        priority = int.from_bytes(place[2], "big", signed=True) if 2 in place else 0
        found[name] = StandingChain(
            hook=wire.number(place[1]) if 1 in place else None,
            priority=priority,
            accepts=wire.number(fields[5]) == 1 if 5 in fields else True,
            rules=tuple(rules.get(name, ())),
        )
    return found


def _set(fields: dict[int, memoryview]) -> StandingSet:
    described = wire.table(fields[9]) if 9 in fields else {}
    return StandingSet(
        flags=wire.number(fields.get(3, b"")),
        key_type=wire.number(fields.get(4, b"")),
        size=wire.number(described.get(1, b"")),
        ours=MADE_HERE in bytes(fields.get(13, b"")),
    )


def comment(text: str) -> bytes:
    """Pack a comment as a rule's user data, as nft writes it: type, length, text, NUL."""
    raw = text.encode() + b"\0"
    return bytes([_COMMENT, len(raw)]) + raw


def _comment(data: bytes) -> str:
    if len(data) < 2 or data[0] != _COMMENT or data[1] > len(data) - 2:
        return ""
    return wire.string(data[2 : 2 + data[1]])
