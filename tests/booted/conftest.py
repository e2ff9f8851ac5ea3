"""One booted machine with fwbouncer in it, as the lab's mail host; a LAPI beside it, an attacker before it."""

from __future__ import annotations

import contextlib
import os
import time
from typing import TYPE_CHECKING

import pytest

from tests.booted.machine import UNIT, Machine, tree
from tests.fake_lapi import FakeLapi
from tests.lab.net import Network, network
from tests.lab.packets import Probe

if TYPE_CHECKING:
    from collections.abc import Iterator

    from _pytest.terminal import TerminalReporter

    from tests.lab.packets import Stream

SUITE = os.environ.get("FWBOUNCER_SUITE", "bookworm")
FULL = bool(os.environ.get("FWBOUNCER_FULL"))
BANNED, ALLOWED = "198.18.1.1", "198.18.1.2"
_figures: list[str] = []


def pytest_terminal_summary(terminalreporter: TerminalReporter) -> None:
    """Print what was counted."""
    if _figures:
        terminalreporter.section(f"booted {SUITE}")
        for line in _figures:
            terminalreporter.write_line(line)


class Traffic:
    """What became of a packet each millisecond from a banned and from an unbanned address."""

    def __init__(self, probe: Probe) -> None:
        self._probe = probe

    @contextlib.contextmanager
    def judged(self, what: str) -> Iterator[None]:
        """Let not one packet of the banned peer pass while the block runs, and lose none of the other's."""
        began = time.monotonic()
        with self._probe.stream(BANNED) as bad, self._probe.stream(ALLOWED) as good:
            yield
        note(what, bad, good, time.monotonic() - began)
        assert bad.arrived() == 0, f"{bad.arrived()} packets of a banned peer passed"
        assert good.arrived() == len(good.packets), f"{len(good.packets) - good.arrived()} packets lost"


def note(what: str, bad: Stream, good: Stream, seconds: float) -> None:
    """Keep a line for the end of the run."""
    leaks, lost = bad.arrived(), len(good.packets) - good.arrived()
    _figures.append(
        f"{what}: {seconds:.1f} s, {leaks} of {len(bad.packets)} packets of the banned peer passed, "
        f"{lost} of {len(good.packets)} of the unbanned were lost"
    )


@pytest.fixture(scope="package")
def booted_net() -> Iterator[Network]:
    """Build a network whose mail host is the machine."""
    with network() as net:
        yield net


@pytest.fixture(scope="package")
def _running(booted_net: Network, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Machine]:
    machine = Machine(booted_net.mail, tree(SUITE), tmp_path_factory.mktemp("machine"))
    try:
        machine.boot()
        machine.install()
        yield machine
    finally:
        machine.close()


@pytest.fixture(scope="package")
def booted_probe(booted_net: Network) -> Iterator[Probe]:
    """Make the sender of packets to the machine."""
    with contextlib.closing(Probe(booted_net)) as probe:
        yield probe


@pytest.fixture
def traffic(machine: Machine, booted_probe: Probe) -> Traffic:
    """Watch the machine's packets."""
    return Traffic(booted_probe)


@pytest.fixture
def booted_lapi(booted_net: Network) -> Iterator[FakeLapi]:
    """Run a LAPI on the machine's loopback; it has banned one address."""
    with booted_net.mail.inside():
        fake = FakeLapi(port=8080)
    with fake:
        fake.ban(BANNED)
        yield fake


@pytest.fixture
def machine(_running: Machine, booted_lapi: FakeLapi) -> Iterator[Machine]:
    """Return the machine with the service configured and stopped, and a LAPI that answers."""
    _running.configure()
    yield _running
    _running.systemctl("stop", UNIT)
    _running.run("systemctl", "reset-failed", UNIT, check=False)
    _running.run("sh", "-c", "rm -rf /var/lib/private/fwbouncer/*")


@pytest.fixture
def service(machine: Machine) -> Machine:
    """Return the machine with the service running and its ban in force."""
    machine.start()
    return machine
