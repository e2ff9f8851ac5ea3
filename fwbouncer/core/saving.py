"""Decides when the ledger is written to disk: soon after a change, but seldom enough to spare disk and processor."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from fwbouncer.core.model import Millis

SOON: Millis = 1_500  # what changes together is written together
APART: Millis = 30_000  # between two writes
_MANY = 200  # claims a millisecond: the kernel comes first, and a large load takes it a while
_PACE = 100  # bytes a millisecond: a large file is written less often, so that the disk isn't worn out
_RETRY: Millis = 60_000


class Saving:
    """The timetable of writes. `version` is any number that is another one after each change worth writing."""

    def __init__(self) -> None:
        self._written: int | None = None
        self._pending: int | None = None
        self._from: Millis = 0
        self._due: Millis | None = None

    @property
    def due(self) -> Millis | None:
        """When to write; None if nothing has changed."""
        return self._due

    def look(self, version: int, claims: int, now: Millis) -> Millis | None:
        """Note the ledger's version and size now; returns when to write, if at all."""
        if version != self._written and self._due is None:
            self._due = max(now + SOON + claims // _MANY, self._from)
        return self._due

    def changed(self, version: int) -> bool:
        """Tell whether the last version that was written is another one."""
        return version != self._written

    def spoil(self) -> None:
        """Note that what is on disk is no longer right, though the ledger is as it was."""
        self._written = None

    def wrote(self, version: int, size: int, now: Millis) -> None:
        """Note that this version is on disk, as so many bytes."""
        self._written = version
        self._from = now + APART + size // _PACE
        self._due = None

    def failed(self, now: Millis) -> None:
        """Note that a write failed."""
        self._from = now + _RETRY
        self._due = None
