"""Tells the log which bans began and ended: each by itself where they are few, or how many there were."""

from __future__ import annotations

import logging
import time
from typing import TYPE_CHECKING

from fwbouncer.core.addresses import shown
from fwbouncer.core.cover import around
from fwbouncer.core.names import escaped, parts
from fwbouncer.daemon.listing import Dates
from fwbouncer.host.logs import fields

if TYPE_CHECKING:
    from collections.abc import Sequence

    from fwbouncer.core.book import Book
    from fwbouncer.core.journal import Entry
    from fwbouncer.core.model import Millis

_log = logging.getLogger("fwbouncer.bans")


def tell(book: Book, now: Millis) -> int:
    """Log the bans that began or ended since the last time; returns how many were too many to be told."""
    came, went, untold = book.ledger.journal.take()
    dates = Dates(time.time_ns() // 1_000_000, now)
    for entry in _known(went):
        address = shown(entry.key)
        why = "expired" if entry.deadline <= now else "ended"
        still = any(True for _ in around(book.ledger, entry.key))
        words = "%s: a ban has ended, another one stays" if still else "%s is no longer banned"
        _log.info(words, address, extra=fields("unban", **_about(entry), why=why, still_banned=still))
    for entry in _known(came):
        until = dates.text(entry.deadline)
        _log.info("%s is banned", shown(entry.key), extra=fields("ban", **_about(entry), until=until))
    return untold


def _known(entries: Sequence[Entry]) -> list[Entry]:
    """Leave out bans that were found in the kernel: no decision is known for them yet."""
    return [entry for entry in entries if entry.decision >= 0]


def _about(entry: Entry) -> dict[str, object]:
    label = entry.label
    return {
        "decision": entry.decision,
        "address": shown(entry.key),
        "origin": escaped(label.origin),
        "scenario": escaped(label.scenario),
        "type": label.type,
        "policy": parts(label.group)[1] or "default",
    }
