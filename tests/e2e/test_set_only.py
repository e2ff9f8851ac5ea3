"""set-only: the table and its rules are the administrator's, and only the set's content is ours."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tests.lab import witness

if TYPE_CHECKING:
    from tests.conftest import MakeBouncer
    from tests.lab.bouncer import Bouncer
    from tests.lab.crowdsec import CrowdSec
    from tests.lab.net import Network
    from tests.lab.packets import Probe

PLAIN = """
table ip crowdsec {
    set crowdsec-blacklists { type ipv4_addr; flags timeout; }
    chain mine {
        type filter hook input priority 0; policy accept;
        ip saddr @crowdsec-blacklists counter drop comment "the admin's own"
    }
}
"""
INTERVAL = PLAIN.replace("flags timeout", "flags interval, timeout")


def set_only(bouncer: MakeBouncer) -> Bouncer:
    """Make a bouncer that fills the administrator's IPv4 set."""
    return bouncer(
        nftables={"ipv4": {"enabled": True, "set-only": True}, "ipv6": {"enabled": False}}, disable_ipv6=True
    )


def test_a_plain_set_takes_hosts(bouncer: MakeBouncer, lapi: CrowdSec, probe: Probe, net: Network) -> None:
    """Hosts go into the administrator's plain set, his rule drops them, and it is empty after a stop."""
    net.mail.run("nft", "-f", "-", text=PLAIN)
    lapi.ban("198.18.1.1")
    running = set_only(bouncer)
    running.start()
    assert not probe.passes("198.18.1.1")
    lapi.unban("198.18.1.1")
    probe.wait_until("198.18.1.1", passes=True, within=2)
    lapi.ban("198.18.1.2")
    probe.wait_until("198.18.1.2", passes=False, within=2)
    assert running.stop() == 0
    assert probe.passes("198.18.1.2")
    assert "the admin's own" in net.mail.run("nft", "list", "table", "ip", "crowdsec")


def test_an_interval_set_takes_hosts_and_ranges(
    bouncer: MakeBouncer, lapi: CrowdSec, probe: Probe, net: Network
) -> None:
    """A set with the interval flag takes hosts and ranges alike, nested ones too."""
    net.mail.run("nft", "-f", "-", text=INTERVAL)
    lapi.ban("198.18.0.0/20")
    lapi.ban("198.18.1.1", "8h")
    lapi.ban("198.18.200.1")
    running = set_only(bouncer)
    running.start()
    assert {"198.18.16.0"} == probe.arriving(["198.18.15.255", "198.18.1.1", "198.18.200.1", "198.18.16.0"])
    lapi.unban("198.18.0.0/20")
    probe.wait_until("198.18.1.2", passes=True, within=2)
    assert not probe.passes("198.18.1.1")
    assert running.stop() == 0
    assert witness.elements(net.mail, 4) == {}


def test_the_admins_own_elements_stay(
    bouncer: MakeBouncer, lapi: CrowdSec, probe: Probe, net: Network
) -> None:
    """What the administrator put into the set himself outlives start and stop."""
    net.mail.run("nft", "-f", "-", text=PLAIN)
    net.mail.run("nft", "add element ip crowdsec crowdsec-blacklists { 198.18.7.7 timeout 1h }")
    lapi.ban("198.18.1.1")
    running = set_only(bouncer)
    running.start()
    assert {"198.18.1.1", "198.18.7.7"} == set(witness.elements(net.mail, 4))
    running.stop()
    assert {"198.18.7.7"} == set(witness.elements(net.mail, 4))


def test_a_missing_table_is_named(bouncer: MakeBouncer, lapi: CrowdSec) -> None:
    """Without the administrator's table the log says which one is missing."""
    running = set_only(bouncer)
    running.start(ready=False)
    running.wait_log("crowdsec")
    running.wait_log("table")
