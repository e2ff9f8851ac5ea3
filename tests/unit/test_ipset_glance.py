"""Large sets are looked at cheaply, and still nobody empties one unnoticed."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from fwbouncer.core.model import SetChange
from fwbouncer.kernel.ipset_glance import LARGE
from fwbouncer.kernel.ipset_store import SetStore
from tests.unit.test_ipset_store import DAY, Kernel

if TYPE_CHECKING:
    from fwbouncer.core.model import Element
    from fwbouncer.kernel.ipset_list import Header


class Counting(Kernel):
    """A kernel that tells how often it had to count."""

    counts = 0

    def header(self, name: str) -> Header:
        """Count."""
        self.counts += 1
        return super().header(name)


def host(number: int) -> Element:
    """Return one of many addresses."""
    return (0x0B000000 + number).to_bytes(4, "big")


@pytest.fixture
def kernel() -> Counting:
    """Return an empty kernel with room."""
    return Counting(maxelem=4 * LARGE)


@pytest.fixture
def store(kernel: Counting) -> SetStore:
    """Return a store with a large set in it, just looked at."""
    store = SetStore(kernel, kernel.clock)
    store.write("a", SetChange(add=[(host(n), kernel.now + DAY) for n in range(2 * LARGE)]))
    assert store.disturbed("a") is None
    kernel.counts = 0
    return store


def test_small_changes_cost_no_count(kernel: Counting, store: SetStore) -> None:
    """A ban in a large set is written without the kernel's counting all others."""
    store.write("a", SetChange(add=[(host(3 * LARGE), kernel.now + DAY)]))
    store.write("a", SetChange(remove=[host(5)]))
    assert store.disturbed("a") is None
    assert kernel.counts == 0


def test_an_emptied_set_is_noticed_at_the_next_look(kernel: Counting, store: SetStore) -> None:
    """A flush is seen at once, also right behind a change of ours."""
    store.write("a", SetChange(add=[(host(3 * LARGE), kernel.now + DAY)]))
    kernel.held.clear()
    assert store.disturbed("a") == "ipset a was emptied"


def test_a_missing_element_is_noticed_in_time(kernel: Counting, store: SetStore) -> None:
    """One ban that somebody takes out of a large set is missed within seconds, by the next count."""
    del kernel.held[host(LARGE)]
    noticed = None
    for _ in range(10):
        kernel.pass_time(750)
        noticed = noticed or store.disturbed("a")
    assert noticed == "ipset a lost 1 elements"


def test_looks_are_cheap_for_days(kernel: Counting, store: SetStore) -> None:
    """A large set at rest is counted once in seconds, until its bans run out, and then told to be as it should."""
    looks = 0
    for _ in range(60):
        kernel.pass_time(750)
        looks += 1
        assert store.disturbed("a") is None
    assert kernel.counts < looks / 3
    kernel.pass_time(DAY)
    assert store.disturbed("a") is None


def test_marks_that_go_are_no_alarm(kernel: Counting, store: SetStore) -> None:
    """Bans that we take out or cut short are not looked for any more."""
    store.write("a", SetChange(remove=[host(n) for n in range(8)]))
    store.write("a", SetChange(renew=[(host(n), kernel.now + 1000) for n in range(8, 16)]))
    kernel.pass_time(1100)
    for _ in range(5):
        assert store.disturbed("a") is None
        kernel.pass_time(750)
    assert store.read("a").keys() == {host(n) for n in range(16, 2 * LARGE)}
