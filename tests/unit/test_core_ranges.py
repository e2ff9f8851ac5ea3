"""Nested networks become disjoint pieces: once, and again and again as networks come and go."""

from __future__ import annotations

from bisect import bisect_right

from hypothesis import given
from hypothesis import strategies as st

from fwbouncer.core.model import AddressKey, Element, Family, Millis, family_of
from fwbouncer.core.ranges import Ranges, flatten, span
from tests.unit.core_naive import CORNERS, network, thorough

_Networks = dict[tuple[int, int], Millis]

intervals = st.builds(
    lambda address, bits: (address >> bits << bits, (address >> bits << bits) | ((1 << bits) - 1)),
    st.integers(0, 255),
    st.integers(0, 8),
)
deadlines = st.integers(1, 4)


def _cut(networks: _Networks) -> list[tuple[int, int, Millis]]:
    return list(flatten((a, b, networks[a, b]) for a, b in sorted(networks, key=lambda ab: (ab[0], -ab[1]))))


class TestFlatten:
    """One pass over sorted networks."""

    @thorough
    @given(st.dictionaries(intervals, deadlines, max_size=24))
    def test_each_address_is_banned_as_long_as_its_longest_network(self, networks: _Networks) -> None:
        """At every address the pieces say what the networks over it say together."""
        found = dict.fromkeys(range(256), 0)
        for first, last, deadline in _cut(networks):
            for address in range(first, last + 1):
                found[address] = deadline
        expected = {
            address: max((d for (a, b), d in networks.items() if a <= address <= b), default=0)
            for address in range(256)
        }
        assert expected == found

    @thorough
    @given(st.dictionaries(intervals, deadlines, max_size=24))
    def test_pieces_are_in_order_and_apart(self, networks: _Networks) -> None:
        """The kernel refuses overlaps, so no two pieces share an address."""
        at = -1
        for first, last, _ in _cut(networks):
            assert at < first <= last
            at = last

    def test_an_inner_network_that_ends_first_is_not_cut_out(self) -> None:
        """The outer network alone is enough."""
        assert _cut({(0, 255): 9, (16, 31): 5, (16, 16): 9}) == [(0, 255, 9)]

    def test_an_inner_network_that_lasts_longer_outlives_the_outer_one(self) -> None:
        """What is left when the outer network has ended is the inner one, whole."""
        assert _cut({(0, 255): 5, (16, 31): 9}) == [(0, 15, 5), (16, 31, 9), (32, 255, 5)]


corner_keys = st.builds(
    lambda corner, n, bits: network((int.from_bytes(corner, "big") + n).to_bytes(len(corner), "big"), bits),
    st.shared(st.sampled_from(CORNERS), key="corner"),
    st.integers(0, 15),
    st.integers(0, 4),
)
history = st.lists(st.lists(st.tuples(corner_keys, st.integers(0, 4)), max_size=5), min_size=1, max_size=12)


def _family(changes: list[list[tuple[AddressKey, Millis]]]) -> Family:
    return next((family_of(key) for step in changes for key, _ in step), Family.V4)


def _fresh(family: Family, networks: dict[AddressKey, Millis]) -> Ranges:
    ranges = Ranges(family)
    for key, deadline in networks.items():
        ranges.put(key, deadline)
    ranges.settle()
    return ranges


class TestRanges:
    """Networks come, change and go; only what lies around them is cut anew."""

    @thorough
    @given(history)
    def test_step_by_step_is_the_same_as_from_scratch(
        self, changes: list[list[tuple[AddressKey, Millis]]]
    ) -> None:
        """No history of changes leaves other pieces than its end alone would make."""
        family, networks = _family(changes), dict[AddressKey, Millis]()
        ranges = Ranges(family)
        for step in changes:
            for key, deadline in step:
                ranges.put(key, deadline)
                networks[key] = deadline
            ranges.settle()
            expected = _fresh(family, {k: d for k, d in networks.items() if d})
            assert list(expected.elements()) == list(ranges.elements())

    @thorough
    @given(history)
    def test_settling_tells_every_change_and_nothing_else(
        self, changes: list[list[tuple[AddressKey, Millis]]]
    ) -> None:
        """The notes name exactly the pieces that are no longer what they were, with what they were."""
        ranges = Ranges(_family(changes))
        before: dict[Element, Millis] = {}
        for step in changes:
            for key, deadline in step:
                ranges.put(key, deadline)
            told = ranges.settle()
            after = dict(ranges.elements())
            differing = {e for e in before.keys() | after.keys() if before.get(e) != after.get(e)}
            assert {e: before.get(e, 0) for e in differing} == told
            assert all(after.get(e, 0) == ranges.deadline(e) for e in differing)
            before = after

    @thorough
    @given(history, st.integers(0, 15))
    def test_covering_names_the_networks_around_an_address_widest_first(
        self, changes: list[list[tuple[AddressKey, Millis]]], offset: int
    ) -> None:
        """All that hold it, in order, with their own deadlines, and no others."""
        family, networks = _family(changes), dict[AddressKey, Millis]()
        ranges = Ranges(family)
        for step in changes:
            for key, deadline in step:
                ranges.put(key, deadline)
                networks[key] = deadline
        corner = next((key for step in changes for key, _ in step), b"\0" * 4)
        address = (int.from_bytes(corner[: family.size], "big") & ~15) + offset
        spans = [(span(key, family), deadline) for key, deadline in networks.items() if deadline]
        expected = [pair for pair in spans if pair[0][0] <= address <= pair[0][1]]
        assert sorted(expected, key=lambda pair: pair[0][0] - pair[0][1]) == ranges.covering(address)

    def test_removing_a_network_in_the_middle_joins_what_it_parted(self) -> None:
        """The three pieces that an inner network made become one again when it is gone."""
        ranges = Ranges(Family.V4)
        ranges.put(bytes([10, 0, 0, 0, 24]), 5)
        ranges.put(bytes([10, 0, 0, 128, 26]), 9)
        ranges.settle()
        ranges.put(bytes([10, 0, 0, 128, 26]), 0)
        ranges.settle()
        assert [(bytes([10, 0, 0, 0, 10, 0, 0, 255]), 5)] == list(ranges.elements())

    def test_many_changes_at_once_give_the_same_pieces(self) -> None:
        """Also where everything between the first and the last change is cut in one pass."""
        networks = {bytes([10, third, 0, 0, 20]): 1 + third % 3 for third in range(200)}
        networks |= {bytes([10, third, 4, 0, 22]): 4 - third % 3 for third in range(0, 200, 3)}
        ranges = Ranges(Family.V4)
        for key, deadline in networks.items():
            ranges.put(key, deadline)
            if int.from_bytes(key[:2], "big") % 7 == 0:
                ranges.settle()
        ranges.settle()
        for key in [key for key in networks if key[1] % 2]:
            ranges.put(key, 0)
            del networks[key]
        ranges.settle()
        assert list(_fresh(Family.V4, networks).elements()) == list(ranges.elements())

    def test_a_small_change_among_many_networks_touches_only_its_neighbours(self) -> None:
        """With fifty thousand networks, one more costs one note."""
        ranges = _fresh(
            Family.V4, {bytes([20 + (n >> 16), n >> 8 & 255, n & 255, 0, 24]): 5 for n in range(50_000)}
        )
        ranges.put(bytes([20, 9, 9, 64, 26]), 7)
        assert len(ranges.settle()) == 4
        starts = [element[:4] for element, _ in ranges.elements()]
        assert bytes([20, 9, 9, 64]) == starts[bisect_right(starts, bytes([20, 9, 9, 64])) - 1]
