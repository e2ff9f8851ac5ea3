"""What packets pay: those that are let pass, by the number of bans and of origins, and a flood that is dropped.

Every contender has a host of its own, with its own rules (see `filled`), at the end of one wire (see `road`). All
hosts are measured in turns on one pinned core, a few hundred frames at a time; `none` has no rules, and tells what a
packet costs in any case. What sending costs is measured apart, and subtracted. Of each turn's times the lower quartile
counts: what is above it was disturbed.

"Tracked": the kernel tracks connections, as on a host whose administrator has rules with `ct state`. Otherwise nothing
asks for tracking, and fwbouncer runs with `protect.replies: drop`, which doesn't either.
"""

from __future__ import annotations

import contextlib
import random
import statistics
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from tests.benchmarks import filled, names
from tests.benchmarks.names import ACCEPTED, FLOOD, FORWARDED
from tests.benchmarks.road import BEHIND, HERE, PEERS, Road, pinned, road
from tests.benchmarks.static_lapi import StaticLapi
from tests.lab.frames import KINDS
from tests.lab.net import lone_host

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.benchmarks.bench import Bench
    from tests.benchmarks.contenders import Contender
    from tests.lab.frames import Volley

PART = names.PACKETS
NOBODY, SENDING = "none", "sending"
_VOLLEYS = 12  # a turn, of each kind to each host
_SOURCES = 256
_FULL = 1_000_000  # a run with this many bans is one


@dataclass(frozen=True, slots=True)
class Case:
    """One filling of the hosts."""

    size: int
    origins: int
    tracked: bool

    @property
    def words(self) -> str:
        """Say what it is, but for the size."""
        origins = "1 origin" if self.origins == 1 else f"{self.origins} origins"
        return f"{origins}, {names.TRACKED if self.tracked else names.UNTRACKED}"


def _cases(*sizes: int) -> tuple[Case, ...]:
    found = [Case(0, 1, tracked=True), Case(0, 1, tracked=False)]
    for size in sizes:
        found += [Case(size, 1, tracked=True), Case(size, 20, tracked=True), Case(size, 1, tracked=False)]
    return tuple(found)


CASES = {False: _cases(10_000), True: _cases(10_000, 1_000_000)}  # whether it is a full run


@dataclass
class Place:
    """A host with its contender; nobody's has none."""

    road: Road
    lapi: StaticLapi
    contender: Contender | None
    name: str
    volleys: dict[str, Volley] = field(default_factory=dict)


def run(bench: Bench) -> None:
    """Measure every case."""
    with _places(bench) as places:
        for case in CASES[_FULL in bench.sizes]:
            bench.tell(f"{case.size:,} bans of {case.words}")
            _fill(bench, places, case)
            _measure(bench, places, case)
            for place in places:
                place.road.clear()


@contextlib.contextmanager
def _places(bench: Bench) -> Iterator[list[Place]]:
    """Build a host for nobody and one for each contender in mode nftables."""
    with contextlib.ExitStack() as stack:
        sender = stack.enter_context(lone_host("send"))
        places = []
        makers = [seat.contender for seat in bench.seats if seat.name.endswith(" nftables")]
        for number, like in enumerate([None, *makers]):
            host = stack.enter_context(lone_host(f"pay{number}"))
            there = stack.enter_context(road(host, sender, number))
            lapi = stack.enter_context(contextlib.closing(StaticLapi(host)))
            contender = like and like.elsewhere(host, bench.folder / "packets")
            if contender:
                stack.callback(contender.end)
            places.append(Place(there, lapi, contender, like.name if like else NOBODY))
        yield places


def _fill(bench: Bench, places: list[Place], case: Case) -> None:
    bans = bench.bans(case.size)
    for place in places:
        if place.contender:
            filled.fill(place.contender, place.lapi, bench.folder, bans, case.origins, tracks=case.tracked)
        if case.tracked:
            place.road.track()
        place.road.end_here()


def _measure(bench: Bench, places: list[Place], case: Case) -> None:
    for version in (4, 6):
        hosts = [b.value for b in bench.bans(case.size) if b.family == version and not b.is_range]
        banned = random.Random(case.size).sample(hosts, min(_SOURCES, len(hosts)))
        for kind in KINDS:
            _compare(bench, places, case, ACCEPTED, kind, version, PEERS[version])
            _compare(bench, places, case, FORWARDED, kind, version, PEERS[version])
            if banned:
                _compare(bench, places, case, FLOOD, kind, version, banned)


def _compare(  # noqa: PLR0913 - which packets, and where
    bench: Bench, places: list[Place], case: Case, what: str, kind: str, version: int, sources: list[str]
) -> None:
    """Measure one kind of packet on all hosts in turns."""
    target = BEHIND if what == FORWARDED else HERE
    volleys = {place.name: place.road.volley(kind, sources, target) for place in places}
    roads = {place.name: place.road for place in places}
    roads[SENDING] = places[0].road
    volleys[SENDING] = places[0].road.astray(kind, sources, target)
    before = {place.name: place.road.tracked() for place in places}
    name = names.paid(what, kind, version, case.words)
    for _ in range(bench.times):
        times = _turn(roads, volleys)
        sending = times.pop(SENDING)
        for who, spent in times.items():
            bench.measures.add(PART, name, who, case.size, spent - sending)
        bench.measures.add(PART, name, SENDING, case.size, sending, "subtracted from the others")
    if what == FLOOD and case.tracked:
        words = f"{names.LEFT}, {kind}, IPv{version}, {case.words}"
        for place in places:
            left = max(0, place.road.tracked() - before[place.name])
            bench.measures.add(PART, words, place.name, case.size, left)


def _turn(roads: dict[str, Road], volleys: dict[str, Volley]) -> dict[str, float]:
    """Send to everybody some times over, in any order; returns nanoseconds a frame."""
    spent: dict[str, list[float]] = {name: [] for name in roads}
    order = list(roads)
    with pinned():
        for _ in range(_VOLLEYS):
            random.shuffle(order)
            for name in order:
                spent[name].append(roads[name].time(volleys[name]))
    return {name: statistics.quantiles(times, n=4)[0] for name, times in spent.items()}
