"""Asks the kernel which sets of a table hold an address: as a packet's lookup would, and without reading the sets."""

from __future__ import annotations

from contextlib import closing
from typing import TYPE_CHECKING

from fwbouncer.core.model import FOREVER, NEVER_BLOCK, Family, Millis, SetKey
from fwbouncer.errors import KernelBusy, NoSuchObject
from fwbouncer.kernel import elements, standing, wire
from fwbouncer.kernel.backend import Held
from fwbouncer.kernel.found import target_of
from fwbouncer.kernel.nft import Verb, request
from fwbouncer.kernel.socket import NetlinkSocket

if TYPE_CHECKING:
    from collections.abc import Iterator

    from fwbouncer.config.schema import Nft
    from fwbouncer.kernel.standing import Standing

_WORD = {Family.V4: "ip", Family.V6: "ip6"}
_TRIES = 5


def holders(place: Nft, address: bytes, now: Millis) -> list[Held]:
    """Return the sets that hold an address, with what stands around them now. Raises KernelError."""
    for attempt in range(_TRIES):
        try:
            with closing(NetlinkSocket.open()) as sock:
                return list(_holders(sock, place, address, now))
        except KernelBusy:  # somebody changed rules while they were read
            if attempt == _TRIES - 1:
                raise
    raise AssertionError("unreachable")


def _holders(sock: NetlinkSocket, place: Nft, address: bytes, now: Millis) -> Iterator[Held]:
    table = standing.read(sock, place.family, place.table)
    for name, there in table.sets.items():
        target = target_of(place, name, there)
        if target is None:
            continue
        left = _left(sock, place, name, address)
        if left is not None:
            where = f"{_WORD[place.family]} {place.table} {name}"
            yield Held(target, where, min(now + left, FOREVER), tuple(_rules(table, target)))


def _left(sock: NetlinkSocket, place: Nft, name: str, address: bytes) -> Millis | None:
    """Return for how long a set holds an address still; None if it doesn't.

    A set of intervals answers for any address in one of them with the element that the interval starts with.
    """
    key = wire.nested(1, wire.nested(1, wire.attribute(1, address)))
    head = wire.text(1, place.table) + wire.text(2, name)
    about = f"look up an address in set {name}"
    ask = request(
        Verb.GET_ELEMENT, place.family, head, wire.nested(3, key), flags=wire.NLM_F_ACK, about=about
    )
    try:
        for reply in sock.dump(ask):
            for _, end, left in elements.read(reply.payload, place.family, tagged=False):
                if not end:
                    return left
    except NoSuchObject:
        return None
    return None


def _rules(table: Standing, target: SetKey) -> Iterator[str]:
    """Name the rules that use a set, by their chains and the comments that we gave them."""
    word = "never blocked" if target.group == NEVER_BLOCK else f"banned by {target.group}"
    for name, chain in table.chains.items():
        if any(rule.startswith(f"{word} [") for rule in chain.rules):
            yield f"{name}: {word}"
