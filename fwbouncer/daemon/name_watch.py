"""Looks up host names again and again, each in a thread, so that a DNS server that hangs holds nobody up."""

from __future__ import annotations

import asyncio
import random
from contextlib import suppress
from typing import TYPE_CHECKING

from fwbouncer.daemon.aside import aside
from fwbouncer.host.names import Names

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

    from fwbouncer.core.model import AddressKey
    from fwbouncer.host.names import Resolver
    from fwbouncer.host.remembered import Remembered
    from fwbouncer.kernel.backend import Clock

_FIRST_ANSWERS = 2.0  # seconds that the first bans wait for names of which nothing is known
_AGAIN, _FAILED = 300.0, 30.0  # programs aren't told how long an answer is good
_AT_ONCE = 8


class NameWatch:
    """The names and their addresses; `changed` is called after each answer."""

    def __init__(
        self, resolve: Resolver, remembered: Remembered, clock: Clock, changed: Callable[[], None]
    ) -> None:
        self._resolve = resolve
        self._remembered = remembered
        self._clock = clock
        self._changed = changed
        self._names = Names()
        self._hurry = asyncio.Event()

    async def begin(self, names: Iterable[str]) -> None:
        """Begin with what an earlier run knew; what is not known is looked up, but not waited for without end."""
        self._names.follow(names, self._remembered.names())
        unknown = self._names.unknown()
        if unknown:
            with suppress(TimeoutError):
                async with asyncio.timeout(_FIRST_ANSWERS):
                    await self._look_up(unknown)

    def follow(self, names: Iterable[str]) -> None:
        """Follow these names and no others, and look all up soon."""
        self._names.follow(names)
        self._hurry.set()

    def network_moved(self) -> None:
        """Try again at once what failed: the network may be up now."""
        if self._names.failing():
            self._hurry.set()

    def addresses(self) -> Mapping[str, Iterable[AddressKey]]:
        """Return what each name stands for."""
        return self._names.addresses()

    async def run(self) -> None:
        """Look up, for ever."""
        while True:
            await self._look_up(list(self._names.addresses()))
            wait = _FAILED if self._names.failing() else _AGAIN
            with suppress(TimeoutError):
                async with asyncio.timeout(wait * random.uniform(0.9, 1.1)):
                    await self._hurry.wait()
            self._hurry.clear()

    async def _look_up(self, names: Iterable[str]) -> None:
        before, at_once = self._names.addresses(), asyncio.Semaphore(_AT_ONCE)

        async def ask(name: str) -> None:
            async with at_once:
                self._names.take(name, await self._ask(name), self._clock())
                self._changed()

        try:
            await asyncio.gather(*map(ask, names))
        finally:
            after = self._names.addresses()
            if after != before:
                self._remembered.keep_names(after)

    async def _ask(self, name: str) -> Iterable[str] | OSError:
        try:
            return await aside(lambda: self._resolve(name))
        except OSError as error:
            return error
        except UnicodeError as error:  # a label that internationalised names can't have
            return OSError(str(error))
