"""How long a process could have run: not counted are times when it was dead, suspended, or waiting for a processor."""

from __future__ import annotations

import contextlib
from bisect import bisect_right
from pathlib import Path


class RunClock:
    """The clock that tolerances are measured on, so that a busy machine proves nothing against the program."""

    def __init__(self, at: float) -> None:
        self._times = [at]
        self._runs = [0.0]

    def sample(self, at: float, *, able: bool, waited: float = 0.0) -> None:
        """Note that until `at` it was able to run or not, less what it waited for a processor."""
        gone = at - self._times[-1]
        if gone <= 0:
            return
        self._times.append(at)
        self._runs.append(self._runs[-1] + (max(0.0, gone - waited) if able else 0.0))

    @property
    def last(self) -> float:
        """The time of the newest sample; later times can't be asked for."""
        return self._times[-1]

    def at(self, when: float) -> float:
        """Return what the clock showed at a time."""
        index = bisect_right(self._times, when) - 1
        if index < 0:
            return 0.0
        if index == len(self._times) - 1:
            return self._runs[index]
        begin, end = self._times[index], self._times[index + 1]
        share = (when - begin) / (end - begin)
        return self._runs[index] + share * (self._runs[index + 1] - self._runs[index])

    def when(self, run: float) -> float:
        """Return the time at which the clock came to show this; the newest sample's if it never did."""
        index = bisect_right(self._runs, run)
        if index == len(self._runs):
            return self._times[-1]
        begin, end = self._runs[index - 1], self._runs[index]
        share = (run - begin) / (end - begin)
        return self._times[index - 1] + share * (self._times[index] - self._times[index - 1])


def waited(pid: int) -> float:
    """Return the seconds that a process's threads have waited for a processor, all together."""
    total = 0
    with contextlib.suppress(OSError, ValueError, IndexError):
        for task in Path(f"/proc/{pid}/task").iterdir():
            with contextlib.suppress(OSError):
                total += int((task / "schedstat").read_text().split()[1])
    return total / 1e9
