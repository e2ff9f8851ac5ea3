"""Mail keeps flowing: what this host begins itself is answered, whoever is banned."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING

import pytest

from tests.lab.net import ATTACKER, MAIL
from tests.lab.packets import Greeter, dial

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.conftest import MakeBouncer
    from tests.lab.crowdsec import CrowdSec
    from tests.lab.net import Network
    from tests.lab.packets import Probe

GREETING = "220 mail.example.net"
OURS = {4: "198.51.100.1", 6: "2001:db8:a::1"}  # the mail host's end of the wire to the attacker
NETWORKS = {4: "198.51.100.0/24", 6: "2001:db8:a::/64"}


@pytest.fixture
def their_mail(net: Network) -> Iterator[None]:
    """Run a mail service on the attacker's host, to which this host delivers."""
    with contextlib.closing(Greeter(net.attacker)):
        yield


@pytest.mark.parametrize("mode", ["nftables", "iptables"])
@pytest.mark.parametrize("version", [4, 6])
def test_our_deliveries_to_a_banned_network_arrive(  # noqa: PLR0913 - the lab's parts
    bouncer: MakeBouncer, lapi: CrowdSec, net: Network, their_mail: None, mode: str, version: int
) -> None:
    """Mail goes out to a banned network on the same wire, also when its neighbour has to be discovered anew."""
    lapi.ban(NETWORKS[version])
    bouncer(mode=mode, iptables_chains=["INPUT"]).start()
    net.mail.ip("neigh", "flush", "all")
    assert dial(net.mail, OURS[version], ATTACKER[version]) == GREETING


@pytest.mark.parametrize("mode", ["nftables", "iptables"])
@pytest.mark.parametrize("version", [4, 6])
def test_the_same_peer_is_not_let_in(  # noqa: PLR0913 - the lab's parts
    bouncer: MakeBouncer,
    lapi: CrowdSec,
    net: Network,
    greeter: Greeter,
    their_mail: None,
    mode: str,
    version: int,
) -> None:
    """While our mail reaches a banned peer, no connection of its own gets in."""
    lapi.ban(ATTACKER[version])
    bouncer(mode=mode, iptables_chains=["INPUT"]).start()
    assert dial(net.mail, OURS[version], ATTACKER[version]) == GREETING
    assert dial(net.attacker, ATTACKER[version], MAIL[version], timeout=0.4) == "timeout"


def test_replies_drop_too_where_that_is_asked_for(
    bouncer: MakeBouncer, lapi: CrowdSec, net: Network, their_mail: None
) -> None:
    """With `protect.replies: drop` a banned peer can't even answer."""
    lapi.ban(ATTACKER[4])
    bouncer(protect={"replies": "drop"}).start()
    assert dial(net.mail, OURS[4], ATTACKER[4], timeout=0.4) in {"timeout", "aborted"}


@pytest.mark.parametrize("mode", ["nftables", "iptables"])
def test_bans_outlive_a_stop_where_that_is_asked_for(
    bouncer: MakeBouncer, lapi: CrowdSec, probe: Probe, mode: str
) -> None:
    """With `on_stop: keep` no packet passes between a stop and the next start, and `teardown` still removes all."""
    banned = "198.18.1.1"
    lapi.ban(banned)
    running = bouncer(mode=mode, iptables_chains=["INPUT"], on_stop="keep")
    running.start()
    with probe.stream(banned) as stream:
        assert running.stop() == 0
        running.start()
    assert stream.arrived() == 0
    running.stop()
    assert not probe.passes(banned)
    running.ask("teardown")
    assert probe.passes(banned)
