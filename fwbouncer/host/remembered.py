"""What never-block must not forget between two runs: who was unblocked until when, and what names last stood for.

Two small JSON files beside the state file. Deadlines in them are by the date, since nothing else survives a boot.
A file that can't be read is as good as none, and one that can't be written stops nothing.
"""

from __future__ import annotations

from contextlib import suppress
from typing import TYPE_CHECKING

from fwbouncer.core.addresses import read, shown
from fwbouncer.host.entries import read_entries, write_entries

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping
    from pathlib import Path

    from fwbouncer.core.model import AddressKey, Millis

LONGEST: Millis = 30 * 24 * 3_600_000


class Remembered:
    """The two files in a folder; without a folder nothing is remembered. `date` returns milliseconds since 1970."""

    def __init__(self, folder: Path | None, clock: Callable[[], Millis], date: Callable[[], Millis]) -> None:
        self._unblocked = folder / "unblocked.json" if folder else None
        self._names = folder / "names.json" if folder else None
        self._clock = clock
        self._date = date

    def unblocked(self) -> dict[AddressKey, Millis]:
        """Return who was unblocked and still is, with deadlines on our clock."""
        found = {}
        now, date = self._clock(), self._date()
        for text, until in read_entries(self._unblocked):
            if isinstance(until, int) and until > date:
                with suppress(ValueError):
                    # A date that was set back must not make an hour last for a year.
                    found[read(text)] = now + min(until - date, LONGEST)
        return found

    def keep_unblocked(self, until: Mapping[AddressKey, Millis]) -> bool:
        """Write down who is unblocked; returns whether that worked."""
        now, date = self._clock(), self._date()
        return write_entries(
            self._unblocked, {shown(key): date + deadline - now for key, deadline in until.items()}
        )

    def names(self) -> dict[str, list[AddressKey]]:
        """Return what names stood for."""
        found: dict[str, list[AddressKey]] = {}
        for name, texts in read_entries(self._names):
            with suppress(ValueError, TypeError, AttributeError):
                found[name] = [read(text) for text in texts]
        return found

    def keep_names(self, addresses: Mapping[str, Iterable[AddressKey]]) -> None:
        """Write down what names stand for."""
        write_entries(self._names, {name: [shown(key) for key in keys] for name, keys in addresses.items()})
