"""Whom a change may have shut out: nobody missed, nobody else named."""

from __future__ import annotations

from ipaddress import ip_address, ip_network
from typing import TYPE_CHECKING

from hypothesis import given
from hypothesis import strategies as st

from fwbouncer.core.addresses import key_of, read
from fwbouncer.core.ledger import Ledger
from fwbouncer.core.model import FOREVER, NEVER_BLOCK, Family, Kind, Label, SetChange, SetKey, is_range
from fwbouncer.core.ranges import span
from fwbouncer.core.suspects import Suspects, bans_of, ends
from tests.unit.core_naive import HOUR, page, thorough

if TYPE_CHECKING:
    from fwbouncer.core.model import AddressKey, Element

NOW = 1_000
# Few enough different ones that they meet.
_addresses = st.one_of(
    st.integers(0, 255).map(lambda n: bytes([10, 0, n >> 4, n & 15])),
    st.integers(0, 255).map(lambda n: bytes([0x20, 1]) + bytes(12) + bytes([n >> 4, n & 15])),
)


@st.composite
def elements(draw: st.DrawFn) -> Element:
    """Draw a host, a network or an interval, of either family."""
    address = draw(_addresses)
    kind = draw(st.sampled_from(["host", "network", "interval"]))
    if kind == "network":
        prefix = draw(st.integers(8, len(address) * 8 - 1))
        return key_of(ip_network((address, prefix), strict=False))
    if kind == "interval":
        other = draw(_addresses.filter(lambda a: len(a) == len(address)))
        return min(address, other) + max(address, other)
    return address


def inside(peer: AddressKey, element: Element) -> bool:
    """Say the slow way whether an element holds an address."""
    if len(element) in (8, 32):
        half = len(element) // 2
        return len(peer) == half and element[:half] <= peer <= element[half:]
    network = (
        ip_network((element[:-1], element[-1]))
        if is_range(element)
        else ip_network((element, len(element) * 8))
    )
    return ip_address(peer) in network


def change(*added: Element, group: str = "cscli") -> dict[SetKey, SetChange]:
    """Return a change that adds elements."""
    return {SetKey(group, Family.V4, Kind.HOSTS): SetChange(add=[(element, FOREVER) for element in added])}


@thorough
@given(st.lists(elements(), max_size=12), st.sets(_addresses, max_size=30))
def test_exactly_those_inside(drawn: list[Element], peers: set[AddressKey]) -> None:
    """Of all peers exactly those inside some element are named, however the elements came."""
    suspects = Suspects()
    suspects.take(change(*drawn[::2]))
    suspects.keys.append(drawn[1::2])
    assert suspects.among(peers) == {p for p in peers if any(inside(p, e) for e in drawn)}


@thorough
@given(st.lists(elements(), max_size=5), st.sets(_addresses, max_size=20))
def test_as_few_networks(drawn: list[Element], peers: set[AddressKey]) -> None:
    """As networks for the kernel to look for, the elements hold the same addresses; too many are none."""
    few = Suspects(keys=[drawn]).few(200)
    if few is not None:
        assert len(few) <= 200
        assert {p for p in peers if any(inside(p, key) for key in few)} == Suspects(keys=[drawn]).among(peers)
    many = [bytes([10, 1, 0, n]) for n in range(6)]
    assert Suspects(keys=[many]).few(5) is None
    assert Suspects(keys=[many]).few(6) == many


@thorough
@given(elements())
def test_ends(element: Element) -> None:
    """A network ends where its prefix says."""
    if is_range(element):
        family = Family.V4 if len(element) == 5 else Family.V6
        first, last = ends(element)
        assert (int.from_bytes(first, "big"), int.from_bytes(last, "big")) == span(element, family)


def test_what_counts() -> None:
    """What is added or renewed may shut somebody out; who is spared and what is removed doesn't."""
    hosts = [bytes([10, 0, 0, n]) for n in range(4)]
    target = SetKey("cscli", Family.V4, Kind.HOSTS)
    suspects = Suspects()
    suspects.take({target: SetChange(remove=[hosts[0]])})
    suspects.take(change(hosts[1], group=NEVER_BLOCK))
    assert not suspects
    suspects.take(
        {target: SetChange(remove=[hosts[0]], renew=[(hosts[2], FOREVER)], add=[(hosts[3], FOREVER)])}
    )
    assert suspects
    assert set(suspects.elements()) == {hosts[2], hosts[3]}


def test_who_is_no_longer_spared() -> None:
    """Whoever was never blocked until now may be banned."""
    one, two = read("192.0.2.1"), read("192.0.2.0/24")
    suspects = Suspects()
    suspects.no_longer_spared({one: FOREVER}, {one: FOREVER, two: FOREVER})
    assert not suspects
    suspects.no_longer_spared({one: FOREVER, two: FOREVER}, {one: FOREVER})
    assert suspects.among({read("192.0.2.7"), read("192.0.3.7")}) == {read("192.0.2.7")}


def test_bans_of_an_address() -> None:
    """The bans on an address are those on it and around it which are not over."""
    ledger = Ledger()
    labels = [Label(str(n), "", "ban", "g") for n in range(4)]
    rows = [("192.0.2.7", HOUR), ("192.0.2.0/24", HOUR), ("192.0.2.0/25", -1), ("192.0.3.0/24", HOUR)]
    ledger.absorb(
        page([(n, read(v), NOW + left, labels[n]) for n, (v, left) in enumerate(rows)], startup=True), NOW
    )
    assert [label.origin for label in bans_of(ledger, read("192.0.2.7"), NOW)] == ["0", "1"]
    assert not list(bans_of(ledger, read("192.0.4.7"), NOW))
