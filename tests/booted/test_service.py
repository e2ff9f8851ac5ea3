"""The unit as shipped, under a systemd that booted: what is kept, what goes, who may what."""

from __future__ import annotations

import json
import time
from typing import TYPE_CHECKING

import pytest

from tests.booted.conftest import ALLOWED, BANNED, FULL
from tests.booted.machine import UNIT
from tests.lab import witness
from tests.lab.crowdsec import CHECKOUT
from tests.lab.lines import exchange, fate

if TYPE_CHECKING:
    from tests.booted.conftest import Traffic
    from tests.booted.machine import Machine
    from tests.fake_lapi import FakeLapi
    from tests.lab.net import Network
    from tests.lab.packets import Probe

MANY = 50 if FULL else 10


def test_ready_means_enforced(service: Machine, booted_probe: Probe) -> None:
    """`systemctl start` returns when the first bans are in force; the tables are owned, the socket kept."""
    assert not booted_probe.passes(BANNED)
    assert booted_probe.passes(ALLOWED)
    assert service.systemctl("is-active", UNIT) == "active"
    assert service.show("NFileDescriptorStore") == "1"
    assert "table owned" in service.run("fwbouncer", "status")


def test_a_foreign_flush_changes_nothing(service: Machine, traffic: Traffic, booted_net: Network) -> None:
    """Fifty `nft flush ruleset` by root leave the tables standing, for every packet."""
    with traffic.judged("50 flushes"):
        for _ in range(50):
            service.run("nft", "flush", "ruleset")
    assert ("ip", "crowdsec") in witness.tables(booted_net.mail)


def test_restarts_leave_no_gap(service: Machine, traffic: Traffic) -> None:
    """Restart after restart, no packet of a banned peer passes and none of another's is lost."""
    with traffic.judged(f"{MANY} restarts"):
        for _ in range(MANY):
            service.systemctl("restart", UNIT)


def test_crashes_leave_no_gap(service: Machine, traffic: Traffic) -> None:
    """`kill -9` after `kill -9`, systemd starts it anew and no packet of a banned peer passes."""
    with traffic.judged(f"{MANY} times kill -9"):
        for number in range(1, MANY + 1):
            service.systemctl("kill", "-s", "KILL", UNIT)
            service.wait_for("NRestarts", str(number))
            service.wait_for("ActiveState", "active")


def test_an_upgrade_leaves_no_gap(service: Machine, traffic: Traffic) -> None:
    """New files under the running service and a restart, then a new systemd: no packet of a banned peer passes."""
    with traffic.judged("an upgrade"):
        service.put_code()
        service.systemctl("daemon-reload")
        service.systemctl("restart", UNIT)
        service.systemctl("daemon-reexec")
        service.systemctl("restart", UNIT)
    assert service.show("NFileDescriptorStore") == "1"


def test_a_stop_leaves_nothing(service: Machine, booted_probe: Probe, booted_net: Network) -> None:
    """`systemctl stop` opens the host: no table, no process, no kept socket."""
    service.systemctl("stop", UNIT)
    assert booted_probe.passes(BANNED)
    assert witness.tables(booted_net.mail) == set()
    assert service.show("NFileDescriptorStore") == "0"
    assert service.show("Result") == "success"


def test_bans_go_on_after_a_restart(service: Machine, booted_lapi: FakeLapi, booted_probe: Probe) -> None:
    """The process that took the socket over adds and removes bans through it."""
    service.systemctl("restart", UNIT)
    number = booted_lapi.ban("198.18.1.9")
    booted_probe.wait_until("198.18.1.9", passes=False, within=3)
    booted_lapi.unban(number)
    booted_probe.wait_until("198.18.1.9", passes=True, within=3)


def test_sessions_are_cut(service: Machine, booted_lapi: FakeLapi, booted_net: Network) -> None:
    """The unit's rights and filters suffice to end the session of who is banned."""
    with exchange(booted_net.mail, 2525) as server:
        line = server.line(booted_net.attacker, "198.18.1.11")
        number = booted_lapi.ban("198.18.1.11")
        assert fate(line.called) in {"ECONNABORTED", "ETIMEDOUT"}
        booted_lapi.unban(number)
    said = json.loads(service.run("fwbouncer", "status", "--json"))["sessions"]
    assert (said["cut"], said["unsupported"]) == (1, [])


def test_a_reload_finds_what_changed(service: Machine, traffic: Traffic) -> None:
    """`systemctl reload` reads a configuration that was written since the start, without a gap."""
    before = service.show("MainPID")
    with traffic.judged("a reload"):
        service.configure(deny_log=True)
        service.systemctl("reload", UNIT)
        service.wait_log("configuration read again")
    assert service.show("MainPID") == before
    assert "log prefix" in service.run("nft", "list", "table", "ip", "crowdsec")


