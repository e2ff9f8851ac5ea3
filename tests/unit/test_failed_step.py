"""A look at the kernel or a write that fails for a command's sake is made good by the keeper, without another cause."""

from __future__ import annotations

import asyncio
from collections import deque
from typing import TYPE_CHECKING

import pytest

from fwbouncer.core.book import Book
from fwbouncer.daemon.keeper import Keeper
from fwbouncer.daemon.unblocked import Unblocked
from fwbouncer.errors import KernelBusy, KernelError
from fwbouncer.host.remembered import Remembered
from fwbouncer.kernel.memory import Memory
from tests.unit.core_naive import HOUR, LABELS, page

if TYPE_CHECKING:
    from fwbouncer.core.model import Change, Holding

NOW = 1_000_000
HOST = bytes([192, 0, 2, 7])


class Unsteady(Memory):
    """A kernel that can't be read, or takes nothing, for a while."""

    def __init__(self) -> None:
        super().__init__(lambda: NOW)
        self.unreadable: deque[KernelError] = deque()
        self.unwritable: deque[KernelError] = deque()

    def dump(self) -> Holding:
        """Refuse, or read."""
        if self.unreadable:
            raise self.unreadable.popleft()
        return super().dump()

    def apply(self, change: Change) -> None:
        """Refuse, or write."""
        if self.unwritable:
            raise self.unwritable.popleft()
        super().apply(change)


@pytest.mark.parametrize("fault", ["unreadable", "unwritable"])
def test_a_step_that_failed_for_somebody_else_is_tried_again(fault: str) -> None:
    """The one who asked is told of the failure; a moment later the kernel is as it must be."""

    async def scene() -> None:
        kernel = Unsteady()
        keeper = Keeper(Book(), kernel, lambda: NOW)
        await keeper.step()
        keeper.book.take(page([(1, HOST, NOW + HOUR, LABELS[0])], startup=True), NOW)
        await keeper.step()
        work = asyncio.create_task(keeper.run())
        await asyncio.sleep(0)
        kernel.flush()
        keeper.distrust()
        getattr(kernel, fault).append(KernelBusy("so it goes"))
        with pytest.raises(KernelBusy):
            await keeper.step()
        keeper.settled.clear()
        async with asyncio.timeout(5):
            await keeper.settled.wait()
        assert kernel.bans(HOST)
        work.cancel()
        keeper.close()

    asyncio.run(scene())


@pytest.mark.parametrize("fault", ["unreadable", "unwritable"])
@pytest.mark.parametrize("times", [1, 3])
def test_a_command_waits_for_the_next_try(fault: str, times: int) -> None:
    """Who unblocks an address while somebody else spoils the write is told of success, once it is in the kernel."""

    async def scene() -> None:
        kernel = Unsteady()
        keeper = Keeper(Book(), kernel, lambda: NOW)
        await keeper.step()
        keeper.book.take(page([(1, HOST, NOW + HOUR, LABELS[0])], startup=True), NOW)
        await keeper.step()
        work = asyncio.create_task(keeper.run())
        unblocked = Unblocked(
            keeper, Remembered(None, lambda: NOW, lambda: 0), lambda: NOW, lambda: _spare(keeper, unblocked)
        )
        getattr(kernel, fault).extend([KernelError("create chain: Invalid argument")] * times)
        if fault == "unreadable":
            keeper.distrust()
        answer = await asyncio.wait_for(unblocked.handle({"address": "192.0.2.7", "seconds": 60}), 20)
        assert answer["address"] == "192.0.2.7"
        assert not kernel.bans(HOST)
        work.cancel()
        keeper.close()

    asyncio.run(scene())


def test_a_command_waits_not_for_ever() -> None:
    """Where the kernel goes on refusing, the command says so, and what the kernel says; the unblocking stays wanted."""

    async def scene() -> None:
        kernel = Unsteady()
        keeper = Keeper(Book(), kernel, lambda: NOW)
        await keeper.step()
        keeper.book.take(page([], startup=True), NOW)
        kernel.unwritable.extend([KernelError("Invalid argument")] * 50)
        keeper.book.spare({HOST: NOW + HOUR})
        work = asyncio.create_task(keeper.run())
        with pytest.raises(KernelError, match="is tried again: Invalid argument"):
            await keeper.settle(0.1)
        kernel.unwritable.clear()
        await keeper.settle(5)
        assert not keeper._waiting
        work.cancel()
        keeper.close()

    asyncio.run(scene())


def _spare(keeper: Keeper, unblocked: Unblocked) -> None:
    if keeper.book.spare(unblocked.until):
        keeper.distrust()
