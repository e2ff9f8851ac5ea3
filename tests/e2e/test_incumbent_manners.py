"""What users of cs-firewall-bouncer are used to see in nftables, with a LAPI that is asked every 10 ms."""

from __future__ import annotations

import ipaddress
import json
import time
from typing import TYPE_CHECKING, Any

import pytest

from tests.fake_lapi import raw_decision
from tests.lab import witness

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.conftest import MakeBouncer
    from tests.fake_lapi import FakeLapi
    from tests.lab.bouncer import Bouncer

NETWORKS = {4: "198.18.0.0", 6: "2001:db8:bad::"}
DISTINCT = 77


@pytest.fixture
def follower(bouncer: MakeBouncer, fake_lapi: FakeLapi) -> Bouncer:
    """Run a bouncer on a file with every key that the incumbent's own file has."""
    follower = bouncer(
        api_url=fake_lapi.url,
        update_frequency="0.01s",
        log_level="info",
        log_dir="./",
        disable_ipv6=False,
        deny_action="DROP",
        deny_log=False,
        supported_decisions_types=["ban"],
        iptables_chains=["INPUT"],
        nftables_hooks=["input", "forward"],
        nftables={
            "ipv4": {"enabled": True, "set-only": False, "table": "crowdsec", "chain": "crowdsec-chain"},
            "ipv6": {"enabled": True, "set-only": False, "table": "crowdsec6", "chain": "crowdsec6-chain"},
        },
    )
    follower.start()
    return follower


def eventually(what: Callable[[], Any], expected: Any, within: float = 2.0) -> None:
    """Wait until something is as expected."""
    deadline = time.monotonic() + within
    while (found := what()) != expected:
        assert time.monotonic() < deadline, f"{found} is not {expected}"
        time.sleep(0.05)


def addresses(version: int, count: int) -> list[str]:
    """Return the first addresses of a test network, as CrowdSec writes them."""
    first = ipaddress.ip_address(NETWORKS[version])
    return [str(first + n) for n in range(count)]


def test_names_of_everything(follower: Bouncer, fake_lapi: FakeLapi) -> None:
    """Tables, chains, sets and counters are called what they are called everywhere."""
    for version in NETWORKS:
        fake_lapi.ban(addresses(version, 1)[0], origin="script")
    eventually(lambda: len(witness.banned(follower.host)), 2)
    names = {
        (kind, body["family"], body.get("table"), body["name"])
        for entry in witness.ruleset(follower.host)
        for kind, body in entry.items()
        if "name" in body
    }
    for family, number in (("ip", ""), ("ip6", "6")):
        table = f"crowdsec{number}"
        assert names >= {
            ("table", family, None, table),
            ("chain", family, table, f"{table}-chain-input"),
            ("chain", family, table, f"{table}-chain-forward"),
            ("set", family, table, f"{table}-blacklists-script"),
            ("counter", family, table, f"{table}-blacklists-script"),
            ("counter", family, table, "processed"),
        }


def test_lists_have_sets_of_their_own(follower: Bouncer, fake_lapi: FakeLapi) -> None:
    """A blocklist's addresses go to a set that is named after the list."""
    fake_lapi.ban("198.18.1.1", origin="lists", scenario="firehol_voipbl")
    eventually(lambda: witness.banned(follower.host), {"198.18.1.1"})
    assert "set crowdsec-blacklists-lists-firehol_voipbl {" in follower.host.run("nft", "list", "ruleset")


@pytest.mark.parametrize("version", [4, 6])
def test_a_hundred_decisions_with_duplicates(follower: Bouncer, fake_lapi: FakeLapi, version: int) -> None:
    """A hundred decisions on 77 addresses are 77 elements, and one address's end is one element less."""
    values = addresses(version, DISTINCT)
    for value in (*values, *values[: 100 - DISTINCT]):
        fake_lapi.ban(value, origin="script")
    eventually(lambda: set(witness.elements(follower.host, version)), set(values))
    fake_lapi.unban(values[3])
    eventually(lambda: set(witness.elements(follower.host, version)), set(values) - {values[3]})


def test_duplicates_over_several_pages(follower: Bouncer, fake_lapi: FakeLapi) -> None:
    """A decision that repeats another one holds the ban until both are gone."""
    one = fake_lapi.ban("198.18.1.1", origin="script")
    eventually(lambda: witness.banned(follower.host), {"198.18.1.1"})
    two = fake_lapi.ban("198.18.1.2", origin="script")
    again = fake_lapi.ban("198.18.1.1", origin="script")
    eventually(lambda: witness.banned(follower.host), {"198.18.1.1", "198.18.1.2"})
    fake_lapi.unban(one, two)
    eventually(lambda: witness.banned(follower.host), {"198.18.1.1"})
    fake_lapi.unban(again)
    eventually(lambda: witness.banned(follower.host), set())
    fake_lapi.unban(one, two, again)
    time.sleep(0.2)
    assert follower.running()


def test_repeated_ids(follower: Bouncer, fake_lapi: FakeLapi) -> None:
    """The same decision told many times over, in one page and in each, is one element."""
    row = raw_decision(7, "198.18.1.1", origin="script")
    fake_lapi.page = json.dumps({"new": [row] * 50, "deleted": []}).encode()
    eventually(lambda: witness.banned(follower.host), {"198.18.1.1"})
    gone = raw_decision(7, "198.18.1.1", "-1s", origin="script")
    fake_lapi.page = json.dumps({"new": None, "deleted": [gone] * 50}).encode()
    eventually(lambda: witness.banned(follower.host), set())
    assert follower.running()


def test_the_longest_decision_wins(follower: Bouncer, fake_lapi: FakeLapi) -> None:
    """Of two hundred decisions on one address, the one that ends last says when it is free again."""
    for hours in range(1, 201):
        fake_lapi.ban("198.18.1.1", f"{hours}h", origin="script")
    eventually(lambda: list(witness.elements(follower.host, 4)), ["198.18.1.1"])
    eventually(lambda: abs(witness.elements(follower.host, 4)["198.18.1.1"] - 200 * 3600) <= 3, True)
