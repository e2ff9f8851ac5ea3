"""Sessions as this kernel lists and ends them: exactly those asked for, however they are asked for."""

from __future__ import annotations

import random
from ipaddress import ip_address, ip_network
from typing import TYPE_CHECKING

from fwbouncer.core.addresses import key_of, shown
from fwbouncer.core.suspects import Suspects
from fwbouncer.kernel.sessions import Sessions
from tests.lab.lines import exchange, fate

if TYPE_CHECKING:
    from fwbouncer.core.model import AddressKey
    from tests.lab.net import Network

V4 = [f"198.18.{third}.{last}" for third in (0, 1, 16, 255) for last in (0, 1, 127, 128, 255)]
V6 = [f"2001:db8:ba{n:x}::{last}" for n in (0, 7, 15) for last in ("", "1", "8000:0:0:1", "ffff")]
# So many that the kernel isn't told whom to look for.
ELSEWHERE = [ip_address(f"100.64.0.{n}").packed for n in range(100)]


def drawn(chance: random.Random) -> list[AddressKey]:
    """Draw hosts and networks around the addresses."""
    keys = []
    for text in chance.sample(V4 + V6, chance.randint(1, 6)):
        bits = ip_address(text).max_prefixlen
        prefix = chance.choice([bits, bits, bits - 1, bits - 7, bits - 8, 28, 24, 19])
        keys.append(key_of(ip_network(f"{text}/{prefix}", strict=False)))
    return keys


def test_exactly_the_sessions_of_whom_is_asked_for(net: Network) -> None:
    """Of sessions with servers of each kind those are listed whose peers are in the networks; few or many alike."""
    chance = random.Random(7)
    with exchange(net.mail, 25) as dual, exchange(net.mail, 143, "0.0.0.0") as four:
        dual.lines(net.attacker, V4 + V6)
        four.lines(net.attacker, V4)
        there = Sessions()
        with net.mail.inside():
            for _ in range(100):
                keys = drawn(chance)
                networks = [ip_network(shown(key)) for key in keys]
                inside = [a for a in [*V4, *V4, *V6] if any(ip_address(a) in network for network in networks)]
                for asked in (keys, [*keys, *ELSEWHERE]):
                    found = there.find(Suspects(keys=[asked]))
                    assert sorted(shown(session.peer) for session in found) == sorted(
                        str(ip_address(a)) for a in inside
                    )
                    assert not any(session.ours for session in found)


def test_ends_exactly_those(net: Network) -> None:
    """What is cut ends, what isn't goes on, and cutting it again is no error; this kernel lacks nothing."""
    with exchange(net.mail, 25) as server:
        lines = dict(zip(V4 + V6, server.lines(net.attacker, V4 + V6), strict=True))
        there = Sessions()
        with net.mail.inside():
            there.probe()
            assert there.unsupported == ()
            found = there.find(Suspects(keys=[[ip_address(a).packed for a in (*V4[::2], *V6[::2])]]))
            assert there.cut(found) == found
            assert there.cut(found) == []
        gone = {*V4[::2], *V6[::2]}
        assert {fate(lines[a].called) for a in gone} == {"ECONNABORTED"}
        assert all(lines[a].talks() for a in lines.keys() - gone)
