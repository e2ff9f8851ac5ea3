"""Makes the real objects that a configuration asks for."""

from __future__ import annotations

import logging
import random
import time
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from fwbouncer.config.schema import Config, Mode
from fwbouncer.core.book import Book
from fwbouncer.core.pacing import Pacing
from fwbouncer.daemon.cutter import Cutter
from fwbouncer.daemon.guardian import Guardian, Senses
from fwbouncer.daemon.metrics import Metrics
from fwbouncer.errors import KernelError
from fwbouncer.host.remembered import Remembered
from fwbouncer.host.systemd import Manager, kernel_can_own
from fwbouncer.kernel import strays
from fwbouncer.kernel.memory import DryRun
from fwbouncer.kernel.nftables import Nftables
from fwbouncer.kernel.sessions import Sessions
from fwbouncer.kernel.socket import NetlinkSocket
from fwbouncer.lapi.client import Client

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from fwbouncer.core.model import Family, Millis
    from fwbouncer.core.sorting import Sorting
    from fwbouncer.daemon.keeper import Keeper
    from fwbouncer.daemon.parts import Parts
    from fwbouncer.kernel.backend import Backend

_log = logging.getLogger("fwbouncer")


def clock() -> Millis:
    """Return the milliseconds since boot; they count on while the machine sleeps, and nobody can set them."""
    return time.clock_gettime_ns(time.CLOCK_BOOTTIME) // 1_000_000


@dataclass(frozen=True, slots=True)
class Place:
    """Where we write: the socket that lives on in the manager's store, if there is one."""

    sock: NetlinkSocket | None
    owned: bool
    former: NetlinkSocket | None = None  # was kept for an earlier configuration; what it owns still stands


def place(config: Config, manager: Manager) -> Place:
    """Take over the socket that was kept for us, or make one and have it kept."""
    kept = manager.kept()
    if config.mode is not Mode.NFTABLES:
        return Place(None, owned=False, former=kept)
    ours_alone = not any(family.set_only for family in config.nft.values())
    if manager.keeps_sockets and kernel_can_own() and ours_alone:
        sock = kept or NetlinkSocket.open()
        manager.keep(sock)
        return Place(sock, owned=True)
    if kept is not None:
        _release(kept, manager)  # at once: what it owns may have the names that are needed now
    return Place(NetlinkSocket.open(), owned=False)


def clear_earlier(config: Config, where: Place, manager: Manager) -> None:
    """Take away what an earlier configuration had in the kernel and this one doesn't name; it blocks."""
    try:
        if where.owned and where.sock is not None:
            strays.clear(where.sock, {(family, there.table) for family, there in config.nft.items()})
        elif where.former is not None:
            _release(where.former, manager)
    except KernelError as error:
        _log.warning("tables of an earlier configuration stay until the service is stopped: %s", error)


def _release(sock: NetlinkSocket, manager: Manager) -> None:
    strays.clear(sock, ())
    sock.close()
    manager.forget()


def backend(config: Config, where: Place) -> Backend:
    """Make the backend of the mode."""
    if config.mode is Mode.NFTABLES:
        sock = where.sock or NetlinkSocket.open()
        return Nftables(config, clock, sock, owned=where.owned)
    if config.mode is Mode.DRY_RUN:
        return DryRun(clock)
    from fwbouncer.kernel import xtables_backend  # noqa: PLC0415 - costs time, and few need it

    return xtables_backend.open_backend(config, clock)


def left_behind(before: Config, after: Config) -> Config | None:
    """Return a configuration of just what the new one no longer names; None if there is nothing."""
    if before.mode is Mode.NFTABLES:
        named = {(family, there.table) for family, there in after.nft.items()}
        tables = {family: there for family, there in before.nft.items() if (family, there.table) not in named}
        return replace(before, nft=tables) if tables else None
    gone = tuple(family for family in before.families if family not in after.families)
    return replace(before, families=gone) if gone else None


def book(config: Config) -> Book:
    """Make an empty book; families whose one set is the administrator's have one group."""
    return Book(folded=_folded(config))


def client(config: Config, sorting: Sorting) -> Client:
    """Make the client that asks the LAPI."""
    return Client(
        config.lapi,
        families=config.families,
        label_of=sorting.label,
        clock=clock,
    )


def pacing(config: Config) -> Pacing:
    """Make the timetable of polls."""
    return Pacing(
        max(1, int(config.lapi.update_frequency * 1000)),
        int(config.lapi.resync_interval * 1000),
        random.random,
    )


def guardian(config: Config, keeper: Keeper) -> Guardian:
    """Make the one who follows who is never blocked."""
    file = state_file(config)
    remembered = Remembered(file.parent if file else None, clock, lambda: time.time_ns() // 1_000_000)
    return Guardian(config, keeper, clock, Senses(remembered))


def cutter(config: Config, keeper: Keeper) -> Cutter:
    """Make the one who cuts open sessions."""
    return Cutter(config, keeper, Sessions(), clock)


async def metrics(config: Config, keeper: Keeper, parts: Callable[[], Parts]) -> Metrics:
    """Make the one who counts, and have it take over what was counted before."""
    file = state_file(config)
    made = Metrics(keeper, parts, clock, file.parent if file else None)
    await made.counting.begin()
    return made


def state_file(config: Config) -> Path | None:
    """Return where the bans are kept; a dry run has none to keep."""
    return None if config.mode is Mode.DRY_RUN else config.state_file


def _folded(config: Config) -> list[Family]:
    if config.mode is Mode.IPSET:
        return list(config.families)
    return [family for family, there in config.nft.items() if there.set_only]
