"""Counts for those who watch us: on a page for Prometheus, and in reports to the LAPI."""

from __future__ import annotations

import asyncio
import logging
import time
from importlib.util import find_spec
from typing import TYPE_CHECKING

from fwbouncer.control.scrape import Place, Scrapes, Tcp, Unix
from fwbouncer.daemon import figures
from fwbouncer.daemon.aside import aside
from fwbouncer.daemon.counting import Counting
from fwbouncer.daemon.reporter import Reporter
from fwbouncer.host.counters import CounterFile

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable
    from pathlib import Path

    from fwbouncer.control.figures import Figures
    from fwbouncer.daemon.keeper import Keeper
    from fwbouncer.daemon.parts import Parts
    from fwbouncer.kernel.backend import Clock

_log = logging.getLogger("fwbouncer.metrics")

_PAUSE = 60.0


class Metrics:
    """Counts, serves and reports. `parts` are asked for anew each time; `folder` is where the counts outlive us."""

    def __init__(self, keeper: Keeper, parts: Callable[[], Parts], clock: Clock, folder: Path | None) -> None:
        self.counting = Counting(keeper, CounterFile(folder), time.time)
        self._parts = parts
        self._clock = clock
        self._reporter = Reporter(parts, self.counting, time.time)
        self._servers: dict[Place, asyncio.Task[None]] = {}
        self._group: asyncio.TaskGroup | None = None

    def change(self) -> None:
        """Go by another configuration from now on."""
        self._reporter.change()
        self._serve()

    async def run(self) -> None:
        """Count, serve and report, for ever."""
        async with asyncio.TaskGroup() as self._group:
            self._serve()
            mode = self._parts().config.mode
            self._group.create_task(_in_spite(lambda: self.counting.run(mode)))
            self._group.create_task(_in_spite(self._reporter.run))

    async def page(self, accept: str) -> tuple[str, bytes]:
        """Make the page for Prometheus."""
        totals = await self.counting.totals()
        told = figures.figures(self._parts(), totals, self._clock())
        return await asyncio.to_thread(_written, told, accept)

    def _serve(self) -> None:
        """Listen where the configuration says, and nowhere else."""
        if self._group is None:
            return
        ours, wanted = self._parts().config.prometheus, list[Place]()
        if ours.enabled:
            wanted.append(Tcp(ours.listen_addr, ours.listen_port))
        if ours.listen_socket is not None:
            wanted.append(Unix(ours.listen_socket))
        if wanted and find_spec("prometheus_client") is None:
            _log.warning(
                "no metrics are served: install python3-prometheus-client, or prometheus_client from PyPI"
            )
            wanted.clear()
        for place in [place for place in self._servers if place not in wanted]:
            self._servers.pop(place).cancel()
        for place in wanted:
            if place not in self._servers:
                scrapes = Scrapes(place, self.page, aside)
                self._servers[place] = self._group.create_task(_in_spite(scrapes.run))


def _written(told: Figures, accept: str) -> tuple[str, bytes]:
    from fwbouncer.control.prometheus import exposition  # noqa: PLC0415 - only for those who want metrics

    return exposition(told, accept)


async def _in_spite(work: Callable[[], Awaitable[None]]) -> None:
    """Do a work that never ends, in spite of mistakes of ours in it: no ban hangs on it."""
    while True:
        try:
            await work()
        except Exception:  # noqa: BLE001 - as said above
            _log.exception("metrics failed, trying again in a minute")
        await asyncio.sleep(_PAUSE)
