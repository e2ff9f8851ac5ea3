"""Across a reboot: the last bans stand before the network is up, whatever the LAPI does."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

import pytest

from tests.booted.conftest import ALLOWED, BANNED, SUITE, note
from tests.booted.machine import UNIT, Machine, tree
from tests.fake_lapi import FakeLapi
from tests.lab import witness
from tests.lab.net import Network, network
from tests.lab.packets import Probe

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


@pytest.fixture(scope="module")
def second_net() -> Iterator[Network]:
    """Build a network for a machine that goes down and up."""
    with network() as net:
        yield net


@pytest.fixture
def installed(second_net: Network, tmp_path: Path) -> Iterator[Machine]:
    """Return a machine whose link comes up at boot; it is running, and so is its service, with one ban known."""
    machine = Machine(second_net.mail, tree(SUITE), tmp_path)
    try:
        machine.boot()
        machine.install()
        machine.raise_link_at_boot(_door(second_net))
        with second_net.mail.inside():
            lapi = FakeLapi(port=8080)
        with lapi:
            lapi.ban(BANNED)
            machine.start()
            machine.run("sh", "-c", "until test -s /var/lib/fwbouncer/state; do sleep 0.1; done", timeout=30)
        yield machine
    finally:
        machine.close()
        second_net.mail.ip("link", "set", _door(second_net), "up")


@pytest.mark.parametrize("ending", ["shut down", "power cut"])
def test_a_reboot_leaves_no_gap(installed: Machine, second_net: Network, ending: str) -> None:
    """The banned peer's packets find the bans in force from the network's first moment on, without a LAPI."""
    probe = Probe(second_net)
    _go_down(installed, second_net, ending)
    with probe.stream(BANNED) as bad, probe.stream(ALLOWED) as good:
        began = time.monotonic()
        installed.boot()
        time.sleep(1)
    probe.close()
    up = good.first(arrived=True)
    good.packets = [packet for packet in good.packets if packet.at >= up]
    note(f"reboot after a {ending}, from the link's first packet on", bad, good, time.monotonic() - began)
    assert bad.arrived() == 0
    assert good.arrived() == len(good.packets)
    assert installed.show("ActiveState") == "active"


def test_a_boot_waits_for_nothing(installed: Machine, second_net: Network) -> None:
    """Without a state and without a LAPI the network is up as fast as ever; there is no order without solution."""
    installed.run("sh", "-c", "rm -rf /var/lib/private/fwbouncer/*")
    installed.systemctl("kill", "-s", "KILL", UNIT)
    installed.run("sh", "-c", "rm -rf /var/lib/private/fwbouncer/*")
    _go_down(installed, second_net, "power cut")
    installed.boot()
    assert float(installed.systemctl("show", "-P", "ActiveEnterTimestampMonotonic", UNIT)) > 0
    assert "ordering cycle" not in installed.run("journalctl", "--no-pager", "-b")
    assert installed.systemctl("is-active", "lab-link.service") == "active"
    order = installed.systemctl("show", "-P", "After", "network-pre.target").split()
    assert UNIT in order


def _go_down(machine: Machine, net: Network, ending: str) -> None:
    if ending == "power cut":
        machine.cut_power()
    else:
        machine.shut_down()
    net.mail.ip("link", "set", _door(net), "down")
    # The kernel is the lab's and goes on; the machine's tables have gone with its last process.
    assert witness.tables(net.mail) == set()


def _door(net: Network) -> str:
    return f"to-{net.attacker.name[-4:]}"
