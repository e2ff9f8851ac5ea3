"""Keeps the state file: reads it at the start, writes it after changes, in a thread and not too often."""

from __future__ import annotations

import asyncio
import logging
from typing import TYPE_CHECKING

from fwbouncer.core.model import Label
from fwbouncer.core.saving import Saving
from fwbouncer.host import memory, state
from fwbouncer.host.logs import fields
from fwbouncer.host.state_format import Packer

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from fwbouncer.config.schema import Config
    from fwbouncer.core.book import Book
    from fwbouncer.core.model import Millis
    from fwbouncer.core.sorting import Sorting
    from fwbouncer.host.state_format import Moment

_log = logging.getLogger("fwbouncer.state")

# A date that was set by more than this makes the times in the file worth correcting: a machine without a battery for
# its clock starts in the past, and what is written then would be over once the date is right.
_JUMP: Millis = 60_000
_AT_ONCE = 1 << 15  # claims that are packed without a pause: some milliseconds


class Saver:
    """The one who writes the file at `path`; without a path it does nothing."""

    def __init__(self, book: Book, path: Path | None, moment: Callable[[], Moment] = state.moment) -> None:
        self.warning: str | None = None  # why the file can't be written, for the administrator
        self._book = book
        self._path = path
        self._moment = moment
        self._saving = Saving()
        self._apart: Millis = 0  # how far the two clocks were apart at the last write
        self._news = asyncio.Event()
        self._writing = asyncio.Lock()

    async def restore(self, config: Config, sorting: Sorting) -> None:
        """Take in what was banned last. The book is as it was where there is no file that can be used."""
        if self._path is None:
            return
        lengths = frozenset(size for family in config.families for size in (family.size, family.size + 1))
        label_of = _labels(sorting)
        page = await asyncio.to_thread(state.load, self._path, self._moment, lengths, label_of)
        if page is None:
            return
        self._book.restore(page, self._moment().boot)
        self._book.ledger.journal.take()  # they were told by the last run
        _log.info("%d decisions taken over from the last run", len(page.ids), extra=fields("restored"))

    def look(self) -> None:
        """Say that the ledger may have changed."""
        if self._path is None or not self._book.synced:
            return
        now = self._moment()
        if abs(now.wall - now.boot - self._apart) > _JUMP:
            self._saving.spoil()
        if self._saving.changed(self._book.ledger.changes):
            self._news.set()

    def move(self, path: Path | None) -> None:
        """Write to another file from now on."""
        if path != self._path:
            self._path, self._saving, self.warning = path, Saving(), None
            self.look()

    async def run(self) -> None:
        """Write whenever it is time to."""
        while True:
            now = self._moment().boot
            # While nothing is known, an empty file would say that nobody is banned.
            known = self._path is not None and self._book.synced
            ledger = self._book.ledger
            due = self._saving.look(ledger.changes, len(ledger), now) if known else None
            if due is None:
                self._news.clear()
                await self._news.wait()
            elif due > now:
                await asyncio.sleep((due - now) / 1000)
            else:
                await self._write()

    async def finish(self) -> None:
        """Write a last time, if there is something to write."""
        if self._book.synced and self._saving.changed(self._book.ledger.changes):
            await self._write()

    async def _write(self) -> None:
        # What is under way when we are told to stop comes to its end, and the last write waits for it.
        await asyncio.shield(self._write_whole())

    async def _write_whole(self) -> None:
        async with self._writing:
            await self._write_once()

    async def _write_once(self) -> None:
        path, saving, ledger = self._path, self._saving, self._book.ledger
        if path is None:
            return
        version, now = ledger.changes, self._moment()
        self._apart = now.wall - now.boot
        packer = Packer()
        first = 0
        while first < ledger.rows:  # what changes meanwhile is written the next time
            await asyncio.to_thread(packer.add, ledger.section(first, first + _AT_ONCE))
            first += _AT_ONCE
        try:
            size = await asyncio.to_thread(lambda: state.save(path, packer.finish(now)))
        except OSError as error:
            saving.failed(now.boot)
            words = f"the bans can't be kept for the next boot: {path}: {error.strerror or error}"
            if words != self.warning:
                _log.warning("%s", words, extra=fields("state_unwritten"))
            self.warning = words
        else:
            saving.wrote(version, size, now.boot)
            await asyncio.to_thread(memory.trim)  # the copies are gone, and were large
            if self.warning is not None:
                _log.info("the state file can be written again", extra=fields("state_written"))
            self.warning = None


def _labels(sorting: Sorting) -> state.LabelOf:
    def label_of(origin: str, scenario: str, kind: str) -> Label | None:
        found = sorting.label(origin, scenario, kind)
        return found if isinstance(found, Label) else None

    return label_of
