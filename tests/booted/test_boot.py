"""Across a reboot: the last bans stand before the network is up, whatever the LAPI does."""

from __future__ import annotations

import contextlib
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

    from tests.lab.packets import Stream


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
        machine.systemctl("enable", "nftables.service")
        machine.systemctl("start", "lab-link.service")
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


def test_a_reboot_leaves_no_gap(installed: Machine, second_net: Network) -> None:
    """From before `systemctl poweroff` until after the boot no packet of a banned peer passes, without a LAPI."""
    with (
        contextlib.closing(Probe(second_net)) as probe,
        probe.stream(BANNED) as bad,
        probe.stream(ALLOWED) as good,
    ):
        installed.shut_down()
        _nothing_is_left(second_net)
        down = time.monotonic_ns()
        installed.boot()
        time.sleep(1)
    _judge("a reboot", bad, good, down)
    assert installed.show("ActiveState") == "active"


def test_a_power_cut_leaves_no_gap(installed: Machine, second_net: Network) -> None:
    """The machine that lost its power, too, has its bans in force from the network's first packet on."""
    installed.cut_power()
    _nothing_is_left(second_net)
    second_net.mail.ip("link", "set", _door(second_net), "down")
    down = time.monotonic_ns()
    with (
        contextlib.closing(Probe(second_net)) as probe,
        probe.stream(BANNED) as bad,
        probe.stream(ALLOWED) as good,
    ):
        installed.boot()
        time.sleep(1)
    _judge("a boot after a power cut", bad, good, down)


def test_a_boot_waits_for_nothing(installed: Machine, second_net: Network) -> None:
    """Without a state and without a LAPI the network comes up all the same, and systemd finds an order for all."""
    installed.systemctl("stop", UNIT)
    installed.run("sh", "-c", "rm -rf /var/lib/private/fwbouncer/*")
    installed.cut_power()
    second_net.mail.ip("link", "set", _door(second_net), "down")
    installed.boot()
    assert installed.systemctl("is-active", UNIT, "nftables.service", "lab-link.service")
    assert "ordering cycle" not in installed.run("journalctl", "--no-pager", "-b")
    times = [
        int(installed.systemctl("show", "-P", name, unit))
        for name, unit in (
            ("ActiveExitTimestampMonotonic", "nftables.service"),
            ("ActiveEnterTimestampMonotonic", "nftables.service"),
            ("ExecMainStartTimestampMonotonic", UNIT),
            ("ActiveEnterTimestampMonotonic", UNIT),
            ("ActiveEnterTimestampMonotonic", "network-pre.target"),
            ("ActiveEnterTimestampMonotonic", "lab-link.service"),
        )
    ]
    assert times == sorted(times)
    assert times[-1] - times[1] < 10_000_000


def _judge(what: str, bad: Stream, good: Stream, down: int) -> None:
    up = good.first(arrived=True, since=down)
    good.packets = [packet for packet in good.packets if packet.at >= up]
    note(what, bad, good, (bad.packets[-1].at - bad.packets[0].at) / 1e9)
    assert bad.arrived() == 0
    assert good.arrived() == len(good.packets)


def _nothing_is_left(net: Network) -> None:
    """Find no table: the kernel is the lab's and goes on, but the machine's tables went with its last process."""
    assert witness.tables(net.mail) - {("inet", "filter")} == set()
    net.mail.run("nft", "flush", "ruleset")


def _door(net: Network) -> str:
    return f"to-{net.attacker.name[-4:]}"
