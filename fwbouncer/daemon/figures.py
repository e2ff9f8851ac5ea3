"""Gathers what Prometheus is told."""

from __future__ import annotations

import os
import time
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING

from fwbouncer import __version__
from fwbouncer.config.schema import Config, Mode
from fwbouncer.control.figures import Figures, Process
from fwbouncer.core.model import NEVER_BLOCK, ONE_GROUP, PROCESSED, Family, Millis
from fwbouncer.core.names import origin_of
from fwbouncer.core.tally import Totals, Traffic, renamed

if TYPE_CHECKING:
    from collections.abc import Callable

    from fwbouncer.core.ledger import Ledger
    from fwbouncer.daemon.parts import Parts

_NO_BANS = (NEVER_BLOCK, PROCESSED)
_STATM = Path("/proc/self/statm")
_FILES = Path("/proc/self/fd")


def origins(config: Config) -> Callable[[str], str]:
    """Return what names the origin behind a group. Where one set takes all, it has the incumbent's word for that."""
    every = next((place.blacklists for place in config.nft.values() if place.set_only), ONE_GROUP)
    every = "ipset" if config.mode is Mode.IPSET else every

    def name(group: str) -> str:
        return every if group == ONE_GROUP else origin_of(group)

    return name


def banned(config: Config, ledger: Ledger) -> dict[tuple[str, Family], int]:
    """Count what is banned by origin. What two policies ban for one origin stands in two sets, and counts twice."""
    found: Counter[tuple[str, Family]] = Counter()
    name = origins(config)
    for (group, family), number in ledger.census.banned().items():
        if family in config.families:
            found[name(group), family] += number
    return dict(found)


def figures(parts: Parts, totals: Totals, now: Millis) -> Figures:
    """Put them together; costs the same however many bans there are."""
    config, keeper, poller, book = parts.config, parts.keeper, parts.poller, parts.keeper.book

    def ago(then: Millis | None) -> float | None:
        return None if then is None else (now - then) / 1000

    return Figures(
        version=__version__,
        mode=config.mode.value,
        owned=parts.owned,
        process=_process((now - parts.since) / 1000),
        lapi_requests=poller.client.requests,
        lapi_failures=poller.client.failures,
        lapi_answers=poller.last_answer is not None and poller.error is None,
        answer_age=ago(poller.last_answer),
        snapshot_age=ago(poller.last_snapshot),
        polls=poller.took,
        decisions=len(book.ledger),
        banned=banned(config, book.ledger),
        doubted=book.doubted,
        provisional=book.provisional,
        rejects=dict(book.rejects),
        ignored=dict(book.ignored),
        never_block=len(book.never),
        elements=len(book.wanted),
        drift=len(book.delta),
        held_back=book.delta.held_back,
        kernel_takes=keeper.last_error is None,
        repairs=keeper.repairs,
        applies=keeper.took,
        sessions_cut=parts.cutter.status(now).cut,
        dropped=renamed(
            {place: t for place, t in totals.items() if place[0] not in _NO_BANS}, origins(config)
        ),
        processed=_by_family(config, totals, PROCESSED),
        spared=_by_family(config, totals, NEVER_BLOCK),
    )


def _by_family(config: Config, totals: Totals, group: str) -> dict[Family, Traffic]:
    return {family: totals.get((group, family), Traffic()) for family in config.families}


def _process(age: float) -> Process:
    words = _STATM.read_text().split()
    return Process(
        started=time.time() - age,
        cpu=time.process_time(),
        memory=int(words[1]) * os.sysconf("SC_PAGE_SIZE"),
        files=len(list(_FILES.iterdir())),
    )
