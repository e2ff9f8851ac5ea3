"""Tells on standard error what is being measured, how long it has been going on and about how long it will."""

from __future__ import annotations

import sys
import time

# Seconds that a part took for 1,000 bans and for each million more, in a run with six contenders.
_COSTS = {"cold": (40.0, 600.0), "idle": (60.0, 50.0), "change": (110.0, 150.0), "warm": (60.0, 200.0)}
_WHOLE = 200.0  # seconds, of a part that has sizes of its own


class Progress:
    """One run's; steps are named by part and size, 0 where a part has sizes of its own."""

    def __init__(self, steps: list[tuple[str, int]]) -> None:
        self._left = {step: _guess(*step) for step in steps}
        self._began = time.monotonic()
        self._done = 0.0
        self._now = ""

    def begin(self, part: str, size: int = 0) -> None:
        """Go on to the next step."""
        self._now = f"{part}, {size:,} bans" if size else part
        self.tell("")

    def end(self, part: str, size: int = 0) -> None:
        """Count a step as done."""
        self._done += self._left.pop((part, size), 0.0)

    def tell(self, what: str) -> None:
        """Print a line."""
        gone = time.monotonic() - self._began
        left = sum(self._left.values())
        pace = gone / self._done if self._done else 1.0
        words = f"{self._now}: {what}" if what else self._now
        print(f"[{_minutes(gone)}, {_minutes(left * pace)} to go] {words}", file=sys.stderr, flush=True)


def _guess(part: str, size: int) -> float:
    least, more = _COSTS.get(part, (_WHOLE, 0.0))
    return least + more * size / 1_000_000


def _minutes(seconds: float) -> str:
    return f"{int(seconds) // 60}:{int(seconds) % 60:02}"
