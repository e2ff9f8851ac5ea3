"""Whatever two things others did to our tables since we last looked, one look and one change put it right."""

from __future__ import annotations

import contextlib
import random
from typing import TYPE_CHECKING

import pytest

from fwbouncer.core.book import Book
from tests.contract.nft_subject import NftSubject
from tests.faults.vandal import Vandal
from tests.unit.core_naive import GROUPS, HOUR, LABELS, page

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.lab.net import Network
    from tests.lab.packets import Probe

HOST4, HOST6 = "198.18.0.2", "2001:db8:ba0::2"
_ACTS = [act.__name__ for act in Vandal(None, random.Random(0)).acts]


@pytest.fixture
def subject(net: Network, probe: Probe) -> Iterator[NftSubject]:
    """Be on a host whose tables nobody owns."""
    with net.mail.inside(), contextlib.closing(NftSubject(net=net, probe=probe, owned=False)) as made:
        yield made


def _put_right(subject: NftSubject, book: Book) -> None:
    """Look, and change what is wrong, as a daemon does that has just started."""
    backend = subject.backend()
    book.rebase(backend.dump(), backend.layout(), subject.now())
    change = book.plan(subject.now())
    backend.apply(change)
    book.done(change)
    assert backend.whole()
    assert subject.backend().whole()


@pytest.mark.parametrize("first", _ACTS)
def test_two_things_at_once(first: str, subject: NftSubject) -> None:
    """Chains, rules and bans stand again, and nobody else's address is banned."""
    now = subject.now()
    book = Book()
    rows = [
        (1, bytes([198, 18, 0, 2]), now + HOUR, LABELS[0]),
        (2, bytes([198, 18, 16, 0, 24]), now + HOUR, LABELS[0]),
        (3, bytes.fromhex("20010db80ba00000 0000000000000002"), now + HOUR, LABELS[0]),
    ]
    book.take(page(rows, startup=True), now)
    vandal = Vandal(None, random.Random(7))
    _put_right(subject, book)
    for second in _ACTS:
        for act in (first, second):
            vandal.run(*getattr(vandal, act)(vandal._look()))
        _put_right(subject, book)
        assert GROUPS[0] in vandal.text()
        assert {subject.left(address) is None for address in (HOST4, "198.18.16.9", HOST6)} == {False}
        assert subject.left("203.0.113.10") is None
    assert subject.passing(HOST4, HOST6, "198.18.16.9", "198.18.0.6") == {"198.18.0.6"}
