"""Mode iptables as its administrator runs it: the whole program, and a packet every millisecond."""

from __future__ import annotations

import json
import os
import signal
import time
from typing import TYPE_CHECKING, Any

import pytest

from tests.fake_lapi import raw_decision, static_page
from tests.lab.xtables import VARIANTS, Bench, bench

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from tests.conftest import MakeBouncer
    from tests.fake_lapi import FakeLapi
    from tests.lab.bouncer import Bouncer
    from tests.lab.net import Network
    from tests.lab.packets import Probe

BANNED = {4: "198.18.0.7", 6: "2001:db8:ba0::7"}


@pytest.fixture(params=VARIANTS)
def inside(net: Network, request: pytest.FixtureRequest) -> Iterator[Bench]:
    """Be on the mail host, with one kind of iptables after the other."""
    with bench(net, request.param) as made:
        yield made


@pytest.fixture
def started(
    inside: Bench,
    bouncer: MakeBouncer,
    fake_lapi: FakeLapi,
    tmp_path: Path,
) -> Callable[..., Bouncer]:
    """Return what starts the program in mode iptables, with this kind of iptables under the plain names."""
    for program in ("iptables", "ip6tables"):
        for verb in ("", "-save", "-restore"):
            (tmp_path / f"{program}{verb}").symlink_to(f"/usr/sbin/{program}-{inside.variant}{verb}")
    path = f"{tmp_path}:{os.environ['PATH']}"

    def start(running: Bouncer | None = None, **settings: Any) -> Bouncer:
        running = running or bouncer(
            api_url=fake_lapi.url,
            mode="iptables",
            iptables_chains=["INPUT"],
            **settings,
        )
        running.start(PATH=path)
        return running

    return start


def test_nothing_passes_while_it_dies_and_returns(
    inside: Bench,
    started: Callable[..., Bouncer],
    fake_lapi: FakeLapi,
    probe: Probe,
) -> None:
    """Through `kill -9`, restart, SIGHUP and another snapshot no packet of a banned peer passes."""
    for address in BANNED.values():
        fake_lapi.ban(address)
    running = started()
    with probe.stream(BANNED[4]) as four, probe.stream(BANNED[6]) as six:
        running.kill()
        fake_lapi.forget(BANNED[4])
        fake_lapi.ban(BANNED[4], origin="crowdsec")
        started(running)
        running.configure(deny_log=True)
        running.signal(signal.SIGHUP)
        running.wait_log("configuration read again")
        running.signal(signal.SIGHUP)
        time.sleep(0.5)
    assert four.arrived() == six.arrived() == 0
    assert inside.rules("CROWDSEC_LOG")[1] == "-j DROP"


@pytest.mark.parametrize(("inside", "flushed"), [("legacy", "rules"), ("nft", "sets")], indirect=["inside"])
def test_damage_lasts_for_two_seconds_at_most(
    inside: Bench,
    started: Callable[..., Bouncer],
    fake_lapi: FakeLapi,
    probe: Probe,
    flushed: str,
) -> None:
    """After a flush of the rules or of the sets, no more than two seconds' worth of packets passes."""
    fake_lapi.ban(BANNED[4])
    fake_lapi.ban(BANNED[6])
    started()
    with probe.stream(BANNED[4]) as stream:
        time.sleep(0.1)
        inside.flush_sets() if flushed == "sets" else inside.iptables("-F")
        then = time.monotonic_ns()
        time.sleep(2.1)
    assert 0 < stream.arrived() <= 2000
    assert stream.arrived(since=then + 2 * 10**9) == 0


def test_stop_leaves_nothing(
    inside: Bench,
    started: Callable[..., Bouncer],
    fake_lapi: FakeLapi,
    probe: Probe,
) -> None:
    """A stop takes out jumps, chains and sets, and nothing else; bans are over."""
    inside.iptables("-A", "INPUT", "-s", "203.0.113.99", "-j", "DROP")
    fake_lapi.ban(BANNED[4])
    running = started()
    assert not probe.passes(BANNED[4])
    assert running.stop() == 0
    assert inside.rules("INPUT") == ["-s 203.0.113.99/32 -j DROP"]
    assert inside.chains() == inside.chains(6) == {"INPUT", "FORWARD", "OUTPUT"}
    assert inside.sets() == set()
    assert probe.passes(BANNED[4])


@pytest.mark.parametrize("inside", ["nft"], indirect=True)  # what this machine has as plain iptables
def test_teardown_after_a_crash(
    inside: Bench,
    started: Callable[..., Bouncer],
    fake_lapi: FakeLapi,
    probe: Probe,
) -> None:
    """`teardown` removes what a killed process left."""
    fake_lapi.ban(BANNED[4])
    running = started()
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


def test_a_hundred_thousand(
    inside: Bench,
    started: Callable[..., Bouncer],
    fake_lapi: FakeLapi,
    probe: Probe,
) -> None:
    """100,000 addresses and 1,000 ranges are in force, and a change among them takes a moment."""
    fake_lapi.page = static_page(100_000, 1_000, 1_000)
    began = time.monotonic()
    running = started(update_frequency="0.05s")
    ready = time.monotonic() - began
    assert inside.count("crowdsec-blacklists-0") == 101_000
    assert inside.count("crowdsec6-blacklists-0") == 1_000
    written = running.status()["kernel"]["last_write_ms"]
    fake_lapi.page = b'{"new": [], "deleted": []}'
    time.sleep(0.5)
    one = raw_decision(10**6, BANNED[4], origin="CAPI")
    fake_lapi.page = json.dumps({"new": [one], "deleted": []}).encode()
    spent = probe.wait_until(BANNED[4], passes=False, within=3)
    print(f"\n{inside.variant}: ready after {ready:.2f} s, written in {written:.0f} ms, one more in "
          f"{running.status()['kernel']['last_write_ms']:.0f} ms ({spent * 1000:.0f} ms with the poll), "
          f"{running.rss() >> 20} MB")  # fmt: skip
    assert running.status()["kernel"]["last_write_ms"] <= 100
