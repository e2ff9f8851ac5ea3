"""Holds every packet against the model, a little later than it was sent, when all that bears on it is known."""

from __future__ import annotations

import time
from collections import Counter, deque
from typing import TYPE_CHECKING, Any

from tests.faults.addresses import WATCHED, Watched

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from tests.faults.journal import Event, Journal
    from tests.faults.model import Model
    from tests.faults.runclock import RunClock
    from tests.faults.terms import Page

Row = tuple[int, float, float, bool]
BEHIND = 0.5  # seconds; by then every thread has told what it saw
VAGUE = 1.0  # seconds; of a packet that may have met the rules so long after it was sent nobody can tell who was banned


class Broken(AssertionError):
    """A promise was broken."""


def deeds(model: Model) -> dict[str, Callable[[Any, float], None]]:
    """Return what each kind of event does to the model."""
    spares = model.spares
    return {
        "make": lambda what, _: model.make(what),
        "end": model.end,
        "written": lambda what, _: model.written(what),
        "honest": lambda _, __: None,
        "faulty": lambda _, __: None,
        "started": lambda _, at: model.started(at),
        "lost": lambda _, at: model.lost(reload=False, at=at),
        "unheard": lambda _, at: model.unheard(at),
        "reload": lambda _, at: model.lost(reload=True, at=at),
        "saved": lambda _, __: model.saved(),
        "spoilt": lambda _, at: model.spoilt(at),
        "wiped": lambda _, at: model.wiped(at),
        "trouble": lambda _, at: model.trouble(at),
        "trouble over": lambda _, at: model.trouble_over(at),
        "unblocked": lambda what, _: spares.unblocked(what),
        "cancelled": lambda what, _: spares.cancelled(*what),
        "relisted": spares.relisted,
    }


class Judge:
    """Feeds events and packets to the model in order of time. `worst` and `counted` are what is printed at the end."""

    def __init__(self, journal: Journal, model: Model, clock: RunClock) -> None:
        self.counted: Counter[str] = Counter()
        self.worst: dict[str, float] = dict.fromkeys(("bite", "repair", "release"), 0.0)
        self._journal = journal
        self._model = model
        self._clock = clock
        self._rows: deque[Row] = deque()
        self._events: deque[Event] = deque()
        self._deeds = deeds(model) | {"sent": self._sent}

    def take(self, rows: Sequence[Row]) -> None:
        """Take packets, in the order in which they were sent."""
        self._rows.extend(rows)

    def proceed(self) -> None:
        """Judge what can be judged by now."""
        horizon = min(self._clock.last, time.monotonic() - BEHIND)
        self._events.extend(self._journal.until(horizon))
        edge = self._model.tolerance.edge
        while self._rows and self._rows[0][2] + edge < horizon:
            row = self._rows.popleft()
            while self._events and self._events[0].at <= row[2] + edge:
                self._happen(self._events.popleft())
            if row[2] - row[1] > VAGUE:
                self.counted["vague"] += 1
                continue
            self._model.advance(row[1])
            self._judge(row)

    def _happen(self, event: Event) -> None:
        self._model.advance(event.at)
        self._deeds[event.kind](event.what, event.at)

    def _sent(self, page: Page, at: float) -> None:
        self.counted["snapshots" if page.startup else "deltas"] += 1
        self._model.sent(page, at)

    def _judge(self, row: Row) -> None:
        which, begin, end, arrived = row
        source, model = WATCHED[which], self._model
        spared = model.spares.may_pass(source.address, begin, end)
        claim = None if spared else model.must_block(source.address, begin, end)
        if arrived:
            self.counted["passed"] += 1
            if claim is not None:
                self._break(f"LEAK: a packet from {source.text} passed", begin, f"{claim} forbids it")
            if not spared:
                self._remember("bite", model.unbitten(source.address, begin))
                self._remember("repair", model.unrepaired_for(source.address, begin))
        else:
            self.counted["blocked"] += 1
            self._dropped(source, begin, end)
        self._count(row, forbidden=claim is not None)

    def _dropped(self, source: Watched, begin: float, end: float) -> None:
        model = self._model
        why = model.must_pass(source.address, begin, end)
        if why is None and model.may_block(source.address, begin, end) is None:
            why = f"nothing bans it: {[c for c in model.claims.values() if source.address in c.network]}"
        if why is not None:
            self._break(f"LOCK-OUT: a packet from {source.text} was dropped", begin, why)
        self._remember("release", model.overstayed(source.address, begin))

    def _count(self, row: Row, *, forbidden: bool) -> None:
        """Count for how many packets there was no choice."""
        which, begin, end, arrived = row
        source = WATCHED[which].address
        if forbidden:
            self.counted["forbidden"] += 1
        elif arrived and self._model.must_pass(source, begin, end) is not None:
            self.counted["never to be blocked"] += 1
        elif arrived and self._model.may_block(source, begin, end) is None:
            self.counted["free"] += 1

    def _remember(self, what: str, seconds: float) -> None:
        self.worst[what] = max(seconds, self.worst[what])

    def _break(self, what: str, at: float, why: str) -> None:
        raise Broken(f"{what} at {at - self._journal.began:.3f}: {why}")
