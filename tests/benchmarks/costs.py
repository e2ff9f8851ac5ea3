"""What a process and its children cost: processor time, memory and wake-ups, as the kernel counts them."""

from __future__ import annotations

import os
import threading
from contextlib import suppress
from pathlib import Path

_TICK = 1 / os.sysconf("SC_CLK_TCK")
_PAUSE = 0.02


def tree(pid: int) -> list[int]:
    """Return a process and all that descend from it."""
    found = [pid]
    for each in found:
        with suppress(OSError):
            for task in Path(f"/proc/{each}/task").iterdir():
                found += map(int, (task / "children").read_text().split())
    return found


def cpu(pid: int) -> float:
    """Return the seconds of processor time that a process, its threads and its dead children used, to 1/100 s."""
    with suppress(OSError, IndexError):
        return _ticks(pid, slice(11, 15))
    return 0.0


def fine_cpu(pid: int) -> float:
    """Return the seconds of processor time of the threads that a process has now, to the nanosecond.

    Those of its dead children count too, to 1/100 s.
    """
    tasks = Path(f"/proc/{pid}/task").iterdir()
    threads = sum(int((task / "schedstat").read_text().split()[0]) for task in tasks) / 1e9
    return threads + _ticks(pid, slice(13, 15))


def _ticks(pid: int, which: slice) -> float:
    """Return the seconds in some of utime, stime, cutime and cstime: 11 to 14 behind the name in a process's stat."""
    words = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return sum(map(int, words[which])) * _TICK


def wakeups(pid: int) -> int:
    """Count how often a process's threads have gone to sleep by themselves, and so been woken."""
    tasks = Path(f"/proc/{pid}/task").iterdir()
    return sum(int(_field(task / "status", "voluntary_ctxt_switches")) for task in tasks)


def pss(pid: int) -> float:
    """Return the megabytes that a process holds; what it shares counts in part."""
    return int(_field(Path(f"/proc/{pid}/smaps_rollup"), "Pss").split()[0]) / 1000


def peak(pid: int) -> float:
    """Return the most megabytes that a process ever had resident."""
    return int(_field(Path(f"/proc/{pid}/status"), "VmHWM").split()[0]) * 1.024 / 1000


def _field(path: Path, name: str) -> str:
    for line in path.read_text().splitlines():
        if line.startswith(f"{name}:"):
            return line.partition(":")[2].strip()
    raise KeyError(name)


class Watcher:
    """Follows a process and its children while they work: the most that all had at once, and their processor time."""

    def __init__(self, pid: int) -> None:
        self._pid = pid
        self._peak = self._cpu = 0.0
        self._done = threading.Event()
        self._thread = threading.Thread(target=self._watch, daemon=True)
        self._thread.start()

    def end(self) -> tuple[float, float]:
        """Stop; returns megabytes at the peak and seconds of processor time."""
        self._done.set()
        self._thread.join()
        self._look()
        return self._peak, self._cpu

    def _watch(self) -> None:
        self._look()
        while not self._done.wait(_PAUSE):
            self._look()

    def _look(self) -> None:
        family = tree(self._pid)
        # What a dead child used is in its parent's figure.
        self._cpu = max(self._cpu, sum(map(cpu, family)))
        peaks = 0.0
        for pid in family:
            with suppress(OSError, KeyError):  # it has ended
                peaks += peak(pid)
        self._peak = max(self._peak, peaks)
