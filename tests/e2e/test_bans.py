"""What CrowdSec decides is what the kernel does: real LAPI, real packets, both families."""

from __future__ import annotations

import contextlib
import ipaddress
import random
import time
from typing import TYPE_CHECKING

import pytest

from tests.lab import witness
from tests.lab.net import ATTACKER, HONEST, MAIL
from tests.lab.packets import Greeter, dial

if TYPE_CHECKING:
    from tests.conftest import MakeBouncer
    from tests.lab.bouncer import Bouncer
    from tests.lab.crowdsec import CrowdSec
    from tests.lab.net import Network
    from tests.lab.packets import Probe

WITHIN = 2.0
INSIDE_20 = [str(ipaddress.ip_address("198.18.16.0") + n) for n in (0, 1, 255, 256, 2047, 4094, 4095)]
OUTSIDE_20 = ["198.18.15.255", "198.18.32.0"]
INSIDE_48 = [
    "2001:db8:bad::",
    "2001:db8:bad::1",
    "2001:db8:bad:8000::7",
    "2001:db8:bad:ffff:ffff:ffff:ffff:ffff",
]
OUTSIDE_48 = ["2001:db8:bac:ffff:ffff:ffff:ffff:ffff", "2001:db8:bae::"]


@pytest.fixture
def running(bouncer: MakeBouncer, lapi: CrowdSec) -> Bouncer:
    """Run a bouncer that follows the real LAPI."""
    running = bouncer()
    running.start()
    return running


@pytest.mark.parametrize(
    "case",
    [
        ("198.18.1.1", "198.18.1.1", "198.18.1.2"),
        ("198.18.2.0/24", "198.18.2.77", "198.18.3.0"),
        ("2001:db8:bad::1", "2001:db8:bad::1", "2001:db8:bad::2"),
        ("2001:db8:bad:5::/64", "2001:db8:bad:5::99", "2001:db8:bad:6::"),
    ],
)
def test_a_ban_bites_and_an_unban_returns(
    running: Bouncer, lapi: CrowdSec, probe: Probe, case: tuple[str, str, str]
) -> None:
    """A ban of an address or range closes the host to exactly it, and its end opens it again."""
    value, inside, outside = case
    assert {inside, outside} == probe.arriving([inside, outside])
    lapi.ban(value)
    probe.wait_until(inside, passes=False, within=WITHIN)
    assert {outside} == probe.arriving([inside, outside])
    lapi.unban(value)
    probe.wait_until(inside, passes=True, within=WITHIN)
    assert set() == witness.banned(running.host)


def test_connections_of_the_banned_time_out(
    running: Bouncer, lapi: CrowdSec, probe: Probe, net: Network, greeter: Greeter
) -> None:
    """A banned client's connection is never answered while an honest client is greeted."""
    assert dial(net.attacker, "198.18.1.1") == "220 mail.example.net"
    lapi.ban("198.18.1.1")
    lapi.ban("2001:db8:bad::1")
    probe.wait_until("2001:db8:bad::1", passes=False, within=WITHIN)
    assert dial(net.attacker, "198.18.1.1", timeout=0.5) == "timeout"
    assert dial(net.attacker, "2001:db8:bad::1", timeout=0.5) == "timeout"
    for source in HONEST.values():
        assert dial(net.honest, source) == "220 mail.example.net"


@pytest.mark.parametrize(
    "case",
    [("198.18.16.0/20", INSIDE_20, OUTSIDE_20), ("2001:db8:bad::/48", INSIDE_48, OUTSIDE_48)],
)
def test_every_address_of_a_range_is_banned(
    running: Bouncer, lapi: CrowdSec, probe: Probe, case: tuple[str, list[str], list[str]]
) -> None:
    """A range is banned from its first address to its last, and its neighbours are not."""
    value, inside, outside = case
    network = ipaddress.ip_network(value)
    dice = random.Random(20)
    some = [str(network[dice.randrange(min(network.num_addresses, 2**63))]) for _ in range(50)]
    lapi.ban(value)
    probe.wait_until(inside[0], passes=False, within=WITHIN)
    assert set(outside) == probe.arriving([*inside, *some, *outside])


def test_each_nested_range_ends_on_time(running: Bouncer, lapi: CrowdSec, probe: Probe) -> None:
    """A nested range's end opens neither more nor less than what no other ban covers."""
    lapi.ban("2001:db8:bad::/48", "8s")
    lapi.ban("2001:db8:bad:4::/64", "4s")
    outer, inner = "2001:db8:bad::9", "2001:db8:bad:4::4"
    probe.wait_until(inner, passes=False, within=WITHIN)
    time.sleep(5)
    assert set() == probe.arriving([outer, inner])
    probe.wait_until(inner, passes=True, within=5)
    assert {outer, inner} == probe.arriving([outer, inner])


def test_a_renewed_ban_lives_on(running: Bouncer, lapi: CrowdSec, probe: Probe) -> None:
    """A second, longer decision carries a ban past the first one's end without a gap."""
    lapi.ban("198.18.1.1", "3s")
    probe.wait_until("198.18.1.1", passes=False, within=WITHIN)
    with probe.stream("198.18.1.1") as stream:
        lapi.ban("198.18.1.1", "7s")
        time.sleep(4.5)
    assert stream.arrived() == 0
    probe.wait_until("198.18.1.1", passes=True, within=5)


def test_overlapping_decisions_are_independent(running: Bouncer, lapi: CrowdSec, probe: Probe) -> None:
    """The end of one decision never unbans what another one still bans."""
    lapi.ban("198.18.1.1", "1h")
    lapi.ban("198.18.1.0/24", "1h")
    probe.wait_until("198.18.1.1", passes=False, within=WITHIN)
    probe.wait_until("198.18.1.2", passes=False, within=WITHIN)
    with probe.stream("198.18.1.1") as stream:
        lapi.unban("198.18.1.0/24")
        probe.wait_until("198.18.1.2", passes=True, within=WITHIN)
        lapi.ban("198.18.1.0/24", "1h")
        probe.wait_until("198.18.1.2", passes=False, within=WITHIN)
        lapi.unban("198.18.1.1")
        time.sleep(1)
    assert stream.arrived() == 0


def test_other_types_and_scopes_are_left_alone(running: Bouncer, lapi: CrowdSec, probe: Probe) -> None:
    """A captcha decision bans nobody, and a scope that this host can't enforce harms nothing."""
    lapi.ban("198.18.1.1", type="captcha")
    lapi.cscli("decisions", "add", "--scope", "Country", "--value", "FR", "--type", "ban")
    lapi.ban("198.18.1.2")
    probe.wait_until("198.18.1.2", passes=False, within=WITHIN)
    assert probe.passes("198.18.1.1")
    assert {"198.18.1.2"} == witness.banned(running.host)


def test_the_mail_hosts_own_connections_are_answered(
    running: Bouncer, lapi: CrowdSec, probe: Probe, net: Network
) -> None:
    """Replies of a banned peer to connections that the mail host opened still arrive."""
    lapi.ban("198.18.1.1")
    lapi.ban("198.18.1.2")
    probe.wait_until("198.18.1.2", passes=False, within=WITHIN)
    with contextlib.closing(Greeter(net.attacker)):
        assert dial(net.mail, MAIL[4], target="198.18.1.1") == "220 mail.example.net"
    assert not probe.passes("198.18.1.1")
    assert probe.passes(ATTACKER[4])
