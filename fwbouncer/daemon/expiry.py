"""Lets go of what has run out: on time where a set has no timeouts of its own, else now and then."""

from __future__ import annotations

import asyncio
import logging
from typing import TYPE_CHECKING

from fwbouncer.daemon.teller import tell
from fwbouncer.host.logs import fields

if TYPE_CHECKING:
    from fwbouncer.daemon.keeper import Keeper
    from fwbouncer.kernel.backend import Clock

_log = logging.getLogger("fwbouncer.bans")


async def expire(keeper: Keeper, clock: Clock) -> None:
    """Do so for ever."""
    book = keeper.book
    while True:
        due = book.ledger.next_expiry()
        timeless = bool(book.wanted.layout.timeless)
        wait = 1.0 if due is None else min(1.0, max(0.01, (due - clock()) / 1000))
        await asyncio.sleep(wait if timeless else 30.0)
        if due is not None and due <= clock():
            book.expire(clock())
            keeper.wake()
            many = tell(book, clock())
            if many:
                _log.info("%d decisions have run out", many, extra=fields("expired", count=many))
