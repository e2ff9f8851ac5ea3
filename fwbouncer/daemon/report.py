"""Puts together what the daemon says about itself."""

from __future__ import annotations

import os
from collections import Counter
from dataclasses import asdict, replace
from typing import TYPE_CHECKING, Any

from fwbouncer import __version__
from fwbouncer.control.status import (
    DecisionStatus,
    KernelStatus,
    LapiStatus,
    LoadingStatus,
    ProtectStatus,
    Status,
    Traffic,
)
from fwbouncer.core import tally
from fwbouncer.core.model import NEVER_BLOCK, PROCESSED, Family, Millis
from fwbouncer.core.ports import words
from fwbouncer.core.tally import renamed
from fwbouncer.daemon.figures import origins

if TYPE_CHECKING:
    from collections.abc import Iterator

    from fwbouncer.config.schema import Config
    from fwbouncer.core.book import Book
    from fwbouncer.core.tally import Totals
    from fwbouncer.daemon.keeper import Keeper
    from fwbouncer.daemon.parts import Parts
    from fwbouncer.daemon.poller import Poller
    from fwbouncer.daemon.saver import Saver
    from fwbouncer.daemon.scope import Scope


def status(parts: Parts, totals: Totals, now: Millis) -> Status:
    """Gather the answer to the command status."""
    config, keeper, book = parts.config, parts.keeper, parts.keeper.book
    dropped, processed, spared = _traffic(config, totals)
    return Status(
        version=__version__,
        pid=os.getpid(),
        mode=config.mode.value,
        owned=parts.owned,
        since=(now - parts.since) / 1000,
        lapi=_lapi(parts.poller, now),
        loading=_loading(parts, now),
        decisions=_decisions(keeper),
        kernel=_kernel(keeper),
        protect=_protect(config, parts.scope),
        rejects=dict(book.rejects),
        ignored=dict(book.ignored),
        dropped=dropped,
        processed=processed,
        never_block=replace(parts.guardian.status(), passed=spared),
        sessions=parts.cutter.status(now),
        warnings=(
            *config.warnings,
            *_warnings(book, parts.saver),
            *parts.guardian.warnings,
            *parts.scope.warnings,
        ),
    )


def _protect(config: Config, scope: Scope) -> ProtectStatus:
    closing = [policy for policy in config.policies if not policy.passes]
    reading = scope.reading
    return ProtectStatus(
        ports=words(config.policies.protected()),
        policies={policy.name or "default": words(policy.ports) for policy in closing},
        replies=config.replies.value,
        james_conf=str(reading.folder) if reading else None,
        proxied=str(reading.proxied_ports) if reading else "",
    )


def traffic(config: Config, totals: Totals) -> dict[str, Any]:
    """Return what was dropped by origin, and what was seen and let pass, as the command top asks for it."""
    dropped, processed, spared = _traffic(config, totals)
    return {
        "dropped": {group: asdict(each) for group, each in dropped.items()},
        "processed": asdict(processed),
        "never_block": asdict(spared),
    }


def _loading(parts: Parts, now: Millis) -> LoadingStatus | None:
    """Say how far the first load is, until the kernel holds it."""
    poller, keeper = parts.poller, parts.keeper
    if keeper.writing is not None and not keeper.settled.is_set():
        elements, since = keeper.writing
        return LoadingStatus("writing", elements, (now - since) / 1000)
    if poller.asking is not None and poller.last_snapshot is None:
        return LoadingStatus("fetching", poller.client.arriving, (now - poller.asking) / 1000)
    return None


def _kernel(keeper: Keeper) -> KernelStatus:
    return KernelStatus(
        elements=len(keeper.book.wanted),
        pending=len(keeper.book.delta),
        held_back=keeper.book.delta.held_back,
        settled=keeper.settled.is_set(),
        last_error=keeper.last_error,
        repairs=keeper.repairs,
        last_write_ms=keeper.last_write_ms,
    )


def _warnings(book: Book, saver: Saver) -> Iterator[str]:
    if book.provisional:
        yield "the bans are those of the last run: the LAPI has not answered since the start"
    if book.doubted:
        yield f"{book.doubted} bans are missing in the LAPI's list, and stay until it lacks them a second time"
    if saver.warning:
        yield saver.warning


def _lapi(poller: Poller, now: Millis) -> LapiStatus:
    def ago(then: Millis | None) -> float | None:
        return None if then is None else (now - then) / 1000

    return LapiStatus(
        url=poller.client.url,
        last_answer_ago=ago(poller.last_answer),
        failing_since=ago(poller.pacing.failing_since),
        error=poller.error,
        next_poll_in=max(0.0, (poller.next_poll - now) / 1000),
        snapshot_age=ago(poller.last_snapshot),
    )


def _decisions(keeper: Keeper) -> DecisionStatus:
    origins: Counter[str] = Counter()
    types: Counter[str] = Counter()
    lengths: Counter[int] = Counter()
    for label, length, count in keeper.book.ledger.census:
        origins[label.origin] += count
        types[label.type] += count
        lengths[length] += count
    four, six = Family.V4.size, Family.V6.size
    return DecisionStatus(
        total=len(keeper.book.ledger),
        by_origin=dict(origins),
        by_type=dict(types),
        by_family={"IPv4": lengths[four] + lengths[four + 1], "IPv6": lengths[six] + lengths[six + 1]},
        hosts=lengths[four] + lengths[six],
        ranges=lengths[four + 1] + lengths[six + 1],
    )


def _traffic(config: Config, totals: Totals) -> tuple[dict[str, Traffic], Traffic, Traffic]:
    """Return what was dropped by origin, what was seen, and what came from never-blocked peers."""
    sums: dict[str, tally.Traffic] = {}
    for (name, _), each in renamed(totals, origins(config)).items():
        sums[name] = sums.get(name, tally.Traffic()).plus(each)
    processed, spared = (Traffic(*sums.pop(name, (0, 0))) for name in (PROCESSED, NEVER_BLOCK))
    return {name: Traffic(*each) for name, each in sums.items()}, processed, spared
