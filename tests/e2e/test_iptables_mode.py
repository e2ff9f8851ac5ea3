"""Mode iptables as its administrator runs it: the whole program, and a packet every millisecond."""

from __future__ import annotations

import ipaddress
import json
import time
from typing import TYPE_CHECKING

import pytest

from tests.fake_lapi import raw_decision

if TYPE_CHECKING:
    from tests.conftest import MakeBouncer
    from tests.e2e.conftest import Launch
    from tests.fake_lapi import FakeLapi
    from tests.lab.packets import Probe
    from tests.lab.xtables import Bench

BANNED = {4: "198.18.0.7", 6: "2001:db8:ba0::7"}


def test_stop_leaves_nothing(
    inside: Bench,
    launch: Launch,
    fake_lapi: FakeLapi,
    probe: Probe,
) -> None:
    """A stop takes out jumps, chains and sets, and nothing else; bans are over."""
    inside.iptables("-A", "INPUT", "-s", "203.0.113.99", "-j", "DROP")
    fake_lapi.ban(BANNED[4])
    running = launch()
    assert not probe.passes(BANNED[4])
    assert running.stop() == 0
    assert inside.rules("INPUT") == ["-s 203.0.113.99/32 -j DROP"]
    assert inside.chains() == inside.chains(6) == {"INPUT", "FORWARD", "OUTPUT"}
    assert inside.sets() == set()
    assert probe.passes(BANNED[4])


@pytest.mark.parametrize("inside", ["nft"], indirect=True)  # what this machine has as plain iptables
def test_teardown_after_a_crash(
    inside: Bench,
    launch: Launch,
    fake_lapi: FakeLapi,
    probe: Probe,
) -> None:
    """`teardown` removes what a killed process left."""
    fake_lapi.ban(BANNED[4])
    running = launch()
    running.kill()
    assert not probe.passes(BANNED[4])
    running.ask("teardown")
    assert inside.sets() == set()
    assert probe.passes(BANNED[4])


def test_the_contents_of_the_administrators_own_sets(
    inside: Bench,
    bouncer: MakeBouncer,
    fake_lapi: FakeLapi,
    probe: Probe,
) -> None:
    """Mode ipset fills the sets that the administrator's rules use, and empties them at a stop."""
    inside.make_set("mine", "hash:net", "timeout", "300")
    inside.make_set("mine6", "hash:net", "family", "inet6", "timeout", "300")
    inside.iptables("-A", "INPUT", "-m", "set", "--match-set", "mine", "src", "-j", "DROP")
    fake_lapi.ban(BANNED[4], origin="crowdsec")
    one = fake_lapi.ban(BANNED[4], origin="CAPI")
    running = bouncer(api_url=fake_lapi.url, mode="ipset", blacklists_ipv4="mine", blacklists_ipv6="mine6")
    running.start()
    fake_lapi.unban(one)
    time.sleep(0.3)
    assert not probe.passes(BANNED[4])
    running.stop()
    assert inside.members("mine") == {}
    assert probe.passes(BANNED[4])


def host(family: int, n: int) -> str:
    """Number a row of addresses, of which nine in ten are banned: 0, 10, 20 and so on are not."""
    return f"2001:db8:ba0::{n:x}" if family == 6 else f"198.{18 + (n >> 16)}.{n >> 8 & 255}.{n & 255}"


def network(family: int, n: int) -> str:
    """Number a row of networks, of which every other one is banned: those with even numbers."""
    return f"2001:db8:ba1:{n:x}::/64" if family == 6 else f"198.19.{128 + (n >> 3)}.{n % 8 * 32}/27"


def page_of_a_hundred_thousand() -> bytes:
    """Make a page of 81,000 and 19,000 addresses and twice 500 networks."""
    hosts = [host(family, n) for family, end in ((4, 90_000), (6, 21_112)) for n in range(end) if n % 10]
    ranges = [network(family, n) for family in (4, 6) for n in range(0, 1000, 2)]
    assert (len(hosts), len(ranges)) == (100_000, 1_000)
    values = [("Ip", value) for value in hosts] + [("Range", value) for value in ranges]
    rows = [raw_decision(n, value, "160h", scope=scope) for n, (scope, value) in enumerate(values, 1)]
    return json.dumps({"new": rows, "deleted": []}).encode()


def samples() -> tuple[set[str], set[str]]:
    """Pick addresses from all over that page, and as many from between its addresses and networks."""
    within, beside = set(), set()
    for family in (4, 6):
        for n in range(0, 21_000, 1050):
            beside.add(host(family, n))
            within.add(host(family, n + 1 + n % 9))
        for n in (0, 1, 2, 3, 500, 501, 998, 999):
            edges = ipaddress.ip_network(network(family, n))
            (beside if n % 2 else within).update((str(edges[0]), str(edges[-1])))
    return within, beside


def test_a_hundred_thousand(inside: Bench, launch: Launch, fake_lapi: FakeLapi, probe: Probe) -> None:
    """100,000 addresses and 1,000 ranges are in force, for whom they mean alone; one more takes a moment."""
    fake_lapi.page = page_of_a_hundred_thousand()
    began = time.monotonic()
    running = launch(update_frequency="0.05s")
    ready = time.monotonic() - began
    assert inside.count("crowdsec-blacklists-0") == 81_500
    assert inside.count("crowdsec6-blacklists-0") == 19_500
    within, beside = samples()
    assert probe.arriving(within | beside) == beside
    written = running.status()["kernel"]["last_write_ms"]
    fake_lapi.page = json.dumps({"new": [raw_decision(10**6, "198.18.0.10")], "deleted": []}).encode()
    spent = probe.wait_until("198.18.0.10", passes=False, within=3)
    print(f"\n{inside.variant}: ready after {ready:.2f} s, written in {written:.0f} ms, one more in "
          f"{running.status()['kernel']['last_write_ms']:.0f} ms ({spent * 1000:.0f} ms with the poll), "
          f"{running.rss() >> 20} MB")  # fmt: skip
    assert running.status()["kernel"]["last_write_ms"] <= 100
