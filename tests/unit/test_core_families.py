"""A family that is disabled while we run, and comes back."""

from __future__ import annotations

import pytest

from fwbouncer.core.book import Book
from fwbouncer.core.model import Family, Layout, family_of
from fwbouncer.kernel.memory import Memory
from tests.unit.core_naive import LABELS, page

HOSTS = (bytes([192, 0, 2, 1]), bytes(15) + b"\7")
NETWORKS = (bytes([10, 0, 0, 0, 8]), bytes(16) + b"\x10")


@pytest.mark.parametrize("flatten", [True, False])
def test_a_family_that_is_handled_no_more_is_forgotten(flatten: bool) -> None:
    """Its hosts and networks are let go of, the other family's stay, and a snapshot brings them back."""
    book, kernel = Book(), Memory(lambda: 0, Layout(flatten))
    book.rebase(kernel.dump(), kernel.layout(), 0)
    for families in (tuple(Family), (Family.V4,), tuple(Family)):
        book.keep_to(families)
        assert {family_of(key) for _, key, _ in book.ledger.addresses()} <= set(families)
        rows = [(number, key, 60_000, LABELS[0]) for number, key in enumerate(HOSTS + NETWORKS)]
        book.take(page([row for row in rows if family_of(row[1]) in families], startup=True), 0)
        change = book.plan(0)
        kernel.apply(change)
        book.done(change)
        assert {target.family for target, held in kernel.dump().items() if held} == set(families)
        assert not book.doubted
