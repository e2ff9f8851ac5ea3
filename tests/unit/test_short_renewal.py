"""A ban that is prolonged by no more than a dump may be off: it lives until its new deadline all the same."""

from __future__ import annotations

import pytest

from fwbouncer.core.book import Book
from fwbouncer.core.delta import TOLERANCE
from fwbouncer.core.model import Family, Kind, Layout, Millis, SetKey
from fwbouncer.kernel.memory import Memory
from tests.unit.core_naive import LABELS, page

NOW: Millis = 1_000_000
HOST, NETWORK = bytes([192, 0, 2, 7]), bytes([192, 0, 2, 0, 24])
HOSTS = SetKey(LABELS[0].group, Family.V4, Kind.HOSTS)
RANGES = SetKey(LABELS[0].group, Family.V4, Kind.RANGES)
FIRST = NOW + 8_000


def _step(book: Book, kernel: Memory, *, dump: bool) -> None:
    if dump:
        book.rebase(kernel.dump(), kernel.layout(), NOW)
    change = book.plan(NOW)
    kernel.apply(change)
    book.done(change)


@pytest.mark.parametrize("later", [100, TOLERANCE - 1, TOLERANCE, TOLERANCE + 1])
@pytest.mark.parametrize(("key", "target"), [(HOST, HOSTS), (NETWORK, RANGES)])
def test_a_dump_before_the_write_takes_nothing_away(key: bytes, target: SetKey, later: Millis) -> None:
    """A snapshot brings a longer ban, and with it a look at the kernel, which holds nearly the right deadline."""
    book, kernel = Book(), Memory(lambda: NOW, Layout(flatten=True))
    book.take(page([(1, key, FIRST, LABELS[0])], startup=True), NOW)
    _step(book, kernel, dump=True)
    book.take(page([(1, key, FIRST, LABELS[0]), (2, key, FIRST + later, LABELS[0])], startup=True), NOW)
    _step(book, kernel, dump=True)
    assert list(kernel.dump()[target].values()) == [FIRST + later]
    book.take(page([], ended=[2]), NOW)
    _step(book, kernel, dump=True)
    assert list(kernel.dump()[target].values()) == [FIRST]
