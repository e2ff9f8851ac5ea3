"""What the tests of the LAPI client share."""

from __future__ import annotations

import asyncio
import time
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any, TypeVar

from fwbouncer.config import schema
from fwbouncer.core.model import Family
from fwbouncer.core.policy import Policies
from fwbouncer.core.sorting import Sorting
from fwbouncer.lapi.client import Client, Limits
from fwbouncer.lapi.decode import Decoder

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Coroutine

    from fwbouncer.core.model import Page

T = TypeVar("T")
HASTY = Limits(connect=1.0, delta=0.5, body=1.5)  # with deltas; snapshots heal, also on a busy machine


def decoder(*families: Family) -> Decoder:
    """Return a decoder with the usual rules."""
    return Decoder(families=families or tuple(Family), label_of=Sorting(Policies()).label)


def decode(body: bytes | str, now: int = 0) -> Page:
    """Decode a whole body."""
    return decoder().decode(body.encode() if isinstance(body, str) else body, startup=True, now=now)


def millis() -> int:
    """Tell the time."""
    return int(time.monotonic() * 1000)


@asynccontextmanager
async def client(*urls: str, limits: Limits | None = None, **settings: Any) -> AsyncIterator[Client]:
    """Yield a client of these LAPIs and close it."""
    clock = settings.pop("clock", millis)
    config = schema.Lapi(urls=urls, **({"key": "secret-key"} | settings))
    made = Client(
        config,
        families=tuple(Family),
        label_of=Sorting(Policies()).label,
        clock=clock,
        limits=limits,
    )
    try:
        yield made
    finally:
        await made.aclose()


def run(test: Coroutine[Any, Any, T]) -> T:
    """Run a test's coroutine."""
    return asyncio.run(test)
