"""Under a service manager: readiness, watchdog, and tables that belong to a kept socket."""

from __future__ import annotations

import signal
import time
from typing import TYPE_CHECKING

from tests.lab import witness

if TYPE_CHECKING:
    from tests.conftest import MakeBouncer
    from tests.lab.crowdsec import CrowdSec
    from tests.lab.manager import Manager
    from tests.lab.net import Network
    from tests.lab.packets import Probe

BANNED = "198.18.1.1"


def test_ready_means_enforced(bouncer: MakeBouncer, manager: Manager, lapi: CrowdSec, probe: Probe) -> None:
    """READY is said when the first state is in the kernel, and not before."""
    lapi.ban(BANNED)
    running = bouncer(manager)
    running.start()
    assert not probe.passes(BANNED)
    assert manager.said("STATUS=")


def test_ready_without_a_lapi(bouncer: MakeBouncer, manager: Manager, lapi: CrowdSec, probe: Probe) -> None:
    """With no state and no LAPI for some seconds, READY comes all the same, and says what is missing."""
    lapi.ban(BANNED)
    lapi.stop()
    running = bouncer(manager)
    running.start()
    assert any("READY=1" in message and "LAPI fails" in message for message in manager.messages)
    lapi.start()
    probe.wait_until(BANNED, passes=False, within=10)


def test_the_watchdog_is_fed(bouncer: MakeBouncer, manager: Manager, lapi: CrowdSec) -> None:
    """The watchdog hears from a healthy daemon more often than it must."""
    bouncer(manager).start()
    time.sleep(2.5)
    assert manager.said("WATCHDOG=1") >= 2


def test_an_owned_table_outlives_foreign_hands(
    bouncer: MakeBouncer, manager: Manager, lapi: CrowdSec, probe: Probe, net: Network
) -> None:
    """With a kept socket the tables are owned: a flush by root changes nothing, for not one packet."""
    lapi.ban(BANNED)
    bouncer(manager).start()
    assert manager.store
    with probe.stream(BANNED) as stream:
        net.mail.run("nft", "flush", "ruleset")
        net.mail.run("nft", "delete", "table", "ip", "crowdsec", check=False)
        time.sleep(0.3)
    assert stream.arrived() == 0
    assert ("ip", "crowdsec") in witness.tables(net.mail)


def test_an_owned_table_outlives_a_crash(
    bouncer: MakeBouncer, manager: Manager, lapi: CrowdSec, probe: Probe
) -> None:
    """After `kill -9` the kept socket keeps the bans, and the next process goes on writing through it."""
    lapi.ban(BANNED)
    running = bouncer(manager)
    running.start()
    with probe.stream(BANNED) as stream:
        running.kill()
        running.host.run("nft", "flush", "ruleset")
        time.sleep(0.3)
        running.start()
        lapi.ban("198.18.1.2")
        probe.wait_until("198.18.1.2", passes=False, within=2)
        running.kill()
        running.start()
        lapi.unban("198.18.1.2")
        probe.wait_until("198.18.1.2", passes=True, within=2)
    assert stream.arrived() == 0


def test_a_restart_keeps_the_bans(
    bouncer: MakeBouncer, manager: Manager, lapi: CrowdSec, probe: Probe
) -> None:
    """A restart by the service manager, SIGTERM and all, lets no packet of a banned peer pass."""
    lapi.ban(BANNED)
    running = bouncer(manager)
    running.start()
    with probe.stream(BANNED) as stream:
        assert running.stop() == 0
        time.sleep(0.3)
        running.start()
    assert stream.arrived() == 0


def test_a_stop_of_the_service_opens_the_host(
    bouncer: MakeBouncer, manager: Manager, lapi: CrowdSec, probe: Probe, net: Network
) -> None:
    """When the manager lets go of the socket, the kernel takes the tables away by itself."""
    lapi.ban(BANNED)
    running = bouncer(manager)
    running.start()
    running.stop()
    manager.empty_store()
    assert probe.passes(BANNED)
    assert witness.tables(net.mail) == set()


def test_a_reload_is_announced(bouncer: MakeBouncer, manager: Manager, lapi: CrowdSec, probe: Probe) -> None:
    """SIGHUP in an owned setting keeps every ban, and the process."""
    lapi.ban(BANNED)
    running = bouncer(manager)
    running.start()
    with probe.stream(BANNED) as stream:
        running.configure(deny_log=True)
        running.signal(signal.SIGHUP)
        time.sleep(1)
    assert stream.arrived() == 0
    assert running.running()
