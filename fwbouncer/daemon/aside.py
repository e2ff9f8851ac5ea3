"""Does what may take its time, such as asking a name server, in a thread that nobody waits for at the end."""

from __future__ import annotations

import asyncio
import threading
from concurrent.futures import Future
from contextlib import suppress
from typing import TYPE_CHECKING, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable

T = TypeVar("T")


async def aside(work: Callable[[], T]) -> T:
    """Return what the work returns, or raise what it raises: a lookup can take half a minute."""
    loop, done = asyncio.get_running_loop(), asyncio.Event()
    outcome: Future[T] = Future()

    def body() -> None:
        try:
            outcome.set_result(work())
        except Exception as error:  # noqa: BLE001 - whoever awaits it gets it
            outcome.set_exception(error)
        with suppress(RuntimeError):  # the loop is closed by now
            loop.call_soon_threadsafe(done.set)

    threading.Thread(target=body, name="aside", daemon=True).start()
    await done.wait()
    return outcome.result()
