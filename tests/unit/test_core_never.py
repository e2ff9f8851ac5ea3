"""Never-block in the core: holes in ranges, and a book whose kernel never bans whom it must not."""

from __future__ import annotations

from ipaddress import ip_network
from typing import TYPE_CHECKING

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fwbouncer.core.addresses import key_of, read, shown, supernets
from fwbouncer.core.book import Book
from fwbouncer.core.delta import TOLERANCE
from fwbouncer.core.holes import Holes
from fwbouncer.core.model import FOREVER, NEVER_BLOCK, Family, Kind, Layout, SetKey
from fwbouncer.core.names import Groups, set_group
from fwbouncer.core.ranges import span
from fwbouncer.errors import KernelBusy
from fwbouncer.kernel.memory import Memory
from tests.effort import examples
from tests.unit.core_naive import (
    ADDRESSES,
    GROUPS,
    LABELS,
    Naive,
    holds,
    keys,
    network,
    page,
    pages,
    thorough,
)

if TYPE_CHECKING:
    from fwbouncer.core.model import AddressKey, Millis

NOW: Millis = 1_000_000
WATCHED = ADDRESSES[:32]
BOTH = frozenset(Family)
MIXED = frozenset({(GROUPS[0], Family.V4)})
LAYOUTS = {
    "a set of its own": Layout(flatten=True, spares=BOTH),
    "a set of its own among nested networks": Layout(flatten=False, spares=BOTH),
    "cut out of disjoint ranges": Layout(flatten=True),
    "cut out of one set for all": Layout(flatten=True, mixed=MIXED),
    "cut out of nested networks": Layout(flatten=False),
    "cut out of one family": Layout(flatten=True, spares=frozenset({Family.V6})),
}

spared = st.dictionaries(keys(2), st.just(FOREVER), max_size=5)
intervals = st.lists(st.tuples(st.integers(0, 255), st.integers(0, 40)), max_size=6)


def apart(drawn: list[tuple[int, int]]) -> list[tuple[int, int]]:
    """Make disjoint intervals of starts and lengths."""
    found: list[tuple[int, int]] = []
    for first, length in sorted(drawn):
        if not found or first > found[-1][1]:
            found.append((first, first + length))
    return found


class TestHoles:
    """Holes and what they leave."""

    @thorough
    @given(intervals, st.integers(0, 255), st.integers(0, 255))
    def test_around_is_all_but_the_holes(self, drawn: list[tuple[int, int]], first: int, length: int) -> None:
        """What lies around the holes is exactly every address that is in none of them."""
        made = apart(drawn)
        holes, last = Holes(Family.V4, made), first + length
        left = {a for start, end in holes.around(first, last) for a in range(start, end + 1)}
        inside = {a for start, end in made for a in range(start, end + 1)}
        assert left == set(range(first, last + 1)) - inside
        assert holes.meets(first, last) == (len(left) <= length)

    @thorough
    @given(spared, keys(2))
    def test_cut(self, entries: dict[AddressKey, Millis], key: AddressKey) -> None:
        """A network is cut into networks that are apart, hold no spared address, and miss no other one."""
        family = Family.V4 if len(key) < 8 else Family.V6
        book = Book()
        book.spare(entries)
        holes = book.never.holes(Layout(flatten=True)).get(family, Holes(family, ()))
        pieces = holes.cut(key)
        inside = [a for a in ADDRESSES[:32] if holds(key, a)]
        free = [a for a in inside if not any(holds(entry, a) for entry in entries)]
        assert sorted(a for piece in pieces for a in inside if holds(piece, a)) == sorted(free)
        assert all(piece in (key,) or holes.in_key(next(supernets(piece))) for piece in pieces)

    def test_everything_but_one_address(self) -> None:
        """The largest network around one hole takes one piece a bit, at either end of the numbers too."""
        for text in ("0.0.0.0", "255.255.255.255", "10.1.2.3"):
            address = read(text)
            holes = Holes(Family.V4, [span(address, Family.V4)])
            assert len(holes.cut(b"\0\0\0\0\0")) == 32


class Kernel:
    """A book and a kernel, as the daemon moves them along."""

    def __init__(self, layout: Layout) -> None:
        self.now = NOW
        self.book = Book()
        self.memory = Memory(lambda: self.now, layout)
        self.dump_needed = True

    def spare(self, entries: dict[AddressKey, Millis]) -> None:
        """Tell the book whom to spare."""
        self.dump_needed |= self.book.spare(entries)

    def step(self) -> None:
        """Bring the kernel in step; a refusal is tried again after a look."""
        self.book.expire(self.now)
        for _ in range(2):
            if self.dump_needed:
                holding, layout = self.memory.dump(), self.memory.layout()
                self.book.never.rebase(holding, layout, self.now)
                self.book.rebase(holding, layout, self.now)
                self.dump_needed = False
            change = self.book.plan(self.now)
            try:
                self.memory.apply(change)
            except KernelBusy:
                self.dump_needed = True
            else:
                self.book.done(change)
                return


