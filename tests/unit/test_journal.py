"""Events: each ban that begins or ends is told by itself where they are few, and counted where they are many."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Any

from hypothesis import given
from hypothesis import strategies as st

from fwbouncer.core.book import Book
from fwbouncer.core.journal import MOST
from fwbouncer.core.ledger import Ledger
from fwbouncer.core.model import Label
from fwbouncer.daemon.teller import tell
from tests.unit.core_naive import HOUR, LABELS, page, pages, thorough

if TYPE_CHECKING:
    import pytest

NOW = 100 * HOUR
A, B = bytes([192, 0, 2, 1]), bytes([192, 0, 2, 2])


@thorough
@given(st.data())
def test_the_notes_are_the_difference(data: st.DataObject) -> None:
    """Whatever came and went between two looks: who is noted is who differs, each once."""
    ledger = Ledger()
    for _ in range(data.draw(st.integers(1, 4))):
        before = {row[0]: row[1:] for row in _rows(ledger)}
        for _ in range(data.draw(st.integers(0, 3))):
            ledger.absorb(data.draw(pages(NOW)), NOW)
        ledger.expire(NOW + data.draw(st.integers(0, 5 * HOUR)))
        after = {row[0]: row[1:] for row in _rows(ledger)}
        came, went, many = ledger.journal.take()
        if many:
            assert many > MOST
            assert not came
            assert not went
            continue
        assert {entry.decision for entry in went} == before.keys() - after.keys()
        assert {entry.decision for entry in came} >= after.keys() - before.keys()
        assert all(entry.decision in after for entry in came)


def _rows(ledger: Ledger) -> list[tuple[int, bytes, int, Label]]:
    return [
        (i, k, d, label)
        for i, k, d, label in zip(*ledger.section(0, ledger.rows), strict=True)
        if label is not None
    ]


def _events(caplog: pytest.LogCaptureFixture) -> list[dict[str, Any]]:
    found = [vars(record) for record in caplog.records]
    caplog.clear()
    return found


def test_few_are_told_one_by_one(caplog: pytest.LogCaptureFixture) -> None:
    """A ban, its end while another stays, and the last one's end: each is an event with the decision's id."""
    caplog.set_level(logging.INFO, "fwbouncer")
    book = Book()
    evil = Label("crow\x1bd", "scan\n", "ban", "crowdsec")
    book.take(page([(1, A, NOW + HOUR, LABELS[0]), (2, A, NOW + 2 * HOUR, evil)], startup=True), NOW)
    assert tell(book, NOW) == 0
    one, two = _events(caplog)
    assert (one["event"], one["decision"], one["address"], one["origin"]) == (
        "ban",
        1,
        "192.0.2.1",
        "crowdsec",
    )
    assert (two["origin"], two["scenario"]) == ("crow\\x1bd", "scan\\n")
    book.take(page([], ended=[1]), NOW)
    tell(book, NOW)
    (ended,) = _events(caplog)
    assert (ended["event"], ended["decision"], ended["why"], ended["still_banned"]) == (
        "unban",
        1,
        "ended",
        True,
    )
    book.expire(NOW + 3 * HOUR)
    tell(book, NOW + 3 * HOUR)
    (last,) = _events(caplog)
    assert (last["decision"], last["why"], last["still_banned"]) == (2, "expired", False)
    assert tell(book, NOW) == 0
    assert not _events(caplog)


def test_many_are_counted(caplog: pytest.LogCaptureFixture) -> None:
    """A large page writes no line for each of its decisions, and the next small one does."""
    caplog.set_level(logging.INFO, "fwbouncer")
    book = Book()
    rows = [(n, bytes([10, 0, n >> 8, n & 255]), NOW + HOUR, LABELS[0]) for n in range(MOST + 1)]
    book.take(page(rows, startup=True), NOW)
    assert tell(book, NOW) == MOST + 1
    assert not _events(caplog)
    book.take(page([(9999, B, NOW + HOUR, LABELS[0])]), NOW)
    assert tell(book, NOW) == 0
    assert [event["decision"] for event in _events(caplog)] == [9999]
