"""Bans that a snapshot lacks: believed at once if they are few, or free nobody, else when a later one lacks them."""

from __future__ import annotations

from fwbouncer.core.book import Book
from fwbouncer.core.doubt import covered_by
from fwbouncer.core.model import Family, Kind, Layout, SetKey
from tests.unit.core_naive import HOUR, LABELS, page

NOW = 10 * HOUR


def _key(number: int) -> bytes:
    return (0x0A000000 + number).to_bytes(4, "big")


def _list(numbers: range, shift: int = 0) -> list[tuple[int, bytes, int, object]]:
    return [(n + shift, _key(n), NOW + 10 * HOUR, LABELS[2]) for n in numbers]


def _book(count: int) -> Book:
    book = Book()
    book.rebase({}, Layout(flatten=True), NOW)
    book.take(page(_list(range(count)), startup=True), NOW)  # type: ignore[arg-type]
    return book


def _snapshot(book: Book, numbers: range, at: int, shift: int = 0) -> int:
    book.take(page(_list(numbers, shift), startup=True), NOW + at)  # type: ignore[arg-type]
    return len(book.ledger)


def test_a_few_go_at_once() -> None:
    """A snapshot that lacks one ban in five is believed."""
    assert _snapshot(_book(1000), range(800), 10) == 800


def test_an_empty_snapshot_is_not_believed_twice_in_a_row() -> None:
    """A database that fails for seconds gives several empty pages, and nobody goes free for it."""
    book = _book(1000)
    for at in (0, 10, 1_000, 5_000, 14_999):
        assert _snapshot(book, range(0), at) == 1000
        assert book.doubted == 1000
    assert book.look_again == NOW + 15_000


def test_a_later_snapshot_confirms() -> None:
    """What is missing still when the time has come is over."""
    book = _book(1000)
    _snapshot(book, range(0), 0)
    assert _snapshot(book, range(0), 15_000) == 0
    assert book.look_again is None
    assert not book.doubted


def test_what_was_found_in_the_kernel_and_is_told_by_its_id_is_not_in_doubt() -> None:
    """A ban that the LAPI names and then ends is over, though the snapshot before was doubted for others."""
    here, group = NOW + 10 * HOUR, LABELS[2].group
    book = Book()
    book.restore(page([]), NOW)
    hosts = SetKey(group, Family.V4, Kind.HOSTS)
    book.rebase({hosts: {_key(n): here for n in range(8)}}, Layout(flatten=True), NOW)
    _snapshot(book, range(1, 3), 10)
    assert book.doubted == 6
    over = page([], startup=False)
    over.ended.append(1)
    book.take(over, NOW + 20)
    first, second = book.wanted.deadlines(hosts, [_key(1), _key(2)])
    assert not first
    assert second


def test_few_bans_end_soon() -> None:
    """Whoever has a handful of bans sees them end within a second."""
    book = _book(3)
    _snapshot(book, range(0), 0)
    assert book.look_again == NOW + 500
    assert _snapshot(book, range(0), 500) == 0


def test_what_comes_back_was_never_gone() -> None:
    """A whole snapshot ends the doubt."""
    book = _book(1000)
    _snapshot(book, range(10), 0)
    assert _snapshot(book, range(1000), 5_000) == 1000
    assert book.look_again is None


def test_another_shrunken_list_is_doubted_anew() -> None:
    """Where the second snapshot lacks quite other bans than the first, the waiting begins again."""
    book = _book(1000)
    _snapshot(book, range(500), 0)
    assert _snapshot(book, range(500, 1000), 5_000) == 1000
    assert book.look_again == NOW + 20_000
    assert _snapshot(book, range(500, 1000), 15_000) == 1000
    assert _snapshot(book, range(500, 1000), 20_000) == 500


def test_only_what_both_lack_goes() -> None:
    """Bans that the second snapshot lacks for the first time must be lacking in a third."""
    book = _book(1000)
    _snapshot(book, range(500), 0)
    assert _snapshot(book, range(250), 15_000) == 500
    assert book.doubted == 250
    assert _snapshot(book, range(250), 30_000) == 250


def test_a_refreshed_list_raises_no_doubt() -> None:
    """The same addresses under new ids, which is what a list's refresh makes: nobody goes free, so nothing is odd."""
    book = _book(1000)
    assert _snapshot(book, range(1000), 0, shift=5000) == 1000
    assert not book.doubted
    assert sorted(book.ledger._row)[0] == 5000


def test_a_new_database_gives_the_old_ids_to_others() -> None:
    """Ids that start again at 1 with other addresses: those are banned at once, and the rest goes when confirmed."""
    book = _book(1000)
    rows = [(n, _key(70_000 + n), NOW + HOUR, LABELS[0]) for n in range(50)]
    book.take(page(rows, startup=True), NOW)
    assert all(book.ledger.deadline(LABELS[0].group, key) for _, key, _, _ in rows)
    assert book.ledger.deadline(LABELS[2].group, _key(3)) == 0
    assert book.ledger.deadline(LABELS[2].group, _key(500))
    book.take(page(rows, startup=True), NOW + 15_000)
    assert len(book.ledger) == 50


def test_covering() -> None:
    """A ban is covered by itself, by a network around it, and by the host that a network of one address is."""
    covered = covered_by([_key(1), _key(256) + bytes([24]), bytes(15) + b"\1" + bytes([128])])
    assert covered(_key(1))
    assert covered(_key(1) + bytes([32]))
    assert covered(_key(300))
    assert covered(_key(256) + bytes([25]))
    assert not covered(_key(2))
    assert not covered(_key(256) + bytes([23]))
    assert not covered(bytes(16))
