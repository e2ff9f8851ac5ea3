"""Between a start and the LAPI's first word: the state file and the kernel are both believed, and nobody goes free."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fwbouncer.core.adopt import keys_of
from fwbouncer.core.book import Book
from fwbouncer.core.delta import TOLERANCE
from fwbouncer.core.guard import refusal
from fwbouncer.core.model import FOREVER, ONE_GROUP, Family, Kind, Layout, Page, SetKey
from fwbouncer.core.ranges import span
from fwbouncer.kernel.memory import Memory
from tests.unit.core_naive import ADDRESSES, DURATIONS, GROUPS, HOUR, LABELS, Naive, keys, page, thorough

if TYPE_CHECKING:
    from fwbouncer.core.model import AddressKey, Holding, Label, Millis

NOW: Millis = 100 * HOUR
A, B, C = (bytes([192, 0, 2, n]) for n in (1, 2, 3))
_SETS = [SetKey(group, family, kind) for group in GROUPS for family in Family for kind in Kind]
LAYOUTS = {
    "flattened": Layout(flatten=True),
    "nested": Layout(flatten=False),
    "mixed": Layout(flatten=True, mixed=frozenset({(GROUPS[0], Family.V4)})),
    "timeless": Layout(flatten=True, timeless=frozenset(_SETS)),
}
Row = tuple[int, "AddressKey", "Millis", "Label"]


class Life:
    """A kernel that outlives the daemons that write to it."""

    def __init__(self, layout: Layout | None = None) -> None:
        self.now = NOW
        self.kernel = Memory(lambda: self.now, layout)
        self.book = Book()

    def begin(self, state: Page | None) -> None:
        """Start another daemon, with the state file of the last one or without."""
        self.book = Book()
        holding = self.kernel.dump()
        if state is not None:
            self.book.restore(state, self.now)
        if self.book.synced:
            self.book.rebase(holding, self.kernel.layout(), self.now)
        self.write()

    def hear(self, *rows: Row, startup: bool = True) -> None:
        """Take the LAPI's answer in."""
        self.book.take(page(rows, startup=startup), self.now)
        if startup:
            self.book.rebase(self.kernel.dump(), self.kernel.layout(), self.now)
        self.write()

    def write(self) -> int:
        """Move the kernel along; returns how many elements were told."""
        change = self.book.plan(self.now)
        if change:
            self.kernel.apply(change)
        self.book.done(change)
        return sum(map(len, change.values()))

    def banned(self, address: bytes) -> Millis:
        """Return until when the kernel bans an address."""
        return max(self.kernel.bans(address).values(), default=0)


def _row(number: int, key: AddressKey, hours: float = 1) -> Row:
    return number, key, NOW + int(hours * HOUR), LABELS[0]


def test_after_a_boot_the_state_is_in_the_kernel() -> None:
    """An empty kernel gets what the file tells, before the LAPI says anything."""
    life = Life()
    life.begin(page([_row(1, A), _row(2, B)]))
    assert life.banned(A) == life.banned(B) == NOW + HOUR


def test_after_a_restart_nothing_is_written() -> None:
    """Where kernel and file agree, not one element is told."""
    life = Life()
    life.begin(page([_row(1, A), _row(2, B + bytes([32])), _row(3, bytes([10, 0, 0, 0, 8]), 2)]))
    life.begin(page([_row(1, A), _row(2, B + bytes([32])), _row(3, bytes([10, 0, 0, 0, 8]), 2)]))
    assert life.write() == 0
    assert not life.book.ledger.lowest < 0


def test_a_file_older_than_the_kernel_frees_nobody() -> None:
    """A ban that only the kernel knows stays, and so does a longer deadline."""
    life = Life()
    life.begin(page([_row(1, A, 5), _row(2, B)]))
    life.begin(page([_row(1, A, 1)]))
    assert (life.banned(A), life.banned(B)) == (NOW + 5 * HOUR, NOW + HOUR)


def test_the_lapi_has_the_last_word() -> None:
    """What the first snapshot doesn't know is over, wherever it was found; what it knows better is corrected."""
    life = Life()
    sure = [_row(n, bytes([10, 0, 0, n])) for n in range(10, 30)]
    life.begin(page([*sure, _row(1, A, 5), _row(2, B)]))
    life.begin(page([*sure, _row(1, A, 1), _row(3, C)]))
    life.hear(*sure, _row(1, A, 3))
    assert (life.banned(A), life.banned(B), life.banned(C)) == (NOW + 3 * HOUR, 0, 0)
    assert len(life.book.ledger) == 21


def test_restored_bans_need_a_second_word_too() -> None:
    """An empty first snapshot frees nobody whom the file or the kernel bans."""
    life = Life()
    life.begin(page([_row(2, B)]))
    life.begin(page([_row(1, A)]))
    life.hear()
    assert life.banned(A)
    assert life.banned(B)
    life.now += 20_000
    life.hear()
    assert not life.banned(A)
    assert not life.banned(B)


def test_without_a_file_the_kernel_stands_as_it_is() -> None:
    """No state and no LAPI: nothing is written, nothing taken away."""
    life = Life()
    life.begin(page([_row(1, A)]))
    life.begin(None)
    assert life.banned(A)


def test_a_host_found_in_a_set_of_intervals() -> None:
    """It is the host that the LAPI names: when the kernel's word for it is over, the LAPI's still bans it."""
    life = Life(LAYOUTS["mixed"])
    life.begin(page([_row(1, A, 4)]))
    life.begin(page([]))
    life.hear(_row(1, A, 4))
    life.now += 20_000
    life.hear(_row(1, A, 4))
    assert life.banned(A) == NOW + 4 * HOUR


