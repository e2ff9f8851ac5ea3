"""Tells the LAPI now and then what was dropped."""

from __future__ import annotations

import asyncio
import logging
import platform
import random
from contextlib import suppress
from typing import TYPE_CHECKING

from fwbouncer.core.model import NEVER_BLOCK
from fwbouncer.daemon.figures import banned, origins
from fwbouncer.host.logs import fields
from fwbouncer.lapi.usage import Answer, Identity, Outcome, body, send

if TYPE_CHECKING:
    from collections.abc import Callable

    from fwbouncer.core.usage import Window
    from fwbouncer.daemon.counting import Counting
    from fwbouncer.daemon.parts import Parts

_log = logging.getLogger("fwbouncer.metrics")

_FIRST = 60.0  # seconds after the start at the earliest; by then there is something to tell
_NO_SUCH_PATH = 86_400.0  # an older LAPI is asked again once a day: it may have been upgraded


class Reporter:
    """Reports at an interval. What could not be told is told the next time. `date` returns seconds since 1970."""

    def __init__(self, parts: Callable[[], Parts], counting: Counting, date: Callable[[], float]) -> None:
        self._parts = parts
        self._counting = counting
        self._date = date
        self._identity = _identity(int(date()))
        self._complaint = ""
        self._changed = asyncio.Event()

    def change(self) -> None:
        """Report as another configuration says from now on."""
        self._changed.set()

    async def run(self) -> None:
        """Report for ever."""
        wait = self._first()
        while True:
            self._changed.clear()
            with suppress(TimeoutError):
                async with asyncio.timeout(wait):
                    await self._changed.wait()
                wait = self._first()
                continue
            interval = self._parts().config.usage_interval
            wait = None if interval is None else await self._report(interval) * random.uniform(0.95, 1.05)

    def _first(self) -> float | None:
        """Return after how many seconds to report; an earlier run may have reported a moment ago."""
        interval = self._parts().config.usage_interval
        if interval is None:
            return None
        due = self._counting.usage.since + interval - self._date()
        return min(max(due, _FIRST), interval)

    async def _report(self, interval: float) -> float:
        """Report once, or twice where a lost report has to be repeated first; returns when the next one is due."""
        usage, parts = self._counting.usage, self._parts()
        for _ in range(2):
            totals = await self._counting.totals()
            told = {place: traffic for place, traffic in totals.items() if place[0] != NEVER_BLOCK}
            window = usage.next(told, banned(parts.config, parts.keeper.book.ledger), int(self._date()))
            repeated = usage.lost is not None
            answer = await self._send(window)
            if answer.outcome is not Outcome.TAKEN or not repeated:
                break
        return _NO_SUCH_PATH if answer.outcome is Outcome.NO_SUCH_PATH else interval

    async def _send(self, window: Window) -> Answer:
        usage, config, client = self._counting.usage, self._parts().config, self._parts().poller.client
        report = body(self._identity, window, origins(config))
        usage.sending(window)
        await self._counting.save()  # we may be killed before there is an answer
        answer = await send(client.endpoint, config.lapi, report)
        if answer.outcome is Outcome.TAKEN:
            usage.taken(window)
        elif answer.outcome is Outcome.REFUSED:
            usage.refused()
        elif answer.outcome is not Outcome.LOST:
            usage.unsent()
        await self._counting.save()
        self._tell(answer)
        return answer

    def _tell(self, answer: Answer) -> None:
        """Log what is new. Nobody is warned of what an older LAPI can't take."""
        if answer.outcome is Outcome.TAKEN:
            _log.debug("usage metrics sent")
        elif answer.outcome is Outcome.NO_SUCH_PATH and answer.words != self._complaint:
            _log.info("the LAPI takes no usage metrics: CrowdSec has them from 1.6.3 on")
        elif answer.words != self._complaint:
            _log.warning("usage metrics not taken: %s", answer.words, extra=fields("usage_failed"))
        self._complaint = answer.words


def _identity(started: int) -> Identity:
    try:
        system = platform.freedesktop_os_release()
    except OSError:
        return Identity(started)
    name, version = system.get("NAME", ""), system.get("VERSION_ID", "")
    return Identity(started, name, system.get("ID", ""), version or system.get("VERSION_CODENAME", "rolling"))
