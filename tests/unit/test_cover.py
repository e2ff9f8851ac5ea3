"""How many addresses of a range are banned: networks inside each other, hosts in them, holes."""

from __future__ import annotations

from typing import TYPE_CHECKING

from hypothesis import given
from hypothesis import strategies as st

from fwbouncer.core.addresses import read
from fwbouncer.core.cover import Inside, around
from fwbouncer.core.holes import Holes
from fwbouncer.core.ledger import Ledger
from fwbouncer.core.model import Family, family_of, is_range
from fwbouncer.core.ranges import span
from fwbouncer.core.selection import Selection, Sieve
from tests.unit.core_naive import ADDRESSES, LABELS, holds, network, page, thorough

if TYPE_CHECKING:
    from fwbouncer.core.model import AddressKey

HOSTS = tuple(address for address in ADDRESSES if len(address) == 4)
KEYS = st.builds(network, st.sampled_from(HOSTS), st.integers(0, 6))


@thorough
@given(KEYS, st.lists(KEYS, max_size=8), st.lists(KEYS, max_size=3))
def test_counting_is_as_one_by_one(
    key: AddressKey, banned: list[AddressKey], spared: list[AddressKey]
) -> None:
    """The number of banned addresses is what trying each of them gives."""
    ledger = Ledger()
    ledger.absorb(page([(n, each, 99, LABELS[0]) for n, each in enumerate(banned)]), 0)
    every = range(1 << 32)
    merged: list[tuple[int, int]] = []
    for first, last in sorted(span(each, Family.V4) for each in spared):
        if not merged or first > merged[-1][1]:
            merged.append((first, last))
    inside = Inside(key)
    sieve = Sieve(Selection(within=key))
    inside.add(sieve.around(ledger), 100)
    inside.add(sieve.sift(ledger.section(0, ledger.rows)), 100)
    low, high = span(key, Family.V4)
    each_of = (every[n].to_bytes(4, "big") for n in range(low, high + 1))
    expected = [
        address
        for address in each_of
        if any(holds(k, address) for k in banned) and not any(holds(k, address) for k in spared)
    ]
    assert inside.banned(Holes(Family.V4, merged)) == len(expected)
    assert inside.claims == len(inside.first)


def test_around_is_narrow_first() -> None:
    """The decision on the address itself comes ahead of those on the networks around it."""
    ledger = Ledger()
    rows = [
        (1, read("::/20"), 99, LABELS[0]),
        (2, read("::1"), 99, LABELS[0]),
        (3, read("::/64"), 99, LABELS[0]),
    ]
    ledger.absorb(page(rows), 0)
    found = list(around(ledger, read("::1")))
    assert [claim[0] for claim in found] == [2, 3, 1]
    assert all(family_of(claim[1]) is Family.V6 for claim in found)
    assert not is_range(found[0][1])