def test_a_hang_is_noticed(machine: Machine, traffic: Traffic) -> None:
    """A daemon that hangs is ended by the watchdog and started anew, and its bans stay meanwhile."""
    with machine.drop_in("[Service]\nWatchdogSec=1\n"):
        machine.start()
        with traffic.judged("a hang"):
            machine.systemctl("kill", "-s", "STOP", UNIT)
            machine.wait_for("NRestarts", "1")
            machine.wait_for("ActiveState", "active")


def test_a_wrong_configuration_is_not_tried_again(machine: Machine) -> None:
    """Exit code 2 ends the matter: the unit has failed, and says why in its log."""
    machine.configure(mode="nonsense")
    assert machine.attempt("systemctl", "start", UNIT) != 0
    assert machine.show("ExecMainStatus") == "2"
    assert machine.show("ActiveState") == "failed"
    assert "mode" in machine.log()


def test_a_wrong_configuration_opens_nothing(service: Machine, traffic: Traffic) -> None:
    """A restart with a configuration that can't be run leaves the bans in force; once mended, it runs."""
    with traffic.judged("a restart with a wrong configuration"):
        service.configure(mode="nonsense")
        assert service.attempt("systemctl", "restart", UNIT) != 0
        service.wait_for("SubState", "auto-restart")
        service.configure()
        service.start()
    assert service.show("ActiveState") == "active"


def test_a_change_of_names_leaves_nothing(service: Machine, traffic: Traffic, booted_net: Network) -> None:
    """After a restart with other table names, or another mode, the former tables are gone, and no gap was."""
    with traffic.judged("a restart with other names"):
        service.configure(nftables={"ipv4": {"table": "other"}, "ipv6": {"enabled": False}})
        service.systemctl("restart", UNIT)
        assert _in_the_end(booted_net, {("ip", "other")})
    service.configure(mode="dry-run")
    service.systemctl("restart", UNIT)
    assert _in_the_end(booted_net, set())
    service.wait_for("NFileDescriptorStore", "0")


def _in_the_end(net: Network, expected: set[tuple[str, str]]) -> bool:
    deadline = time.monotonic() + 5
    while (found := witness.tables(net.mail)) != expected:
        assert time.monotonic() < deadline, found
        time.sleep(0.05)
    return True


@pytest.mark.parametrize("variant", ["nft", "legacy"])
def test_iptables_mode_works_here(
    machine: Machine, booted_probe: Probe, booted_net: Network, variant: str
) -> None:
    """With the drop-in that is shipped for it, iptables mode bans, restarts without a gap, and leaves nothing."""
    for program in ("iptables", "ip6tables"):
        machine.run("update-alternatives", "--set", program, f"/usr/sbin/{program}-{variant}")
    machine.configure(mode="iptables", iptables_chains=["INPUT"])
    with machine.drop_in((CHECKOUT / "systemd/fwbouncer-iptables.conf").read_text()):
        machine.start()
        with booted_probe.stream(BANNED) as bad:
            machine.systemctl("restart", UNIT)
        assert bad.arrived() == 0
    assert booted_probe.passes(BANNED)
    assert booted_net.mail.run("ipset", "list", "-n") == ""


def test_a_refused_key_is_tried_again(machine: Machine, booted_lapi: FakeLapi, booted_probe: Probe) -> None:
    """While the LAPI refuses the key the service keeps trying, and begins to work when the key is known."""
    booted_lapi.keys = {"another"}
    machine.attempt("systemctl", "start", "--no-block", UNIT)
    machine.wait_log("forbidden")
    machine.wait_for("NRestarts", "1")
    booted_lapi.keys = None
    booted_probe.wait_until(BANNED, passes=False, within=20)
    machine.wait_for("ActiveState", "active")


def test_the_service_has_one_right(service: Machine) -> None:
    """The process is nobody's but its own: a user of its own, one capability, no way to a second."""
    pid = service.show("MainPID")
    words = dict(line.split(":\t") for line in service.run("cat", f"/proc/{pid}/status").splitlines())
    assert words["Uid"].split()[0] != "0"
    rights = {words[name] for name in ("CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb")}
    assert rights == {f"{1 << 12:016x}"}
    assert words["NoNewPrivs"] == "1"
    assert words["Seccomp"] == "2"


def test_the_control_socket_is_roots(service: Machine) -> None:
    """Root may ask the daemon, whoever it runs as; another user may not."""
    assert "198.18" not in service.run("fwbouncer", "status")
    assert service.attempt("setpriv", "--reuid=65534", "--clear-groups", "fwbouncer", "status") != 0


def test_the_unit_is_well_formed(machine: Machine) -> None:
    """The unit gets no complaint from systemd, which rates its exposure at 1.5 or lower."""
    assert machine.attempt("systemd-analyze", "verify", UNIT) == 0
    assert machine.run("systemd-analyze", "verify", UNIT) == ""
    assert machine.attempt("systemd-analyze", "security", "--threshold=15", UNIT) == 0
