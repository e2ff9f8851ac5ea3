"""No gap: whatever dies, restarts or answers nothing, the banned stay out and the others in."""

from __future__ import annotations

import signal
import time
from typing import TYPE_CHECKING

from tests.lab import witness

if TYPE_CHECKING:
    from tests.conftest import MakeBouncer
    from tests.lab.crowdsec import CrowdSec
    from tests.lab.net import Network
    from tests.lab.packets import Probe

BANNED = "198.18.1.1"
WITHIN = 2.0
OURS = {("ip", "crowdsec"), ("ip6", "crowdsec6")}


def test_a_lapi_that_comes_later_is_served_at_once(
    bouncer: MakeBouncer, lapi: CrowdSec, probe: Probe
) -> None:
    """A ban is in the kernel within a second of a LAPI that starts after the bouncer."""
    lapi.ban(BANNED)
    lapi.stop()
    running = bouncer()
    running.start(ready=False)
    time.sleep(2)
    assert running.running()
    lapi.start()
    # A second, and what a busy machine adds.
    assert probe.wait_until(BANNED, passes=False, within=3) < 1.5


def test_an_outage_of_the_lapi_keeps_the_bans(bouncer: MakeBouncer, lapi: CrowdSec, probe: Probe) -> None:
    """While the LAPI is away bans stay, and afterwards what was decided last is followed."""
    lapi.ban(BANNED)
    running = bouncer()
    running.start()
    probe.wait_until(BANNED, passes=False, within=WITHIN)
    with probe.stream(BANNED) as stream:
        lapi.stop()
        time.sleep(1)
        lapi.start()
        lapi.ban("198.18.1.2")
        probe.wait_until("198.18.1.2", passes=False, within=5)
    assert stream.arrived() == 0
    assert running.running()


def test_a_restarted_lapi_that_lost_a_decision_is_followed(
    bouncer: MakeBouncer, lapi: CrowdSec, probe: Probe
) -> None:
    """A ban that ended while the LAPI could not be reached ends as soon as it answers again."""
    lapi.ban(BANNED)
    lapi.ban("198.18.1.2")
    running = bouncer()
    running.start()
    probe.wait_until(BANNED, passes=False, within=WITHIN)
    lapi.refuse()
    running.wait_log("refuses our key")
    lapi.unban(BANNED)
    time.sleep(3)  # longer than the LAPI repeats what ended
    lapi.allow()
    probe.wait_until(BANNED, passes=True, within=20)
    assert not probe.passes("198.18.1.2")


def test_a_refused_key_at_start_ends_with_3(bouncer: MakeBouncer, lapi: CrowdSec) -> None:
    """A key that the LAPI doesn't know ends the start with exit code 3 and a clear word."""
    running = bouncer(api_key="a-wrong-key")
    running.start(ready=False)
    assert running.wait_exit() == 3
    assert "doesn't know this API key" in running.log
    assert "a-wrong-key" not in running.log


def test_a_key_refused_later_keeps_the_bans(bouncer: MakeBouncer, lapi: CrowdSec, probe: Probe) -> None:
    """A key that is taken back while the bouncer runs unbans nobody and ends nothing."""
    lapi.ban(BANNED)
    running = bouncer()
    running.start()
    probe.wait_until(BANNED, passes=False, within=WITHIN)
    lapi.refuse()
    running.wait_log("refuses our key")
    time.sleep(1)
    assert running.running()
    assert not probe.passes(BANNED)


def test_stop_leaves_nothing(bouncer: MakeBouncer, lapi: CrowdSec, probe: Probe, net: Network) -> None:
    """SIGTERM ends the process with 0 and takes out all that was its own, and nothing else."""
    net.mail.run("nft", "add table inet admins")
    lapi.ban(BANNED)
    running = bouncer()
    running.start()
    probe.wait_until(BANNED, passes=False, within=WITHIN)
    assert running.stop() == 0
    assert probe.passes(BANNED)
    assert witness.tables(net.mail) == {("inet", "admins")}


def test_an_interrupt_is_a_stop(bouncer: MakeBouncer, lapi: CrowdSec, net: Network) -> None:
    """SIGINT does what SIGTERM does."""
    running = bouncer()
    running.start()
    assert witness.tables(net.mail) == OURS
    running.signal(signal.SIGINT)
    assert running.wait_exit() == 0
    assert witness.tables(net.mail) == set()


