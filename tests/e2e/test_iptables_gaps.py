"""Mode iptables without a gap: a packet from banned peers every millisecond, whatever happens to program and rules."""

from __future__ import annotations

import contextlib
import signal
import time
from typing import TYPE_CHECKING

import pytest

from tests.lab.shell import run

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from tests.e2e.conftest import Launch
    from tests.fake_lapi import FakeLapi
    from tests.lab.bouncer import Bouncer
    from tests.lab.packets import Probe, Stream
    from tests.lab.xtables import Bench

BANNED = {4: "198.18.0.7", 6: "2001:db8:ba0::7"}
NAMES = {4: "crowdsec-blacklists-0", 6: "crowdsec6-blacklists-0"}
JUMP = ("INPUT", "-j", "CROWDSEC_CHAIN")


@pytest.fixture
def running(launch: Launch, fake_lapi: FakeLapi) -> Bouncer:
    """Run it with an address banned in each family."""
    for address in BANNED.values():
        fake_lapi.ban(address)
    return launch(on_stop="keep", resync_interval="1s")


@contextlib.contextmanager
def watched(probe: Probe) -> Iterator[tuple[Stream, Stream]]:
    """Let both banned peers send all the while."""
    with probe.stream(BANNED[4]) as four, probe.stream(BANNED[6]) as six:
        yield four, six
    assert (
        min(len(four.packets), len(six.packets)) > 50
    )  # a millisecond apart, or what a busy machine makes of it


def test_nothing_passes_over_a_restart(running: Bouncer, launch: Launch, probe: Probe) -> None:
    """A stop that keeps the bans, and a start that finds them, let no packet of a banned peer in."""
    with watched(probe) as streams:
        assert running.stop() == 0
        time.sleep(0.2)
        launch(running)
        time.sleep(0.2)
    assert [stream.arrived() for stream in streams] == [0, 0]


def test_nothing_passes_while_it_dies_and_returns(running: Bouncer, launch: Launch, probe: Probe) -> None:
    """After `kill -9` the bans stand, and whoever comes next takes them over."""
    with watched(probe) as streams:
        running.kill()
        time.sleep(0.2)
        launch(running)
        time.sleep(0.2)
    assert [stream.arrived() for stream in streams] == [0, 0]


def test_nothing_passes_while_the_configuration_is_read_again(
    inside: Bench, running: Bouncer, probe: Probe
) -> None:
    """SIGHUP rewrites the rules that have changed, and lets no packet of a banned peer in."""
    with watched(probe) as streams:
        for log in (True, False, True):
            running.configure(deny_log=log)
            _reload(running)
    assert [stream.arrived() for stream in streams] == [0, 0]
    assert inside.rules("CROWDSEC_LOG")[-1] == inside.rules("CROWDSEC_LOG", 6)[-1] == "-j DROP"


def test_nothing_passes_while_a_snapshot_replaces_another(
    inside: Bench, running: Bouncer, fake_lapi: FakeLapi, probe: Probe
) -> None:
    """A ban that another list has taken over, and many that come and go, cost no moment of emptiness."""
    others = [fake_lapi.ban(f"198.19.{n >> 8}.{n & 255}") for n in range(1000)]
    _wait(lambda: inside.count(NAMES[4]) == 1001)
    with watched(probe) as streams:
        fake_lapi.forget(*others[:200], *BANNED.values())
        for address in (*BANNED.values(), *(f"198.19.16.{n}" for n in range(200))):
            fake_lapi.ban(address, origin="CAPI")
        _wait(lambda: inside.sets() >= {"crowdsec-blacklists-1", "crowdsec6-blacklists-1"})
        _wait(lambda: [inside.count(f"crowdsec-blacklists-{n}") for n in (0, 1)] == [800, 201])
    assert [stream.arrived() for stream in streams] == [0, 0]


def flush_rules(inside: Bench) -> None:
    """Flush every chain."""
    for family in (4, 6):
        inside.iptables("-F", family=family)


def flush_sets(inside: Bench) -> None:
    """Empty all sets."""
    inside.flush_sets()


def destroy_sets(inside: Bench) -> None:
    """Destroy all sets, which takes an end of the rules that use them."""
    flush_rules(inside)
    inside.destroy_sets()


def destroy_chains(inside: Bench) -> None:
    """Delete all chains, and leave the sets."""
    flush_rules(inside)
    for family in (4, 6):
        inside.iptables("-X", family=family)


def delete_jumps(inside: Bench) -> None:
    """Delete the jumps alone."""
    for family in (4, 6):
        inside.iptables("-D", *JUMP, family=family)


@pytest.mark.parametrize("damage", [flush_rules, flush_sets, destroy_sets, destroy_chains, delete_jumps])
def test_damage_lasts_for_two_seconds_at_most(
    inside: Bench, running: Bouncer, probe: Probe, damage: Callable[[Bench], None]
) -> None:
    """Whatever is flushed, destroyed or deleted, no more than two seconds' worth of packets passes."""
    with watched(probe) as streams:
        time.sleep(0.1)
        damage(inside)
        then = time.monotonic_ns()
        time.sleep(2.1)
    for stream in streams:
        assert 0 < stream.arrived() <= 2000
        assert stream.arrived(since=then + 2 * 10**9) == 0
    for family in (4, 6):
        assert inside.rules("INPUT", family) == ["-j CROWDSEC_CHAIN"]
        assert inside.count(NAMES[family]) == 1
    assert running.running()


def test_damage_while_it_is_dead_is_mended_at_the_start(
    inside: Bench, running: Bouncer, launch: Launch, probe: Probe
) -> None:
    """What was flushed while nobody watched is back when the next start is ready."""
    running.kill()
    flush_rules(inside)
    run("ipset", "flush")
    launch(running)
    assert probe.arriving(BANNED.values()) == set()


def test_a_family_that_is_disabled_loses_its_rules_and_sets(
    inside: Bench, running: Bouncer, probe: Probe
) -> None:
    """SIGHUP with disable_ipv6 takes IPv6's jumps, chains and sets out, and IPv4's bans stay in force."""
    inside.iptables("-A", "INPUT", "-s", "2001:db8:99::/64", "-j", "DROP", family=6)
    running.configure(disable_ipv6=True)
    with watched(probe) as (four, _):
        _reload(running)
        time.sleep(0.3)
    assert four.arrived() == 0
    assert inside.rules("INPUT", 6) == ["-s 2001:db8:99::/64 -j DROP"]
    assert inside.chains(6) == {"INPUT", "FORWARD", "OUTPUT"}
    assert not any(name.startswith("crowdsec6") for name in inside.sets())
    running.configure(disable_ipv6=False)
    _reload(running)
    probe.wait_until(BANNED[6], passes=False, within=3)
    assert probe.arriving(BANNED.values()) == set()


def _reload(running: Bouncer) -> None:
    words = "configuration read again"
    heard = running.log.count(words)
    running.signal(signal.SIGHUP)
    _wait(lambda: running.log.count(words) > heard)


def _wait(condition: Callable[[], bool], within: float = 5) -> None:
    deadline = time.monotonic() + within
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.02)
