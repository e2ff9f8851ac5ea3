"""Keeps the totals of the kernel's counters, over flushes, reloads and restarts."""

from __future__ import annotations

import asyncio
import logging
from contextlib import suppress
from typing import TYPE_CHECKING

from fwbouncer.config.schema import Mode
from fwbouncer.core.tally import CounterKey, Reading, Tally, Totals, Traffic
from fwbouncer.core.usage import Usage
from fwbouncer.errors import KernelError

if TYPE_CHECKING:
    from collections.abc import Callable

    from fwbouncer.daemon.keeper import Keeper
    from fwbouncer.host.counters import CounterFile
    from fwbouncer.kernel.backend import Counted

_log = logging.getLogger("fwbouncer.metrics")

# What was counted since the last reading is lost when somebody flushes our rules. With iptables a reading costs two
# processes.
_OFTEN, _SELDOM = 15.0, 60.0
_KEEP = 300.0  # seconds between two writes to the file, unless more is at stake


class Counting:
    """The one who reads the counters, one reading at a time. `date` returns seconds since 1970."""

    def __init__(self, keeper: Keeper, file: CounterFile, date: Callable[[], float]) -> None:
        self.usage = Usage({}, int(date()))
        self._keeper = keeper
        self._file = file
        self._date = date
        self._tally = Tally()
        self._reading = asyncio.Lock()
        self._saving = asyncio.Lock()

    async def begin(self) -> None:
        """Take over what was counted before. Where nothing is known of that, what the kernel shows is no news."""
        self._tally, usage = await asyncio.to_thread(self._file.load)
        totals = await self.totals()
        self.usage = usage or Usage(dict(totals), int(self._date()))

    async def totals(self) -> Totals:
        """Read the counters and return the totals, by group; those of the last reading where none can be made."""
        async with self._reading:
            restarted = False
            with suppress(KernelError):
                counted = await self._keeper.call(self._keeper.backend.counters)
                restarted = self._tally.take(map(_reading, counted))
        if restarted:  # the kernel doesn't know any more what was before
            await self.save()
        return self._tally.totals

    async def run(self, mode: Mode) -> None:
        """Read now and then, for ever."""
        often = _OFTEN if mode is Mode.NFTABLES else _SELDOM
        kept = 0.0
        while True:
            await asyncio.sleep(often)
            await self.totals()
            kept += often
            if kept >= _KEEP:
                kept = 0.0
                await self.save()

    async def save(self) -> None:
        """Write the file."""
        async with self._saving:
            tally = Tally(dict(self._tally.totals), self._tally.last)
            usage = Usage(dict(self.usage.told), self.usage.since, self.usage.lost)
            await asyncio.to_thread(self._file.save, tally, usage)

    async def finish(self) -> None:
        """Read and write a last time, while the counters are there."""
        await self.totals()
        await self.save()

    async def gone(self) -> None:
        """Note that our rules have been removed, and the counters with them."""
        self._tally.forget()
        await self.save()


def _reading(one: Counted) -> tuple[CounterKey, Reading]:
    return CounterKey(one.group, one.family, one.part), Reading(one.life, Traffic(one.packets, one.bytes))
