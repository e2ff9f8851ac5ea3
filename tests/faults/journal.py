"""What happened, in order of time: the one thing that the threads of the fault runner share."""

from __future__ import annotations

import heapq
import itertools
import threading
import time
from collections import Counter, deque
from dataclasses import dataclass, field
from typing import Any


@dataclass(order=True, slots=True)
class Event:
    """Something that the model must know."""

    at: float
    order: int
    kind: str = field(compare=False)
    what: Any = field(compare=False)


class Journal:
    """Takes events from any thread; hands them out in order."""

    def __init__(self) -> None:
        self.began = time.monotonic()
        self.steps: deque[tuple[float, str]] = deque(maxlen=40)  # in words, for who must understand a failure
        self.counted: Counter[str] = Counter()
        self.slow: dict[str, float] = {}
        self._events: list[Event] = []
        self._order = itertools.count()
        self._lock = threading.Lock()

    def note(self, at: float, kind: str, what: Any = None) -> None:
        """Add an event."""
        with self._lock:
            heapq.heappush(self._events, Event(at, next(self._order), kind, what))

    def until(self, at: float) -> list[Event]:
        """Take out the events up to a time."""
        taken = []
        with self._lock:
            while self._events and self._events[0].at <= at:
                taken.append(heapq.heappop(self._events))
        return taken

    def step(self, kind: str, words: str = "") -> None:
        """Remember a step; it counts under its kind."""
        self.counted[kind] += 1
        self.remark(f"{kind} {words}".strip())

    def remark(self, words: str) -> None:
        """Remember something that is no step of its own."""
        self.steps.append((time.monotonic(), words))

    def slowest(self, what: str, seconds: float) -> None:
        """Remember how long something took at most."""
        self.slow[what] = max(seconds, self.slow.get(what, 0.0))

    def history(self) -> str:
        """Write out the last steps."""
        return "\n".join(f"  {at - self.began:8.3f}  {words}" for at, words in self.steps)
