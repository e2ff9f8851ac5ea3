"""Asks the kernel whether bans are there, element by element: no list is read, and no write is held up by it.

A lookup of one element is answered under RCU, beside a transaction that is under way, and tells only what is
committed. So a few hundred elements, the first and the last among them, stand for all.
"""

from __future__ import annotations

import struct
import time
from typing import TYPE_CHECKING, Protocol

from fwbouncer.core.model import Family
from fwbouncer.errors import KernelError, NoSuchObject
from fwbouncer.kernel import nft, wire
from fwbouncer.kernel.ipset_numbers import NESTED, NET_ORDER, NFPROTO, PROTOCOL, SUBSYSTEM, Data, Top
from fwbouncer.kernel.ipset_socket import IpsetSocket
from fwbouncer.kernel.socket import NetlinkSocket

if TYPE_CHECKING:
    from collections.abc import Sequence

    from tests.benchmarks.page import Ban

PAUSE = 0.0005  # seconds between two looks: about what a measurement can be off
_IPSET_TEST = 11
_EXPIRATION = 5
_UNKNOWN = 1.0  # hours
_SET_COUNT = 20  # NFTA_SET_COUNT, from Linux 6.16 on


class Eye(Protocol):
    """What looks into one kind of sets."""

    def left(self, ban: Ban) -> float | None:
        """Return how many hours a ban has left, as far as the kernel tells; None where no set holds it."""

    def close(self) -> None:
        """Look no longer."""


class NftEye:
    """Looks into every set of addresses in the tables ip and ip6. `masked` where ranges are kept as ranges."""

    def __init__(self, *, masked: bool = True) -> None:
        self._sock = NetlinkSocket.open()
        self._masked = masked
        self._sets: dict[Family, list[tuple[str, str]]] = {}

    def left(self, ban: Ban) -> float | None:
        """See `Eye`."""
        family, key = Family(ban.family), ban.first
        for table, name in self._sets.get(family) or self._look_for_sets(family):
            if ban.is_range and self._masked and not name.endswith("-ranges"):
                continue
            element = wire.nested(3, wire.nested(1, wire.nested(1, wire.attribute(1, key))))
            ask = wire.text(1, table) + wire.text(2, name) + element
            request = nft.request(nft.Verb.GET_ELEMENT, family, ask, flags=wire.NLM_F_ACK, about="look")
            try:
                found = list(self._sock.dump(request))
            except NoSuchObject:
                continue
            if found:
                return _hours_left(found[0].payload)
        self._sets.pop(family, None)  # there may be more by now
        return None

    def count(self) -> int | None:
        """Count all elements where the kernel tells; a range counts as two, and so do never-blocked networks."""
        total = 0
        for family in Family:
            for fields in self._listed(family):
                if _SET_COUNT not in fields:
                    return None
                total += wire.number(fields[_SET_COUNT])
        return total

    def close(self) -> None:
        """See `Eye`."""
        self._sock.close()

    def _look_for_sets(self, family: Family) -> list[tuple[str, str]]:
        found = [(wire.string(f[1]), wire.string(f[2])) for f in self._listed(family)]
        self._sets[family] = [each for each in found if not each[1].endswith("never-block")]
        return self._sets[family]

    def _listed(self, family: Family) -> list[wire.Fields]:
        request = nft.request(nft.Verb.GET_SET, family, flags=wire.NLM_F_DUMP, about="list sets")
        return [wire.table(reply.payload[4:]) for reply in self._sock.dump(request, tolerant=True)]


class IpsetEye:
    """Looks into every ipset. `masked` where ranges are kept as ranges."""

    def __init__(self, *, masked: bool = True) -> None:
        self._sock = IpsetSocket.open()
        self._known: list[str] = []
        self._masked = masked

    def left(self, ban: Ban) -> float | None:
        """See `Eye`; this kernel interface doesn't tell how long."""
        if any(self._test(name, ban) for name in self._known):
            return _UNKNOWN
        self._known = self._sock.names()
        return None

    def close(self) -> None:
        """See `Eye`."""
        self._sock.close()

    def _test(self, name: str, ban: Ban) -> bool:
        key, family = ban.first, Family(ban.family)
        kind = wire.attribute({4: 1, 6: 2}[ban.family] | NET_ORDER, key)
        data = wire.attribute(Data.IP | NESTED, kind)
        if ban.is_range and self._masked:
            data += wire.u8(Data.PREFIX, int(ban.value.partition("/")[2]))
        body = (
            wire.u8(Top.PROTOCOL, PROTOCOL)
            + wire.text(Top.NAME, name)
            + wire.attribute(Top.DATA | NESTED, data)
        )
        payload = struct.pack("=BBH", NFPROTO[family], 0, 0) + body
        message = wire.Message(SUBSYSTEM | _IPSET_TEST, wire.NLM_F_ACK, payload, "look")
        try:
            for _ in self._sock.dump(message):
                pass
        except KernelError:
            return False
        return True


def wait_for(eye: Eye, bans: Sequence[Ban], *, until: int, hours: float | None = 0.0) -> int | None:
    """Return when the last of these bans was seen to last longer than so many hours, or (None) to be gone.

    Times are CLOCK_MONOTONIC's nanoseconds. Returns None where that didn't come about before `until`. Those that
    were seen once are asked for no more.
    """
    left = list(reversed(bans))
    while True:
        now = time.monotonic_ns()
        there = eye.left(left[-1])
        if (there is None) if hours is None else (there is not None and there > hours):
            left.pop()
            if not left:
                return now
        elif now > until:
            return None
        else:
            time.sleep(PAUSE)


def share(eye: Eye, bans: Sequence[Ban]) -> float:
    """Return what part of these bans is there."""
    return sum(eye.left(ban) is not None for ban in bans) / len(bans)


def _hours_left(payload: memoryview) -> float:
    listed = wire.table(wire.table(payload[4:])[3])
    element = wire.table(listed[1])
    expiration = element.get(_EXPIRATION)
    return wire.number(expiration) / 3_600_000 if expiration is not None else _UNKNOWN
