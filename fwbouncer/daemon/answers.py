"""Answers the commands that only look: status, list, explain, top. None of them holds up the event loop."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

from fwbouncer.daemon import assembly, explain, listing, report

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from fwbouncer.control.server import Answer, Handler, Pieces
    from fwbouncer.core.tally import Totals
    from fwbouncer.daemon.parts import Parts


class Answers:
    """`parts` and the `totals` of what was dropped are asked for anew for each command."""

    def __init__(self, parts: Callable[[], Parts], totals: Callable[[], Awaitable[Totals]]) -> None:
        self._parts = parts
        self._totals = totals

    def handlers(self) -> dict[str, Handler]:
        """Return what answers each command."""
        return {
            "status": self._status,
            "list": self._list,
            "explain": self._explain,
            "traffic": self._traffic,
        }

    async def _status(self, request: dict[str, Any]) -> Answer:
        del request
        totals = await self._totals()
        return report.status(self._parts(), totals, assembly.clock()).as_dict()

    def _list(self, request: dict[str, Any]) -> Pieces:
        asked = listing.asked(request, assembly.clock())
        return listing.pieces(self._parts().keeper.book, asked, dates())

    async def _explain(self, request: dict[str, Any]) -> Answer:
        return await explain.explain(self._parts(), request, dates())

    async def _traffic(self, request: dict[str, Any]) -> Answer:
        del request
        totals = await self._totals()
        return {"at": assembly.clock() / 1000, **report.traffic(self._parts().config, totals)}


def dates() -> listing.Dates:
    """Return what turns our clock's times into dates."""
    return listing.Dates(time.time_ns() // 1_000_000, assembly.clock())
