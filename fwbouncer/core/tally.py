"""Totals of packets that never fall, made from the kernel's counters, which start over now and then.

A counter ends with what holds it: a table that somebody flushed, a rule that was written anew, a boot. What it had
counted since the last reading is lost then; what it had at that reading is not.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple, TypeAlias

from fwbouncer.core.model import Family
from fwbouncer.core.names import OTHER

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

MOST = 512  # totals; the LAPI decides how many origins there are


class Traffic(NamedTuple):
    """Packets and their bytes."""

    packets: int = 0
    bytes: int = 0

    def plus(self, other: Traffic) -> Traffic:
        """Return the sum."""
        return Traffic(self.packets + other.packets, self.bytes + other.bytes)

    def minus(self, other: Traffic) -> Traffic:
        """Return what is more here; never less than nothing."""
        return Traffic(max(0, self.packets - other.packets), max(0, self.bytes - other.bytes))


class CounterKey(NamedTuple):
    """One counter of the kernel's. A group of sets may have several, told apart by `part`."""

    group: str
    family: Family
    part: str = ""


class Reading(NamedTuple):
    """What a counter showed. One with another `life` is another counter, which began at zero."""

    life: int
    traffic: Traffic


Totals: TypeAlias = dict[tuple[str, Family], Traffic]


class Tally:
    """The totals by group and family, and each counter's last reading."""

    def __init__(
        self, totals: Totals | None = None, last: Mapping[CounterKey, Reading] | None = None
    ) -> None:
        self.totals: Totals = totals or {}
        self.last: dict[CounterKey, Reading] = dict(last or {})

    def take(self, readings: Iterable[tuple[CounterKey, Reading]]) -> bool:
        """Add what was counted since the last reading; returns whether a counter had started over.

        A counter that is not read this time is taken to stand still: whether it is gone shows once it is read again.
        """
        restarted = False
        for counter, now in _joined(readings).items():
            before = self.last.get(counter)
            goes_on = before is not None and _goes_on(before, now)
            restarted |= before is not None and not goes_on
            self._add(counter, now.traffic.minus(before.traffic) if before and goes_on else now.traffic)
            if before is not None or len(self.last) < MOST:
                self.last[counter] = now
        return restarted

    def forget(self) -> None:
        """Note that all counters are gone; those that come will have begun at zero."""
        self.last.clear()

    def _add(self, counter: CounterKey, more: Traffic) -> None:
        place = (counter.group, counter.family)
        if place not in self.totals and len(self.totals) >= MOST:
            place = (OTHER, counter.family)
        self.totals[place] = self.totals.get(place, Traffic()).plus(more)


def since(totals: Totals, before: Mapping[tuple[str, Family], Traffic]) -> Totals:
    """Return by how much totals have grown."""
    return {place: traffic.minus(before.get(place, Traffic())) for place, traffic in totals.items()}


def _goes_on(before: Reading, now: Reading) -> bool:
    packets, octets = now.traffic
    return before.life == now.life and packets >= before.traffic.packets and octets >= before.traffic.bytes


def _joined(readings: Iterable[tuple[CounterKey, Reading]]) -> dict[CounterKey, Reading]:
    """Make one of several rules that count for the same."""
    found: dict[CounterKey, Reading] = {}
    for counter, reading in readings:
        other = found.get(counter)
        if other is not None:
            reading = Reading(reading.life, reading.traffic.plus(other.traffic))  # noqa: PLW2901 - the sum
        found[counter] = reading
    return found


def renamed(totals: Totals, name: Callable[[str], str]) -> Totals:
    """Return totals under other names; those that get the same name are added up."""
    found: Totals = {}
    for (group, family), traffic in totals.items():
        place = (name(group), family)
        found[place] = found.get(place, Traffic()).plus(traffic)
    return found