@pytest.mark.parametrize("name", LAYOUTS)
@settings(max_examples=examples(60))
@given(data=st.data())
def test_nobody_who_is_spared_is_banned_and_everybody_else_is(name: str, data: st.DataObject) -> None:
    """Pages, lists, time and failures in any order: bans hold for all but the spared, for them never."""
    kernel, naive = Kernel(LAYOUTS[name]), Naive()
    entries: dict[AddressKey, Millis] = {}
    for _ in range(data.draw(st.integers(1, 6), "steps")):
        if data.draw(st.booleans(), "another list"):
            entries = data.draw(spared, "list")
            kernel.spare(entries)
        else:
            answer = data.draw(pages(kernel.now, corners=2), "page")
            kernel.book.take(answer, kernel.now)
            naive.absorb(answer)
        kernel.book.synced = True
        if data.draw(st.booleans(), "fails once"):
            kernel.memory.fail(KernelBusy("busy"))
        if data.draw(st.booleans(), "someone flushes"):
            kernel.memory.flush()
            kernel.dump_needed = True
        kernel.step()
        naive.expire(kernel.now)
        for address in WATCHED:
            held = kernel.memory.bans(address)
            if any(holds(entry, address) for entry in entries):
                assert held == {}, shown(address)
                continue
            for group in GROUPS:
                until = naive.until(group, address)
                off = held.get(group, 0) - max(until, kernel.now)
                assert off <= TOLERANCE, (group, shown(address))
                assert off >= -TOLERANCE or until <= kernel.now, (group, shown(address))
        kernel.now += data.draw(st.integers(0, 5_000), "time")


class TestBeforeThePage:
    """What is written when nothing is known of bans yet."""

    def test_only_the_list(self) -> None:
        """Before the first page a change holds who is never blocked, and nothing else."""
        kernel = Kernel(LAYOUTS["a set of its own"])
        kernel.spare({read("192.0.2.1"): FOREVER, read("2001:db8::/32"): FOREVER})
        kernel.step()
        assert {target.group for target in kernel.memory.dump()} == {NEVER_BLOCK}

    def test_the_list_goes_first(self) -> None:
        """In the change of the first page those who pass come ahead of the bans."""
        kernel = Kernel(LAYOUTS["a set of its own"])
        kernel.book.take(page([(1, WATCHED[0], NOW + 60_000, LABELS[0])], startup=True), NOW)
        kernel.spare({WATCHED[0]: FOREVER})
        kernel.book.never.rebase({}, kernel.memory.layout(), NOW)
        kernel.book.rebase({}, kernel.memory.layout(), NOW)
        assert [target.group for target in kernel.book.plan(NOW)] == [NEVER_BLOCK, LABELS[0].group]

    def test_adjacent_and_nested_entries_are_disjoint_in_the_kernel(self) -> None:
        """Nested entries are one interval, and a timed one that lasts less is not seen behind one without end."""
        kernel = Kernel(LAYOUTS["a set of its own"])
        kernel.spare({read("10.0.0.0/24"): FOREVER, read("10.0.0.7"): NOW + 5_000})
        kernel.step()
        target = SetKey(NEVER_BLOCK, Family.V4, Kind.RANGES)
        assert kernel.memory.dump() == {target: {b"\x0a\0\0\0\x0a\0\0\xff": FOREVER}}


class TestNames:
    """No origin can call its bans what lets peers pass."""

    @given(st.sampled_from(["never-block", "x-never-block", "block", "lists", "k"]), st.text(max_size=5))
    def test_no_group_is_the_reserved_one(self, origin: str, scenario: str) -> None:
        """However origin and prefixes are put together, no set of bans has the name of the other one."""
        group = set_group(origin, scenario)
        for table, blacklists in (("a", "a"), ("a-never", "a"), ("a", "a-never"), ("a", "a-never-bloc")):
            assert f"{blacklists}-{group}" != f"{table}-{NEVER_BLOCK}"
            assert Groups()(origin, scenario) == group


class TestAddresses:
    """Keys and texts."""

    @thorough
    @given(st.ip_addresses(), st.integers(0, 128))
    def test_read_what_is_shown(self, address: object, bits: int) -> None:
        """What a key is shown as is read as the same key."""
        packed = address.packed  # type: ignore[attr-defined]
        key = network(packed, min(bits, len(packed) * 8))
        if not packed.startswith(b"\0" * 10 + b"\xff\xff"):
            assert read(shown(key)) == key

    @pytest.mark.parametrize(
        "text", ["", "1.2.3", "1.2.3.4/33", "10.0.0.1/8", "fe80::1%eth0", "1.2.3.4/", "::/129"]
    )
    def test_refused(self, text: str) -> None:
        """What is no address or says something twice is refused."""
        with pytest.raises(ValueError, match=r".+"):
            read(text)

    def test_mapped(self) -> None:
        """IPv4 in IPv6's clothes is IPv4."""
        assert read("::ffff:192.0.2.1") == read("192.0.2.1")
        assert key_of(ip_network("::ffff:192.0.2.0/120")) == read("192.0.2.0/24")

    def test_supernets(self) -> None:
        """Every network around an address is named once, down to everything."""
        around = list(supernets(read("255.0.0.1")))
        assert [key[-1] for key in around] == list(range(31, -1, -1))
        assert around[-1] == b"\0\0\0\0\0"
        assert all(holds(key, read("255.0.0.1")) for key in around)
