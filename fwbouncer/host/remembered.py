"""What never-block must not forget between two runs: who was unblocked until when, and what names last stood for.

Two small JSON files beside the state file. Deadlines in them are by the date, since nothing else survives a boot.
A file that can't be read is as good as none, and one that can't be written stops nothing.
"""

from __future__ import annotations

import json
import logging
import os
from contextlib import suppress
from typing import TYPE_CHECKING, Any

from fwbouncer.core.addresses import read, shown
from fwbouncer.host.logs import fields

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping
    from pathlib import Path

    from fwbouncer.core.model import AddressKey, Millis

_log = logging.getLogger("fwbouncer.never_block")

LONGEST: Millis = 30 * 24 * 3_600_000
_MOST_BYTES = 4 << 20


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
        for text, until in _entries(self._unblocked):
            if isinstance(until, int) and until > date:
                with suppress(ValueError):
                    # A date that was set back must not make an hour last for a year.
                    found[read(text)] = now + min(until - date, LONGEST)
        return found

    def keep_unblocked(self, until: Mapping[AddressKey, Millis]) -> bool:
        """Write down who is unblocked; returns whether that worked."""
        now, date = self._clock(), self._date()
        return _write(self._unblocked, {shown(key): date + deadline - now for key, deadline in until.items()})

    def names(self) -> dict[str, list[AddressKey]]:
        """Return what names stood for."""
        found: dict[str, list[AddressKey]] = {}
        for name, texts in _entries(self._names):
            with suppress(ValueError, TypeError, AttributeError):
                found[name] = [read(text) for text in texts]
        return found

    def keep_names(self, addresses: Mapping[str, Iterable[AddressKey]]) -> None:
        """Write down what names stand for."""
        _write(self._names, {name: [shown(key) for key in keys] for name, keys in addresses.items()})


def _entries(path: Path | None) -> list[tuple[str, Any]]:
    if path is None:
        return []
    try:
        with os.fdopen(
            os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK | os.O_NOFOLLOW), "rb"
        ) as file:
            found = json.loads(file.read(_MOST_BYTES) or b"{}")
        return list(found["entries"].items())
    except FileNotFoundError:
        return []
    except (OSError, ValueError, RecursionError, TypeError, KeyError, AttributeError) as error:
        _log.warning("%s is not used: %s", path, error, extra=fields("file_refused"))
        return []


def _write(path: Path | None, entries: Mapping[str, Any]) -> bool:
    """Replace a file as a whole, or leave it as it is."""
    if path is None:
        return False
    fresh = path.with_name(path.name + ".new")
    try:
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        with suppress(FileNotFoundError):  # left by a crash
            fresh.unlink()
        flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC
        with os.fdopen(os.open(fresh, flags, 0o600), "w") as file:
            json.dump({"version": 1, "entries": dict(entries)}, file)
            file.flush()
            os.fsync(file.fileno())
        fresh.replace(path)
    except OSError as error:
        _log.warning("%s can't be written: %s", path, error.strerror, extra=fields("file_unwritten"))
        return False
    return True
