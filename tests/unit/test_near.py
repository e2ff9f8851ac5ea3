"""The blocks around banned networks: never one too few, and never too many to be written into a rule."""

from __future__ import annotations

import ipaddress
import random

import pytest

from fwbouncer.core.model import NEVER_BLOCK, Family, Kind, SetChange, SetKey
from fwbouncer.kernel.near import MOST, Near

FOUR, SIX = SetKey("x", Family.V4, Kind.RANGES), SetKey("x", Family.V6, Kind.RANGES)


def element(network: str) -> bytes:
    """Return a network's first address and its last."""
    found = ipaddress.ip_network(network)
    return found[0].packed + found[-1].packed


def near(*networks: str) -> Near:
    """Take in networks."""
    made = Near()
    for network in networks:
        target = SIX if ":" in network else FOUR
        made.expect({target: SetChange(add=[(element(network), 1)])})
    return made


def holds(made: Near, address: str) -> bool:
    """Look an address up as the rule does."""
    packed = ipaddress.ip_address(address)
    blocks = made.around(Family(packed.version))[0]
    if blocks is None:
        return True
    step = len(blocks.elements) // max(1, blocks.count)
    keys = [
        blocks.elements[at - len(blocks.mask) : at] for at in range(step, len(blocks.elements) + 1, step or 1)
    ]
    masked = int(packed) & int.from_bytes(blocks.mask, "big")
    return masked.to_bytes(len(blocks.mask), "big") in keys


def test_without_networks_nothing_is_near() -> None:
    """Nobody is near where no network is banned, whatever hosts are."""
    made = Near()
    made.expect({SetKey("x", Family.V4, Kind.HOSTS): SetChange(add=[(b"\x01\x02\x03\x04", 1)])})
    made.expect({SetKey(NEVER_BLOCK, Family.V4, Kind.RANGES): SetChange(add=[(element("10.0.0.0/8"), 1)])})
    assert made.around(Family.V4)[1]
    for family in Family:
        blocks = made.around(family)[0]
        assert blocks is not None
        assert not blocks


@pytest.mark.parametrize(
    ("network", "inside", "elsewhere"),
    [
        ("198.18.16.0/24", "198.18.16.9", "198.19.16.9"),
        ("10.0.0.0/8", "10.255.255.255", "11.0.0.0"),
        ("2001:db8:ba1::/64", "2001:db8:ba1::9", "2001:db9::"),
        ("2001::/28", "2001:f::1", "2001:10::1"),
    ],
)
def test_a_networks_blocks_are_near(network: str, inside: str, elsewhere: str) -> None:
    """Every address of a banned network is near, and what is far from it is not."""
    made = near(network)
    assert holds(made, inside)
    assert holds(made, str(ipaddress.ip_network(network)[0]))
    assert holds(made, str(ipaddress.ip_network(network)[-1]))
    assert not holds(made, elsewhere)


def test_what_is_held_counts_like_what_comes() -> None:
    """Networks that the kernel was found to hold are near, too."""
    made = Near()
    made.find({FOUR: {element("198.18.16.0/24"): 1}})
    assert holds(made, "198.18.16.9")


def test_blocks_grow_where_they_would_be_too_many() -> None:
    """However many networks there are and however large, the blocks are few, and every network is in them."""
    dice = random.Random(1)
    many = [f"{dice.randrange(1, 223)}.{dice.randrange(256)}.{dice.randrange(256)}.0/24" for _ in range(4000)]
    made = near(*many)
    blocks = made.around(Family.V4)[0]
    assert blocks
    assert 0 < blocks.count <= MOST
    assert all(holds(made, each.partition("/")[0]) for each in many)
    huge = near("::/1", "2001:db8::/64")
    assert huge.around(Family.V6)[0] is None
    assert holds(huge, "2001:db8::1")


def test_known_blocks_change_nothing() -> None:
    """A network in a block that is known leaves the rules as they are; one elsewhere does not."""
    made = near("198.18.16.0/24")
    before = made.around(Family.V4)[0]
    made.expect({FOUR: SetChange(renew=[(element("198.18.17.0/24"), 1)])})
    assert made.around(Family.V4)[0] is before
    made.expect({FOUR: SetChange(add=[(element("198.19.17.0/24"), 1)])})
    assert made.around(Family.V4)[0] != before
