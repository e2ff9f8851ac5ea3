"""Follows who is never blocked: this host's addresses, gateways, the LAPI, what is listed, and who was unblocked."""

from __future__ import annotations

import asyncio
import logging
from contextlib import suppress
from dataclasses import dataclass, field
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from fwbouncer.control.status import NeverBlockStatus
from fwbouncer.core.addresses import read, shown
from fwbouncer.core.model import FOREVER
from fwbouncer.daemon.name_watch import NameWatch
from fwbouncer.daemon.ssh_watch import SshWatch
from fwbouncer.daemon.unblocked import Unblocked
from fwbouncer.errors import KernelError
from fwbouncer.host import names, routes
from fwbouncer.host.lists import Lists
from fwbouncer.host.ssh import Sessions

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from fwbouncer.config.schema import Config
    from fwbouncer.core.model import AddressKey, Millis
    from fwbouncer.daemon.keeper import Keeper
    from fwbouncer.host.names import Resolver
    from fwbouncer.host.remembered import Remembered
    from fwbouncer.kernel.backend import Clock

_log = logging.getLogger("fwbouncer.never_block")

_CALM = 0.1  # seconds between two looks at the network; many interfaces come up one after the other
_SURE = 60.0  # then it is looked at in any case
_SESSIONS, _SESSIONS_ALONE = 2.0, 10.0  # where they are only warned of, there is no hurry
_FILES = 5.0


@dataclass(frozen=True, slots=True)
class Senses:
    """Where the guardian's knowledge comes from."""

    remembered: Remembered
    own_addresses: Callable[[], set[AddressKey]] = routes.own_addresses
    gateways: Callable[[], set[AddressKey]] = routes.gateways
    resolve: Resolver = names.resolve
    sessions: Sessions = field(default_factory=Sessions.of_this_host)


class Guardian:
    """The one who tells the book whom to spare."""

    def __init__(self, config: Config, keeper: Keeper, clock: Clock, senses: Senses) -> None:
        self._config = config
        self._keeper = keeper
        self._senses = senses
        self._changes = routes.Changes()
        self._moved = asyncio.Event()
        self._around: dict[str, set[AddressKey]] = {}
        self._complaint: str | None = None
        self._lists = Lists()
        self._names = NameWatch(senses.resolve, senses.remembered, clock, self._apply)
        self._ssh = SshWatch(senses.sessions, keeper.book, clock)
        self.unblocked = Unblocked(keeper, senses.remembered, clock, self._apply)

    @property
    def warnings(self) -> tuple[str, ...]:
        """Return what the administrator should know now."""
        return self._ssh.warnings

    async def begin(self) -> None:
        """Gather everything for the first time; names of which nothing is known delay it a little."""
        asyncio.get_running_loop().add_reader(self._changes.fileno(), self._on_change)
        self._look_around()
        self._ssh.look()
        self._lists.follow(self._config.never_block.files, self._config.warnings)
        await self._names.begin(self._every_name())
        self._apply()

    async def run(self) -> None:
        """Follow every change, for ever."""
        works = (
            self._follow_network,
            self._follow_sessions,
            self._follow_files,
            self._names.run,
            self.unblocked.run,
        )
        async with asyncio.TaskGroup() as group:
            for work in works:
                group.create_task(work())

    def change_to(self, config: Config) -> None:
        """Take over another configuration; names that are new in it are looked up at once."""
        self._config = config
        self._lists.follow(config.never_block.files, config.warnings)
        self._names.follow(self._every_name())
        self._ssh.look()
        self._apply()
        self.after_poll()

    def after_poll(self) -> None:
        """Look whether somebody who is logged in has been banned."""
        self._ssh.judge(spared=self._config.never_block.ssh_peers)

    def close(self) -> None:
        """Listen no longer."""
        asyncio.get_running_loop().remove_reader(self._changes.fileno())
        self._changes.close()

    def status(self) -> NeverBlockStatus:
        """Return what the status shows."""
        found = {source: [shown(key) for key in keys] for source, keys in self.sources().items() if keys}
        return NeverBlockStatus(len(self._keeper.book.never), found)

    def _apply(self) -> None:
        """Tell the book, and whoever keeps the kernel, if anything is new."""
        entries: dict[AddressKey, Millis] = {}
        for keys in self.sources().values():
            for key, until in keys.items():
                entries[key] = max(until, entries.get(key, 0))
        if entries == self._keeper.book.never.entries:
            return
        if self._keeper.book.spare(entries):
            self._keeper.distrust()
        else:
            self._keeper.wake()

    def sources(self) -> dict[str, dict[AddressKey, Millis]]:
        """Return who is never blocked until when, by what says so."""
        ours, addresses = self._config.never_block, self._names.addresses()
        keys, hosts = lapi_hosts(self._config.lapi.urls)
        found: dict[str, Iterable[AddressKey]] = {
            **self._around,
            "lapi": [*keys, *(key for name in hosts for key in addresses.get(name, ()))],
            "listed": ours.networks,
            "proxies": self._config.proxies,
            **{f"file:{path}": there.networks for path, there in self._lists.contents.items()},
            **{name: addresses.get(name, ()) for name in self._listed_names()},
            "ssh-peers": self._ssh.peers if ours.ssh_peers else (),
        }
        every = {source: dict.fromkeys(sorted(keys, key=_rank), FOREVER) for source, keys in found.items()}
        return {**every, "unblocked": dict(self.unblocked.until)}

    def _listed_names(self) -> list[str]:
        in_files = (name for there in self._lists.contents.values() for name in there.names)
        return list(dict.fromkeys([*self._config.never_block.names, *in_files]))

    def _every_name(self) -> list[str]:
        return list(dict.fromkeys([*self._listed_names(), *lapi_hosts(self._config.lapi.urls)[1]]))

    def _on_change(self) -> None:
        if self._changes.seen():
            self._moved.set()

    async def _follow_network(self) -> None:
        while True:
            with suppress(TimeoutError):
                async with asyncio.timeout(_SURE):
                    await self._moved.wait()
            self._moved.clear()
            await asyncio.to_thread(self._look_around)  # a router has a million routes
            self._apply()
            self._names.network_moved()
            await asyncio.sleep(_CALM)

    def _look_around(self) -> None:
        try:
            own, gateways = self._senses.own_addresses(), self._senses.gateways()
        except KernelError as error:
            if str(error) != self._complaint:
                _log.warning("this host's addresses and routes can't be read: %s", error)
            self._complaint = str(error)
        else:
            self._around = {"own-addresses": own, "gateways": gateways}

    async def _follow_sessions(self) -> None:
        while True:
            spared = self._config.never_block.ssh_peers
            await asyncio.sleep(_SESSIONS if spared else _SESSIONS_ALONE)
            self._ssh.look()
            self._apply()
            self.after_poll()

    async def _follow_files(self) -> None:
        while True:
            await asyncio.sleep(_FILES)
            if self._lists.look():
                self._names.follow(self._every_name())
                self._apply()


def _rank(key: AddressKey) -> tuple[bool, AddressKey]:
    """Sort IPv4 first."""
    return len(key) > 5, key


def lapi_hosts(urls: Iterable[str]) -> tuple[list[AddressKey], list[str]]:
    """Return the LAPI's addresses as far as its URLs tell them, and the host names in the others."""
    keys: list[AddressKey] = []
    hosts: list[str] = []
    for url in urls:
        host = (urlsplit(url).hostname or "") if "://" in url else ""
        try:
            keys.append(read(host.partition("%")[0]))
        except ValueError:
            if host and host != "localhost":
                hosts.append(host.rstrip("."))
    return keys, hosts
