"""Matches by sets that belong to one rule and come and go with it: ports, before translation and behind it; blocks."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from fwbouncer.core.ports import LAST, Ports
from fwbouncer.kernel import expressions as match
from fwbouncer.kernel import nft, wire
from fwbouncer.kernel.nft import KEY_TYPE, Verb, request
from fwbouncer.kernel.wire import NLM_F_CREATE, Message

if TYPE_CHECKING:
    from collections.abc import Iterator

    from fwbouncer.config.schema import Nft
    from fwbouncer.core.ports import Span
    from fwbouncer.kernel.near import Blocks

_NAME = "__set%d"  # the kernel puts a number in
_PROTOCOL, _SERVICE = (12, 1), (13, 2)  # what nft prints as inet_proto and inet_service, and their sizes
_TCP, _UDP = 6, 17
_NUMBERS = 1 << 16  # the sets of one table; a transaction with both tables knows them apart
# User data of a set: its keys are in network order.
_BIG_ENDIAN = b"\x00\x04\x02\x00\x00\x00"


@dataclass(frozen=True, slots=True)
class Anonymous:
    """A set without a name, known by its number while the transaction that makes it lasts."""

    number: int
    kind: tuple[int, int]  # key type and size
    spans: tuple[Span, ...] = ()
    blocks: Blocks | None = None  # instead of spans

    @property
    def contents(self) -> bytes:
        """Return what tells this set from another in the same place."""
        return self.blocks.digest if self.blocks else repr(self).encode()

    @property
    def count(self) -> int:
        """Say how many elements it has, where each is a single one."""
        return self.blocks.count if self.blocks else len(self.spans)

    @property
    def interval(self) -> bool:
        """Tell whether it holds ranges."""
        return any(first != last for first, last in self.spans)


@dataclass(frozen=True, slots=True)
class Matcher:
    """Expressions and the sets that they look into."""

    expressions: bytes
    sets: tuple[Anonymous, ...] = ()


class Matchers:
    """Makes them for one table, each set with a number of its own."""

    def __init__(self, place: Nft) -> None:
        self._family = place.family
        self._number = place.family.value * _NUMBERS

    def sent_to(self, ports: Ports, *, tcp_alone: bool = False) -> tuple[Matcher, ...]:
        """Match the port in the packet: what it was sent to, where nothing has translated it yet."""
        return (self._looked_up(match.destination_port(), ports, tcp_alone),)

    def meant_for(self, ports: Ports, *, tcp_alone: bool = False) -> tuple[Matcher, ...]:
        """Match the port that the peer asked for, whatever it was translated to.

        That is what tracking remembers of a connection; a packet that isn't tracked has been translated by nothing.
        """
        original = match.is_from_opener() + match.original_port()
        untracked = match.is_untracked() + match.destination_port()
        return (
            self._looked_up(original, ports, tcp_alone),
            self._looked_up(untracked, ports, tcp_alone),
        )

    def outside(self, blocks: Blocks) -> Matcher:
        """Match sources in none of these blocks."""
        self._number += 1
        kind = (KEY_TYPE[self._family], self._family.size)
        load = match.source(self._family) + match.masked(blocks.mask)
        made = Anonymous(self._number, kind, blocks=blocks)
        return Matcher(load + match.looked_up(_NAME, made.number, inverted=True), (made,))

    def _looked_up(self, load: bytes, ports: Ports, tcp_alone: bool) -> Matcher:
        services = self._set(_SERVICE, ports.spans)
        if tcp_alone:
            return Matcher(match.is_tcp() + load + match.looked_up(_NAME, services.number), (services,))
        protocols = self._set(_PROTOCOL, ((_TCP, _TCP), (_UDP, _UDP)))
        both = match.protocol() + match.looked_up(_NAME, protocols.number)
        return Matcher(both + load + match.looked_up(_NAME, services.number), (protocols, services))

    def _set(self, kind: tuple[int, int], spans: tuple[Span, ...]) -> Anonymous:
        self._number += 1
        return Anonymous(self._number, kind, spans)


def create(place: Nft, made: Anonymous) -> Iterator[Message]:
    """Yield what makes a set with its contents; the rule that uses it must follow in the same transaction."""
    (key_type, size), interval = made.kind, made.interval
    flags = nft.SET_ANONYMOUS | nft.SET_CONSTANT | (nft.SET_INTERVAL if interval else 0)
    head = wire.text(1, place.table) + wire.text(2, _NAME)
    form = (wire.u32(3, flags), wire.u32(4, key_type), wire.u32(5, size), wire.u32(10, made.number))
    # A set of which the kernel knows the size beforehand is a table without pointers; it is looked up much faster.
    size_known = () if interval else (wire.nested(9, wire.u32(1, made.count)),)
    order = wire.attribute(13, _BIG_ENDIAN)
    about = f"create a set of {made.count} for a rule"
    yield request(
        Verb.NEW_SET, place.family, head, *form, *size_known, order, flags=NLM_F_CREATE, about=about
    )
    elements = made.blocks.elements if made.blocks else b"".join(_elements(made, interval=interval))
    listed = wire.nested(3, elements) + wire.u32(4, made.number)
    yield request(Verb.NEW_ELEMENT, place.family, head, listed, flags=NLM_F_CREATE, about="fill that set")


def _elements(made: Anonymous, *, interval: bool) -> Iterator[bytes]:
    size = made.kind[1]
    for first, last in made.spans:
        yield wire.nested(1, wire.nested(1, wire.attribute(1, first.to_bytes(size, "big"))))
        if interval and last < LAST:  # behind the last port of all there is none
            end = wire.nested(1, wire.attribute(1, (last + 1).to_bytes(size, "big")))
            yield wire.nested(1, wire.u32(3, nft.ELEMENT_INTERVAL_END), end)
