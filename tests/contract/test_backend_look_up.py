"""What a backend says of one address when it asks the kernel: the same as packets find out."""

from __future__ import annotations

import ipaddress
from typing import TYPE_CHECKING

from fwbouncer.core.model import FOREVER, NEVER_BLOCK, Family, Kind, SetChange, SetKey
from tests.contract.subjects import MINUTE
from tests.contract.test_backend_bans import BESIDE, EDGES4, EDGES6, HOSTS, NET4, NET6

if TYPE_CHECKING:
    from fwbouncer.kernel.backend import Backend, Held
    from tests.contract.subjects import Subject

INSIDE = ("198.18.20.20", "2001:db8:ba1:7::7")


def _ask(backend: Backend, address: str) -> list[Held]:
    return backend.holders(ipaddress.ip_address(address).packed)


def test_whoever_is_dropped_is_held_and_nobody_else(subject: Subject) -> None:
    """Hosts, networks to their edges and what lies inside them are found; their neighbours are not."""
    backend = subject.backend()
    backend.apply(subject.change(add=dict.fromkeys((NET4, NET6, *HOSTS), MINUTE)))
    for address in (*HOSTS, *EDGES4, *EDGES6, *INSIDE):
        (held,) = _ask(backend, address)
        assert held.target.group == subject.group
        assert held.until is None or abs(held.until - subject.now() - MINUTE) < 20_000, address
        assert held.name
    assert not [address for address in BESIDE if _ask(backend, address)]


def test_neighbouring_ranges_are_told_apart(subject: Subject) -> None:
    """Of two networks without a gap each is found with its own end, and the address behind them is not."""
    backend = subject.backend()
    ends = {"198.18.16.0/24": MINUTE, "198.18.17.0/24": 60 * MINUTE, "255.255.255.0/24": 30 * MINUTE}
    backend.apply(subject.change(add=ends))
    for address, end in (("198.18.16.255", 1), ("198.18.17.0", 60), ("255.255.255.255", 30)):
        (held,) = _ask(backend, address)
        assert held.until is None or abs(held.until - subject.now() - end * MINUTE) < 20_000, address
    assert not _ask(backend, "198.18.18.0")
    assert not _ask(backend, "198.18.15.255")


def test_what_has_ended_or_was_taken_out_is_not_held(subject: Subject) -> None:
    """The kernel's word is about now: after a removal, an end or a flush by somebody there is nothing."""
    backend = subject.backend()
    backend.apply(subject.change(add={HOSTS[0]: MINUTE, NET4: MINUTE, HOSTS[1]: 1000}))
    backend.apply(subject.change(remove=(HOSTS[0],)))
    assert not _ask(backend, HOSTS[0])
    assert _ask(backend, INSIDE[0])
    subject.sleep(2500)
    assert not _ask(backend, HOSTS[1])
    subject.flush()  # an owned table outlives that
    assert bool(_ask(backend, INSIDE[0])) is not bool(subject.passing(INSIDE[0]))


def test_who_is_never_blocked_is_found_as_such(subject: Subject) -> None:
    """Where the backend keeps a set of those who pass, that one holds an address beside the bans."""
    backend = subject.backend()
    layout, packed = backend.layout(), ipaddress.ip_address(INSIDE[0]).packed
    change = subject.change(add={NET4: MINUTE})
    if Family.V4 in layout.spares:
        flat = layout.flatten
        target = SetKey(NEVER_BLOCK, Family.V4, Kind.RANGES if flat else Kind.HOSTS)
        change[target] = SetChange(add=[(packed * 2 if flat else packed, FOREVER)])
    backend.apply(change)
    expected = {subject.group, *(target.group for target in change)}
    found = backend.holders(packed)
    assert {held.target.group for held in found} == expected
    assert {held.until for held in found if held.target.group == NEVER_BLOCK} <= {FOREVER, None}