def test_another_set_of_ours_is_emptied_only_by_the_lapi() -> None:
    """A group of bans that the file doesn't know at all stays until the snapshot."""
    life = Life()
    life.begin(page([(1, A, NOW + HOUR, LABELS[2])]))
    life.begin(page([_row(2, B)]))
    assert life.banned(A)


def test_sets_too_large_to_read_are_not_emptied_before_the_lapi_speaks() -> None:
    """The flush that refills a set which wasn't read waits for the first snapshot."""
    hosts = SetKey(GROUPS[0], Family.V4, Kind.HOSTS)
    life = Life(Layout(flatten=True, unread=frozenset({hosts})))
    life.kernel.interfere(hosts, A, NOW + HOUR)
    life.begin(page([_row(2, B)]))
    assert life.banned(A)
    life.hear(_row(2, B))
    assert not life.banned(A)
    assert life.banned(B)


def test_what_somebody_puts_there_later_is_not_ours() -> None:
    """Only what was found at the start is taken over."""
    life = Life()
    life.begin(page([_row(1, A)]))
    life.kernel.interfere(SetKey(GROUPS[0], Family.V4, Kind.HOSTS), B, NOW + HOUR)
    life.book.rebase(life.kernel.dump(), life.kernel.layout(), life.now)
    life.write()
    assert not life.banned(B)


def test_found_without_a_timeout() -> None:
    """An element that would stay for ever gets an end, and still stays until the LAPI has spoken."""
    life = Life()
    hosts, ranges = (SetKey(GROUPS[0], Family.V4, kind) for kind in Kind)
    life.kernel.interfere(hosts, B, FOREVER)
    life.kernel.interfere(ranges, bytes([10, 0, 0, 0, 10, 0, 0, 9]), FOREVER)
    life.begin(page([_row(1, A)]))
    for address in (B, bytes([10, 0, 0, 9])):
        assert NOW + 300 * 24 * HOUR < life.banned(address) < NOW + 400 * 24 * HOUR


def test_after_a_sleep_bans_end_on_time() -> None:
    """The kernel's clock stood still: what is over goes, and what is left gets the time that it has."""
    life = Life()
    life.begin(page([_row(1, A, 1), _row(2, B, 5)]))
    life.hear(_row(1, A, 1), _row(2, B, 5))
    slept = 2 * HOUR
    life.now += slept
    # A dump tells what is left by the kernel's count, which lacks the sleep.
    late = {hosts: {e: d + slept for e, d in held.items()} for hosts, held in _stale(life).items()}
    life.book.expire(life.now)
    life.book.rebase(late, life.kernel.layout(), life.now)
    (change,) = life.book.plan(life.now).values()
    assert change.remove == [A]
    assert change.renew == [(B, NOW + 5 * HOUR)]


def _stale(life: Life) -> Holding:
    return {target: dict(held) for target, held in life.kernel._sets.items()}


def test_folded_families() -> None:
    """Where the administrator's one set takes all, what is restored goes there."""
    book = Book([Family.V4])
    book.restore(page([_row(1, A)]), NOW)
    book.rebase({}, Layout(flatten=True), NOW)
    assert list(book.plan(NOW)) == [SetKey(ONE_GROUP, Family.V4, Kind.HOSTS)]


@thorough
@given(st.sampled_from(Family), st.data())
def test_an_interval_is_its_networks(family: Family, data: st.DataObject) -> None:
    """The networks that an interval is parted into follow each other from its first address to its last."""
    top = 2 ** (8 * family.size) - 1
    first = data.draw(st.integers(0, top))
    last = data.draw(st.integers(first, top))
    at = first
    for key in keys_of(first.to_bytes(family.size, "big") + last.to_bytes(family.size, "big"), family):
        begin, end = span(key, family)
        assert begin == at
        at = end + 1
    assert at == last + 1


_KEYS = keys(2).filter(lambda key: refusal(key) is None)
_ROWS = st.lists(
    st.tuples(st.integers(1, 12), _KEYS, DURATIONS.map(lambda d: NOW + d), st.sampled_from(LABELS)),
    max_size=8,
    unique_by=lambda row: row[0],
)


@pytest.mark.parametrize("name", LAYOUTS)
@thorough
@given(before=_ROWS, file=_ROWS, after=_ROWS, passed=st.integers(0, 5_000))
def test_nobody_is_free_before_the_lapi_speaks(
    name: str, before: list[Row], file: list[Row], after: list[Row], passed: Millis
) -> None:
    """Any kernel and any file: until the first answer the longer of two bans holds, and then the LAPI's."""
    life, old, new, truth = Life(LAYOUTS[name]), Naive(), Naive(), Naive()
    timeless = bool(LAYOUTS[name].timeless)
    life.begin(page(before))
    life.now += passed
    life.begin(page(file))
    old.absorb(page(before))
    new.absorb(page(file))
    truth.absorb(page(after))
    for address in ADDRESSES[:32]:
        known, kept = (max(n.until(g, address) for g in GROUPS) for n in (old, new))
        wanted = max(known, kept)
        if timeless and wanted > life.now:
            assert life.banned(address)
        elif wanted > life.now:
            assert wanted - TOLERANCE <= life.banned(address) <= wanted, address.hex()
    life.hear(*after)
    life.now += 20_000
    life.hear(*after)
    for address in ADDRESSES[:32]:
        until = max(truth.until(g, address) for g in GROUPS)
        if until > life.now:
            assert timeless or abs(life.banned(address) - until) <= TOLERANCE, address.hex()
            assert life.banned(address)
        elif not timeless:
            assert life.banned(address) <= life.now + TOLERANCE
