"""The rescue: addresses and networks that somebody has unblocked for a while, ahead of whatever bans them."""

from __future__ import annotations

import asyncio
import logging
from contextlib import suppress
from typing import TYPE_CHECKING, Any

from fwbouncer.config.never_block import spared
from fwbouncer.core.addresses import shown, supernets
from fwbouncer.errors import ControlError
from fwbouncer.host.logs import fields
from fwbouncer.host.remembered import LONGEST

if TYPE_CHECKING:
    from collections.abc import Callable

    from fwbouncer.core.model import AddressKey, Millis
    from fwbouncer.daemon.keeper import Keeper
    from fwbouncer.host.remembered import Remembered
    from fwbouncer.kernel.backend import Clock

_OFTEN: Millis = 60_000
_PATIENCE = 10.0  # seconds in which the keeper has made good what somebody else's change broke

_log = logging.getLogger("fwbouncer.never_block")


class Unblocked:
    """Who it is, and until when. `changed` is called after every change."""

    def __init__(
        self, keeper: Keeper, remembered: Remembered, clock: Clock, changed: Callable[[], None]
    ) -> None:
        self.until = remembered.unblocked()
        self._keeper = keeper
        self._remembered = remembered
        self._clock = clock
        self._changed = changed
        self._news = asyncio.Event()

    async def run(self) -> None:
        """Let go of each when its time is over."""
        while True:
            now = self._clock()
            over = [key for key, until in self.until.items() if until <= now]
            for key in over:
                del self.until[key]
                _log.info("%s is no longer unblocked", shown(key), extra=fields("unblock_over"))
            if over:
                await self._keep()
            # Timers stand still while the machine sleeps, and deadlines don't: look now and then.
            soonest = min([*self.until.values(), now + _OFTEN])
            with suppress(TimeoutError):
                async with asyncio.timeout((soonest - now) / 1000):
                    await self._news.wait()
            self._news.clear()

    async def handle(self, request: dict[str, Any]) -> dict[str, Any]:
        """Answer the command `unblock`; what has changed is in the kernel by then."""
        if "cancel" in request:
            key = _key(request["cancel"])
            if self.until.pop(key, None) is None:
                raise ControlError(f"{shown(key)} is not unblocked")
            _log.info("%s is no longer unblocked, by command", shown(key), extra=fields("unblock_over"))
            await self._settle()
            return {"cancelled": shown(key)}
        if "address" in request:
            return await self._unblock(_key(request["address"]), request.get("seconds"))
        now = self._clock()
        return {"unblocked": {shown(key): (until - now) / 1000 for key, until in self.until.items()}}

    async def _unblock(self, key: AddressKey, seconds: object) -> dict[str, Any]:
        if not isinstance(seconds, int | float) or not 0 < seconds * 1000 <= LONGEST:
            raise ControlError(f"an address is unblocked for at most {LONGEST // 86_400_000} days")
        self.until[key] = self._clock() + int(seconds * 1000)
        _log.info(
            "%s is unblocked for %g s, by command",
            shown(key),
            seconds,
            extra=fields("unblock", address=shown(key)),
        )
        kept = await self._settle()
        claims = self._keeper.book.ledger.claims
        bans = {c[2].origin for each in (key, *supernets(key)) for c in claims(each)}
        return {
            "address": shown(key),
            "seconds": seconds,
            "banned_by": sorted(bans),
            "survives_restart": kept,
        }

    async def _settle(self) -> bool:
        self._news.set()
        kept = await self._keep()
        await self._keeper.settle(_PATIENCE)
        return kept

    async def _keep(self) -> bool:
        self._changed()
        return await asyncio.to_thread(self._remembered.keep_unblocked, dict(self.until))


def _key(text: object) -> AddressKey:
    try:
        return spared(str(text))
    except ValueError as error:
        raise ControlError(str(error)) from None
