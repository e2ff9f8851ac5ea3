"""A list that runs out just now must not make an empty snapshot look like a small change."""

from __future__ import annotations

import pytest

from fwbouncer.core.book import Book
from fwbouncer.core.ledger import JITTER
from fwbouncer.core.model import Layout
from tests.unit.core_naive import HOUR, LABELS, page

NOW = 10 * HOUR


@pytest.mark.parametrize("at", [NOW - JITTER, NOW - 1, NOW, NOW + 20_000])
def test_those_who_end_by_themselves_do_not_count(at: int) -> None:
    """An empty snapshot unbans nobody at once, though nearly all bans end at about that time."""
    list_ = [(n, bytes([10, 1, n >> 8, n & 255]), NOW, LABELS[2]) for n in range(1, 1000)]
    bans = [(n, bytes([192, 0, 2, n - 2000]), NOW + HOUR, LABELS[0]) for n in range(2000, 2010)]
    book = Book()
    book.rebase({}, Layout(flatten=True), NOW - HOUR)
    book.take(page(list_ + bans, startup=True), NOW - HOUR)
    assert book.take(page([], startup=True), at).missing == len(bans)
    assert all(book.ledger.deadline(LABELS[0].group, key) for _, key, _, _ in bans)
