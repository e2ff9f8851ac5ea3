"""The contents of sets over weeks, on a kernel in a dict and a clock that is turned by hand."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import pytest

from fwbouncer.core.model import FOREVER, Element, Family, Millis, SetChange
from fwbouncer.errors import KernelBusy, NoSuchObject, SetFull
from fwbouncer.kernel import ipset, ipset_list
from fwbouncer.kernel.ipset_census import Census
from fwbouncer.kernel.ipset_list import Header
from fwbouncer.kernel.ipset_numbers import MAX_TIMEOUT, Command
from fwbouncer.kernel.ipset_store import SetStore

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from fwbouncer.kernel.ipset_socket import Refused
    from fwbouncer.kernel.wire import Message

DAY = 86_400_000
HOST = b"\xc6\x12\0\7"


def host(number: int) -> Element:
    """Return one of many addresses."""
    return b"\xc6\x12" + number.to_bytes(2, "big")


@dataclass
class Kernel:
    """As much of ipset as the store needs: one set, with timeouts that run out."""

    now: Millis = 1_000_000
    maxelem: int = 1000
    create: tuple[tuple[int, bytes], ...] = ((6, bytes(4)),)
    held: dict[Element, Millis] = field(default_factory=dict)  # element -> its end
    failing: bool = False
    written: int = 0
    commands: list[str] = field(default_factory=list)

    def clock(self) -> Millis:
        """Be the clock."""
        return self.now

    def pass_time(self, millis: Millis) -> None:
        """Let time pass, and elements end."""
        self.now += millis
        self.held = {element: end for element, end in self.held.items() if end > self.now}

    def names(self) -> list[str]:
        """Return the names of all sets."""
        return ["a"]

    def header(self, name: str) -> Header:
        """Describe the set."""
        if name != "a":
            raise NoSuchObject(name)
        return Header("a", "hash:net", 6, Family.V4, True, self.maxelem, len(self.held), 0, self.create)

    def elements(self, name: str) -> Iterator[memoryview]:
        """List the set."""
        for element, end in list(self.held.items()) if name == "a" else ():
            seconds = 0 if end == FOREVER else (end - self.now) // 1000
            yield memoryview(ipset.pack(element, seconds))

    def holds(self, name: str, address: bytes) -> bool:
        """Look up a host."""
        return name == "a" and address in self.held

    def run(self, message: Message) -> None:
        """Note a command; one that makes a set like this makes it larger once it is swapped."""
        self.commands.append(message.about)
        if message.about.startswith("swapping"):
            self.maxelem *= 2

    def bulk(self, command: Command, name: str, packed: Sequence[bytes]) -> list[Refused]:
        """Add or delete."""
        if self.failing:
            raise KernelBusy("no memory")
        if name != "a":
            return []
        for body in packed:
            held = ipset_list.held(memoryview(body))
            assert held is not None
            if command is Command.DELETE:
                self.held.pop(held.key, None)
                continue
            if held.key not in self.held and len(self.held) >= self.maxelem:
                raise SetFull(name)
            assert held.timeout is None or held.timeout <= MAX_TIMEOUT
            self.held[held.key] = self.now + held.timeout * 1000 if held.timeout else FOREVER
            self.written += 1
        return []


@pytest.fixture
def kernel() -> Kernel:
    """Return an empty kernel."""
    return Kernel()


@pytest.fixture
def store(kernel: Kernel) -> SetStore:
    """Return a store on it."""
    return SetStore(kernel, kernel.clock)


class TestLongBans:
    """Bans beyond the longest timeout, 24.8 days."""

    def test_a_year_is_a_year(self, kernel: Kernel, store: SetStore) -> None:
        """A ban of 300 days is in force on every one of them, and on none after."""
        store.write("a", SetChange(add=[(HOST, kernel.now + 300 * DAY)]))
        for _ in range(300 * 24 - 1):
            kernel.pass_time(DAY // 24)
            store.tend()
            assert HOST in kernel.held
            assert store.disturbed("a") is None
        kernel.pass_time(DAY // 12)
        store.tend()
        assert not kernel.held
        assert kernel.written < 40

    def test_a_list_shows_the_true_deadline(self, kernel: Kernel, store: SetStore) -> None:
        """What is capped in the kernel is no difference to what is wanted."""
        store.write("a", SetChange(add=[(HOST, kernel.now + 300 * DAY)]))
        assert store.read("a") == {HOST: kernel.now + 300 * DAY}

    def test_after_a_restart_a_list_shows_what_the_kernel_has(self, kernel: Kernel, store: SetStore) -> None:
        """A new process sees the capped deadline, renews it once, and takes up the schedule."""
        deadline = kernel.now + 300 * DAY
        store.write("a", SetChange(add=[(HOST, deadline)]))
        following = SetStore(kernel, kernel.clock)
        assert following.read("a") == {HOST: kernel.now + MAX_TIMEOUT * 1000}
        following.write("a", SetChange(renew=[(HOST, deadline)]))
        assert following.read("a") == {HOST: deadline}

    def test_what_was_removed_is_not_renewed(self, kernel: Kernel, store: SetStore) -> None:
        """An unbanned address stays unbanned at the next renewal, also when that has begun."""
        deadline = kernel.now + 300 * DAY
        store.write("a", SetChange(add=[(host(n), deadline) for n in range(10)]))
        store.write("a", SetChange(remove=[host(3)]))
        kernel.pass_time(20 * DAY)
        store.tend()
        assert set(kernel.held) == {host(n) for n in range(10)} - {host(3)}

    def test_a_shortened_ban_is_no_longer_renewed(self, kernel: Kernel, store: SetStore) -> None:
        """A long ban that was renewed to a short one ends when the short one does."""
        store.write("a", SetChange(add=[(HOST, kernel.now + 300 * DAY)]))
        store.write("a", SetChange(renew=[(HOST, kernel.now + 5000)]))
        kernel.pass_time(6000)
        store.tend()
        assert not kernel.held

    def test_many_are_renewed_little_by_little(self, kernel: Kernel, store: SetStore) -> None:
        """Renewing many long bans is spread over looks, none of which takes long, and misses none."""
        kernel.maxelem = 20_000
        store.write("a", SetChange(add=[(host(n), kernel.now + 300 * DAY) for n in range(10_000)]))
        kernel.pass_time(13 * DAY)
        counts = []
        for _ in range(4):
            before = kernel.written
            store.tend()
            counts.append(kernel.written - before)
        assert counts == [4096, 4096, 1808, 0]
        assert set(kernel.held.values()) == {kernel.now + MAX_TIMEOUT * 1000}

    def test_a_failed_renewal_is_tried_again(self, kernel: Kernel, store: SetStore) -> None:
        """A renewal that the kernel refused is made up for in time."""
        store.write("a", SetChange(add=[(HOST, kernel.now + 300 * DAY)]))
        kernel.pass_time(13 * DAY)
        kernel.failing = True
        with pytest.raises(KernelBusy):
            store.tend()
        kernel.failing = False
        store.tend()
        assert kernel.held[HOST] == kernel.now + MAX_TIMEOUT * 1000


class TestTimeouts:
    """From deadlines to whole seconds."""

    def test_rounded_up_and_never_for_ever(self, kernel: Kernel, store: SetStore) -> None:
        """Part of a second counts as one, and a deadline that has just passed is no permanent ban."""
        ends = [1, 999, 1000, 1001, 0, -5000]
        store.write("a", SetChange(add=[(host(n), kernel.now + end) for n, end in enumerate(ends)]))
        assert [kernel.held[host(n)] - kernel.now for n in range(6)] == [1000, 1000, 1000, 2000, 1000, 1000]

    def test_for_ever_is_for_ever(self, kernel: Kernel, store: SetStore) -> None:
        """An element that is wanted without an end has none."""
        store.write("a", SetChange(add=[(HOST, FOREVER)]))
        assert store.read("a") == {HOST: FOREVER}
        assert store.read("a", keep_permanent=True) == {}


class TestRoom:
    """Sets that are full."""

    def test_a_set_grows_before_it_is_full(self, kernel: Kernel, store: SetStore) -> None:
        """A set that has too little room is exchanged before anything is refused."""
        kernel.maxelem = 5
        store.write("a", SetChange(add=[(host(n), kernel.now + DAY) for n in range(8)]))
        assert len(kernel.held) == 8
        assert [c.split()[0] for c in kernel.commands] == ["destroying", "creating", "swapping", "destroying"]

    def test_a_set_that_cannot_grow_makes_room_first(self, kernel: Kernel, store: SetStore) -> None:
        """In a set of fixed size old elements go before new ones come; too many are an error."""
        kernel.maxelem, kernel.create = 5, ((24, bytes(20)),)
        store.write("a", SetChange(add=[(host(n), kernel.now + DAY) for n in range(5)]))
        store.write("a", SetChange(remove=[host(0)], add=[(host(9), kernel.now + DAY)]))
        assert host(9) in kernel.held
        with pytest.raises(SetFull, match="set a is full"):
            store.write("a", SetChange(add=[(host(10), kernel.now + DAY)]))


class TestCensus:
    """Foreign hands are told from timeouts."""

    def test_ends_are_expected(self) -> None:
        """A set that shrinks by what ends is right, by more is wrong."""
        census = Census()
        census.restart([100_000] * 50 + [200_000] * 50, 100, 0)
        assert census.check(100, 50_000) is None
        assert census.check(50, 101_000) is None
        assert census.check(50, 120_000) is None
        assert census.check(49, 140_000) == "lost 1 elements"
        assert census.check(0, 140_000) == "was emptied"

    def test_early_and_late_ends_are_no_alarm(self) -> None:
        """An element may go a second before or after its time, between any two looks."""
        for seen_at in (97_000, 99_000, 100_500, 103_000):
            census = Census()
            census.restart([100_000], 1, 0)
            assert census.check(1, 96_500) is None
            assert census.check(0, seen_at) is None

    def test_more_than_there_should_be(self) -> None:
        """Elements that nobody of us put in are told."""
        census = Census()
        census.restart([], 0, 0)
        assert census.check(2, 1000) == "has 2 elements that are not ours"

    def test_after_a_long_sleep(self) -> None:
        """What ended while nobody looked, for hours, is no alarm."""
        census = Census()
        census.restart(range(0, 10_000_000, 1000), 10_000, 0)
        assert census.check(5_000, 5_000_000) is None
        assert census.check(0, 5_001_000) == "was emptied"
