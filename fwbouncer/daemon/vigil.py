"""Looks after the machine's sleep: nothing of ours runs meanwhile, and timers elsewhere stand still.

The timeouts of the kernel's sets run on jiffies, which don't count in sleep. So after it every ban would last too
long by the time slept, and asyncio, whose clock is CLOCK_MONOTONIC, would poll the LAPI late by as much.
"""

from __future__ import annotations

import asyncio
import logging
import time
from typing import TYPE_CHECKING

from fwbouncer.core.suspend import Suspend
from fwbouncer.host.alarm import Alarm
from fwbouncer.host.logs import fields

if TYPE_CHECKING:
    from collections.abc import Callable

    from fwbouncer.core.model import Millis

_log = logging.getLogger("fwbouncer")
_EVERY = 60.0  # seconds; after a longer sleep it is noticed at once

Clocks = tuple["Millis", "Millis"]


def clocks() -> Clocks:
    """Read CLOCK_BOOTTIME and CLOCK_MONOTONIC."""
    return time.clock_gettime_ns(time.CLOCK_BOOTTIME) // 1_000_000, time.monotonic_ns() // 1_000_000


class Vigil:
    """Calls `awake` after a sleep."""

    def __init__(
        self, awake: Callable[[], None], read: Callable[[], Clocks] = clocks, every: float = _EVERY
    ) -> None:
        self._awake = awake
        self._read = read
        self._suspend = Suspend(*read())
        self._every = every

    def look(self) -> None:
        """Call `awake` if the machine has slept since the last look; costs two readings of clocks."""
        slept = self._suspend.slept(*self._read())
        if slept:
            _log.info(
                "the machine slept for %.0f s", slept / 1000, extra=fields("slept", seconds=slept / 1000)
            )
            self._awake()

    async def run(self) -> None:
        """Look now and then, and right after a longer sleep."""
        loop = asyncio.get_running_loop()
        alarm = Alarm(self._every)

        def on_alarm() -> None:
            alarm.heard()
            self.look()

        loop.add_reader(alarm.fileno(), on_alarm)
        try:
            await loop.create_future()
        finally:
            loop.remove_reader(alarm.fileno())
            alarm.close()
