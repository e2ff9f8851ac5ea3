"""Answers the commands that only look: status, list, explain, top. None of them holds up the event loop."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

from fwbouncer.daemon import assembly, explain, listing, report

if TYPE_CHECKING:
    from collections.abc import Callable

    from fwbouncer.control.server import Answer, Handler, Pieces
    from fwbouncer.daemon.parts import Parts


class Answers:
    """`parts` are asked for anew for each command."""

    def __init__(self, parts: Callable[[], Parts]) -> None:
        self._parts = parts

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
        parts = self._parts()
        counted = await parts.keeper.call(parts.keeper.backend.counters)
        return report.status(parts, counted, assembly.clock()).as_dict()

    def _list(self, request: dict[str, Any]) -> Pieces:
        asked = listing.asked(request, assembly.clock())
        return listing.pieces(self._parts().keeper.book, asked, dates())

    async def _explain(self, request: dict[str, Any]) -> Answer:
        return await explain.explain(self._parts(), request, dates())

    async def _traffic(self, request: dict[str, Any]) -> Answer:
        del request
        parts = self._parts()
        counted = await parts.keeper.call(parts.keeper.backend.counters)
        return {"at": assembly.clock() / 1000, **report.traffic(counted)}


def dates() -> listing.Dates:
    """Return what turns our clock's times into dates."""
    return listing.Dates(time.time_ns() // 1_000_000, assembly.clock())
