"""The contract's first subject: the kernel in a dict."""

from __future__ import annotations

import contextlib
import ipaddress
from dataclasses import dataclass
from typing import TYPE_CHECKING

from fwbouncer.core.model import ONE_GROUP, Change, Family, Kind, Layout, SetKey
from fwbouncer.kernel.memory import Memory
from tests.contract.subjects import Subject

if TYPE_CHECKING:
    from collections.abc import Iterator

    from fwbouncer.core.model import Millis
    from fwbouncer.kernel.backend import Backend


class _Counting(Memory):
    """Counts its transactions."""

    generation = 0

    def apply(self, change: Change) -> None:
        before = self._sets.copy()
        super().apply(change)
        self.generation += self._sets != before


@dataclass
class MemorySubject(Subject):
    """The kernel in a dict, on a clock of its own."""

    time: Millis = 5_000_000

    def __post_init__(self) -> None:
        """Make the one kernel that there is."""
        self.kernel = _Counting(self.now, linger=20)

    def open(self) -> Backend:
        """A dict has no sides: everybody sees the same one."""
        return self.kernel

    def now(self) -> Millis:
        """Read our own clock."""
        return self.time

    def sleep(self, span: Millis) -> None:
        """Turn the clock."""
        self.time += span

    def left(self, address: str) -> Millis | None:
        """Ask the dict."""
        found = self.kernel.bans(ipaddress.ip_address(address).packed)
        return max(found.values()) - self.time if found else None

    def passing(self, *sources: str) -> set[str]:
        """Let the dict judge."""
        return {source for source in sources if self.kernel.meet(ipaddress.ip_address(source).packed)}

    @contextlib.contextmanager
    def watched(self, source: str) -> Iterator[list[bool]]:
        """Between two calls of a dict there is no time for packets."""
        del source
        yield []

    def generation(self) -> int:
        """Count changes."""
        return self.kernel.generation

    def flush(self) -> None:
        """Empty the dict."""
        self.kernel.flush()

    def crowd(self) -> None:
        """Nobody else can be there."""

    def others(self) -> object:
        """Nobody else is there."""
        return None

    def empty(self) -> bool:
        """Look into the dict."""
        return not self.kernel._sets

    def give(self, *, interval: bool = False, timed: bool = True, size: int = 0) -> None:
        """Lay the dict out as that set would be."""
        target = SetKey(ONE_GROUP, Family.V4, Kind.HOSTS)
        layout = Layout(
            flatten=True,
            mixed=frozenset({(ONE_GROUP, Family.V4)} if interval else ()),
            timeless=frozenset(() if timed else {target}),
            sizes=((target, size),) if size else (),
        )
        self.kernel.change_layout(layout)
        self.kernel.disturbed()

    def close(self) -> None:
        """Nothing is open."""
