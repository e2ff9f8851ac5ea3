"""Runs work under a time limit that moves while the work goes on."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any, TypeVar

if TYPE_CHECKING:
    from collections.abc import Coroutine

T = TypeVar("T")
_AGAIN = 1.0


class Deadline:
    """A time limit for one piece of work, `seconds` from now until it is moved.

    The work runs in a task of its own. The AnyIO of Debian 12 lies beneath httpx and cancels the task that it
    runs in without taking that back: asyncio's own timeouts, and anything else that counts cancellations,
    would misbehave in the caller's task from then on.
    """

    def __init__(self, seconds: float) -> None:
        self._loop = asyncio.get_running_loop()
        self._when = self._loop.time() + seconds
        self._task: asyncio.Task[Any] | None = None
        self._timer: asyncio.TimerHandle | None = None

    def move(self, seconds: float) -> None:
        """Let the limit be so many seconds from now."""
        self._when = self._loop.time() + seconds
        # A timer that goes off early looks again; only one that would be late has to be replaced.
        if self._timer is not None and self._when < self._timer.when():
            self._set_timer(self._when)

    async def run(self, work: Coroutine[Any, Any, T]) -> T:
        """Return what the work returns; raises TimeoutError when the limit is reached."""
        task: asyncio.Task[T] = asyncio.create_task(work)
        self._task = task
        self._set_timer(self._when)
        try:
            # Unlike awaiting the task, this can't lose a cancellation of ours to what the task does with it.
            await asyncio.wait({task})
        finally:
            if self._timer is not None:
                self._timer.cancel()
            if not task.done():
                task.cancel()
                await asyncio.wait({task}, timeout=_AGAIN)
            if task.done() and not task.cancelled():
                task.exception()  # now it counts as looked at
        if task.cancelled():
            raise TimeoutError
        return task.result()

    def _set_timer(self, when: float) -> None:
        if self._timer is not None:
            self._timer.cancel()
        self._timer = self._loop.call_at(when, self._look)

    def _look(self) -> None:
        now = self._loop.time()
        if now < self._when:
            self._set_timer(self._when)
        elif self._task is not None:
            self._task.cancel()
            self._set_timer(now + _AGAIN)  # a library may have swallowed it
