"""Keeps the kernel as the book wants it: the only task that calls the backend, one call at a time, off the loop."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from typing import TYPE_CHECKING, TypeVar

from fwbouncer.core.latency import Latency
from fwbouncer.core.model import NEVER_BLOCK, AddressKey, Change, Layout, Millis
from fwbouncer.errors import KernelBusy, KernelError
from fwbouncer.host.logs import fields

if TYPE_CHECKING:
    from fwbouncer.core.book import Book
    from fwbouncer.core.model import Holding
    from fwbouncer.kernel.backend import Backend, Clock

_log = logging.getLogger("fwbouncer.kernel")
T = TypeVar("T")
# Called with what the kernel has acknowledged, and with who was never blocked by then.
Told = Callable[[Change, Mapping[AddressKey, Millis]], None]

_SOON, _LATER, _LONGEST = 0.02, 0.5, 30.0  # seconds before a failed write is tried again
_BURST, _CALM = 3, 1.0  # so many repairs at once, then one in so many seconds: two that fight must not spin


def _nobody_asks(change: Change, spared: Mapping[AddressKey, Millis]) -> None:
    """Tell nobody."""


class Keeper:
    """Moves the kernel along with the book, and puts back what others took away."""

    def __init__(self, book: Book, backend: Backend, clock: Clock) -> None:
        self.book = book
        self.backend = backend
        self.settled = asyncio.Event()  # what the first page wants is in the kernel
        self.repairs = 0
        self.last_error: str | None = None
        self.last_write_ms: float | None = None
        self.took = Latency()
        self.told: Told = _nobody_asks
        self.writing: tuple[int, Millis] | None = None  # how many elements are being written, and since when
        self._clock = clock
        self._wake = asyncio.Event()
        self._worker = ThreadPoolExecutor(1, thread_name_prefix="kernel")
        self._need_dump = True
        self._found: tuple[Holding, Layout] | None = None
        self._retry = _SOON
        self._repaired: list[float] = []
        self._lock = asyncio.Lock()
        self._waiting: list[asyncio.Future[None]] = []  # for a step that succeeds

    def wake(self) -> None:
        """Say that there may be something to do."""
        self._wake.set()

    def distrust(self) -> None:
        """Say that the kernel may differ from what is believed; it is read before the next write."""
        self._need_dump = True
        self.wake()

    async def begin(self) -> None:
        """Look at the kernel for the first time; what is wrong now is told to whoever started us."""
        await self.step()
        self._watch()

    async def run(self) -> None:
        """Work whenever woken; a failure is tried again, sooner or later by its kind."""
        while True:
            await self._wake.wait()
            self._wake.clear()
            try:
                await self.step()
            except KernelError as error:
                self._note_failure(error)
                await asyncio.sleep(self._pause(error))
                self.distrust()
            else:
                self._retry = _SOON
                self.last_error = None

    async def step(self) -> None:
        """Bring the kernel to where the book is. Where that fails, whoever asked for it, it is tried again."""
        async with self._lock:
            try:
                await self._step()
            except KernelError:
                self.distrust()
                raise
            waiting, self._waiting = self._waiting, []
            for each in waiting:
                if not each.done():
                    each.set_result(None)

    async def settle(self, within: float) -> None:
        """Do the same, but where it fails, wait so many seconds for a later try before the failure is told."""
        try:
            await self.step()
        except KernelError as error:
            if not await self._later_try(within):
                raise KernelError(f"the kernel refuses it so far, and it is tried again: {error}") from error

    async def _later_try(self, within: float) -> bool:
        waiting: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiting.append(waiting)
        try:
            async with asyncio.timeout(within):
                await waiting
        except TimeoutError:
            with suppress(ValueError):  # a step that succeeded at this very moment has taken it
                self._waiting.remove(waiting)
            return False
        return True

    async def _step(self) -> None:
        if self._need_dump:
            self._need_dump = False  # a disturbance from here on asks for another look
            holding = await self._call(self.backend.dump)
            self._found = (holding, self.backend.layout())
            self.book.never.rebase(*self._found, self._clock())
            if not holding:  # then all that will be wanted is missing, and needs no comparing when it comes
                self._rebase()
        if not self.book.synced:
            await self._let_pass()
            return
        self._rebase()
        change, spared = self.book.plan(self._clock()), self.book.never.entries
        if change or not self.backend.whole():
            await self._write(change)
        self.settled.set()
        self.told(change, spared)

    def _rebase(self) -> None:
        if self._found is not None:
            off = self.book.rebase(*self._found, self._clock())
            self._found = None
            _log.debug("the kernel differs in %d elements", off)

    async def at_rest(self) -> None:
        """Wait until what the state file told is in the kernel; not for ever, and not if it told nothing."""
        if self.book.synced:
            with suppress(TimeoutError):
                async with asyncio.timeout(_LONGEST):
                    await self.settled.wait()

    async def replace(self, backend: Backend) -> Backend:
        """Go on with another backend; returns the one before, still in place."""
        async with self._lock:
            self._unwatch()
            before, self.backend = self.backend, backend
            self._watch()
            self.distrust()
        return before

    async def clear(self, backend: Backend) -> None:
        """Take out of the kernel what another backend, which is not to be used any more, has there."""
        async with self._lock:
            await self._call(backend.remove)
            backend.close()

    async def remove(self) -> None:
        """Take everything of ours out of the kernel."""
        async with self._lock:
            self._unwatch()
            await self._call(self.backend.remove)

    def close(self) -> None:
        """Stop working; the kernel stays as it is."""
        self._unwatch()
        self._worker.shutdown(wait=True)
        self.backend.close()

    async def alone(self, work: Callable[[], T]) -> T:
        """Have something done between two writes."""
        async with self._lock:
            return await self._call(work)

    async def call(self, work: Callable[[], T]) -> T:
        """Have something read in a thread of its own: it doesn't wait for a large write."""
        return await asyncio.get_running_loop().run_in_executor(None, work)

    async def pulse(self) -> None:
        """Look now and then where the kernel doesn't tell by itself that somebody changed something."""
        while True:
            seconds = self.backend.pulse()
            await asyncio.sleep(seconds or 60.0)
            if seconds:
                async with self._lock:
                    who = await self._call(self.backend.disturbed)
                self._judge(who)

    async def _let_pass(self) -> None:
        """Where bans of an earlier run stand and no page has come yet, write only who is never blocked."""
        holding, layout = self._found or ({}, Layout(flatten=True))
        stand = any(held for target, held in holding.items() if target.group != NEVER_BLOCK)
        if stand or layout.unread:
            change = self.book.plan(self._clock())
            if change:
                await self._write(change)

    async def _write(self, change: Change) -> None:
        began = self._clock()
        self.writing = sum(map(len, change.values())), began
        try:
            await self._call(lambda: self.backend.apply(change))
        finally:
            self.writing = None
        self.book.done(change)
        self.last_write_ms = float(self._clock() - began)
        self.took.add(self.last_write_ms / 1000)
        if self.backend.fileno() is not None:
            self._look()  # a large write hides notifications: it says itself whether it missed any

    async def _call(self, work: Callable[[], T]) -> T:
        return await asyncio.get_running_loop().run_in_executor(self._worker, work)

    def _watch(self) -> None:
        descriptor = self.backend.fileno()
        if descriptor is not None:
            asyncio.get_running_loop().add_reader(descriptor, self._look)

    def _unwatch(self) -> None:
        descriptor = self.backend.fileno()
        if descriptor is not None:
            asyncio.get_running_loop().remove_reader(descriptor)

    def _look(self) -> None:
        self._judge(self.backend.disturbed())

    def _judge(self, who: str | None) -> None:
        if who is None:
            return
        self.repairs += 1
        _log.warning("%s changed our rules or sets; putting them right", who, extra=fields("repair", by=who))
        loop = asyncio.get_running_loop()
        now = loop.time()
        self._repaired = [at for at in self._repaired if at > now - _CALM] + [now]
        if len(self._repaired) <= _BURST:
            self.distrust()
        else:
            loop.call_later(_CALM, self.distrust)

    def _note_failure(self, error: KernelError) -> None:
        if str(error) != self.last_error:
            _log.error("the kernel refused a change, trying again: %s", error, extra=fields("kernel_error"))
        self.last_error = str(error)

    def _pause(self, error: KernelError) -> float:
        self._retry = min(self._retry * 2, _LONGEST)
        return self._retry if isinstance(error, KernelBusy) else max(self._retry, _LATER)