def test_a_reload_has_no_gap(bouncer: MakeBouncer, lapi: CrowdSec, probe: Probe) -> None:
    """SIGHUP takes up the changed configuration, and no packet of a banned peer slips through meanwhile."""
    lapi.ban(BANNED)
    running = bouncer(manager=None)
    running.start()
    probe.wait_until(BANNED, passes=False, within=WITHIN)
    running.configure(update_frequency="0.2s", deny_log=True)
    with probe.stream(BANNED) as stream:
        for _ in range(3):
            running.signal(signal.SIGHUP)
            time.sleep(0.7)
    assert len(stream.packets) > 1000
    assert stream.arrived() == 0
    assert running.running()
    assert "log prefix" in running.host.run("nft", "list", "ruleset")


def test_a_reload_of_nonsense_changes_nothing(bouncer: MakeBouncer, lapi: CrowdSec, probe: Probe) -> None:
    """A configuration that can't be used is refused at SIGHUP, and the old one goes on."""
    lapi.ban(BANNED)
    running = bouncer()
    running.start()
    probe.wait_until(BANNED, passes=False, within=WITHIN)
    running.config.write_text("mode: nftabels\n")
    running.signal(signal.SIGHUP)
    time.sleep(0.7)
    assert running.running()
    assert not probe.passes(BANNED)
    lapi.ban("198.18.1.2")
    probe.wait_until("198.18.1.2", passes=False, within=WITHIN)


def test_a_family_that_is_disabled_loses_its_table(
    bouncer: MakeBouncer, lapi: CrowdSec, probe: Probe, net: Network
) -> None:
    """SIGHUP with disable_ipv6 takes IPv6's table out, and brings it back later; IPv4's bans stay in force."""
    lapi.ban(BANNED)
    lapi.ban("2001:db8:ba0::1")
    running = bouncer()
    running.start()
    probe.wait_until("2001:db8:ba0::1", passes=False, within=WITHIN)
    with probe.stream(BANNED) as stream:
        running.configure(disable_ipv6=True)
        running.signal(signal.SIGHUP)
        probe.wait_until("2001:db8:ba0::1", passes=True, within=WITHIN)
        assert witness.tables(net.mail) == {("ip", "crowdsec")}
        running.configure(disable_ipv6=False)
        running.signal(signal.SIGHUP)
        probe.wait_until("2001:db8:ba0::1", passes=False, within=WITHIN)
    assert stream.arrived() == 0
    assert running.log.count("configuration read again") == 2


def test_a_killed_bouncer_leaves_its_bans_and_adopts_them(
    bouncer: MakeBouncer, lapi: CrowdSec, probe: Probe
) -> None:
    """Bans outlive `kill -9`, the next start takes them over as they are, and no packet passes in between."""
    lapi.ban(BANNED)
    running = bouncer()
    running.start()
    probe.wait_until(BANNED, passes=False, within=WITHIN)
    with probe.stream(BANNED) as stream:
        running.kill()
        time.sleep(0.5)
        before = witness.generation(running.host)
        running.start()
        time.sleep(0.5)
        steps = witness.generation(running.host) - before
    assert stream.arrived() == 0
    assert steps == 0, "it wrote to a kernel that held already what it must"


def test_bans_end_on_time_while_the_bouncer_is_dead(
    bouncer: MakeBouncer, lapi: CrowdSec, probe: Probe
) -> None:
    """Nested ranges and a host in them end one by one, with nobody there to end them."""
    outer, middle, inner = "198.18.9.9", "198.18.4.9", "198.18.4.4"
    due: list[tuple[float, float]] = []
    for value, seconds in (("198.18.0.0/16", 5), ("198.18.4.0/24", 8), (inner, 11)):
        begun = time.monotonic()
        lapi.ban(value, f"{seconds}s")
        # cscli made it at some time between, and counts from the beginning of that second.
        due.append((begun + seconds - 1, time.monotonic() + seconds))
    running = bouncer()
    running.start()
    assert set() == probe.arriving([outer, middle, inner])
    running.kill()
    for source, (earliest, latest) in zip((outer, middle, inner), due, strict=True):
        probe.wait_until(source, passes=True, within=12)
        assert earliest - 0.1 < time.monotonic() < latest + 0.5


def test_a_flush_is_repaired(bouncer: MakeBouncer, lapi: CrowdSec, probe: Probe) -> None:
    """Where tables can't be owned, what another tool flushes is back within a second."""
    lapi.ban(BANNED)
    running = bouncer()
    running.start()
    probe.wait_until(BANNED, passes=False, within=WITHIN)
    running.host.run("nft", "flush", "ruleset")
    probe.wait_until(BANNED, passes=False, within=1)
    running.host.run("nft", "flush", "table", "ip", "crowdsec")
    probe.wait_until(BANNED, passes=False, within=1)
