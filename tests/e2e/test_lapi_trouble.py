"""Whatever a LAPI does wrong, at the start or later: bans stay, status says why, and afterwards all goes on."""

from __future__ import annotations

import signal
import time
from typing import TYPE_CHECKING

import pytest

from tests.fake_lapi import (
    FakeLapi,
    Fault,
    answer,
    drip,
    endless,
    hang,
    hang_up,
    redirect,
    reset,
    status,
    truncated,
)
from tests.lab import witness

if TYPE_CHECKING:
    from tests.conftest import MakeBouncer
    from tests.lab.bouncer import Bouncer
    from tests.lab.net import Network
    from tests.lab.packets import Probe

BANNED = "198.18.1.1"
# What is told at once; what takes patience comes further down.
FAULTS: dict[str, tuple[Fault, str]] = {
    "reset in the body": (reset(), ""),
    "closed without an answer": (hang_up(), "disconnected"),
    "server error": (status(500), "status 500"),
    "bad gateway": (status(502, b"<html>"), "status 502"),
    "key taken back": (status(403), "refuses our key"),
    "garbage": (answer(b"<html>hello</html>"), "not a JSON object"),
    "truncated JSON": (truncated(), "breaks off"),
    "empty": (answer(b""), "breaks off"),
    "redirect": (redirect("http://198.51.100.66/"), "redirect"),
    "gigabytes announced": (endless(length=2**31), "longer than"),
    "an endless text": (endless(b"x" * 65536, b'{"new":[{"value":"'), "has a decision longer than"),
}


@pytest.fixture
def running(bouncer: MakeBouncer, fake_lapi: FakeLapi) -> Bouncer:
    """Run a bouncer with one ban."""
    fake_lapi.ban(BANNED)
    made = bouncer(api_url=fake_lapi.url)
    made.start()
    return made


def _failing(running: Bouncer, words: str, within: float = 10) -> float:
    """Wait until status says why the LAPI fails; returns for how long it says that it does."""
    deadline = time.monotonic() + within
    while True:
        lapi = running.status()["lapi"]
        if lapi["error"] and words in lapi["error"] and lapi["failing_since"] is not None:
            return float(lapi["failing_since"])
        assert time.monotonic() < deadline, f"{words!r} is not in {lapi}"
        time.sleep(0.05)


def test_one_fault_after_the_other(running: Bouncer, fake_lapi: FakeLapi, probe: Probe) -> None:
    """Through every fault the ban holds and status names it; the next good answer brings what came meanwhile."""
    with probe.stream(BANNED, every=0.01) as stream:
        for number, (name, (fault, words)) in enumerate(FAULTS.items()):
            fake_lapi.fault = fault
            assert _failing(running, words) < 5, name
            address = f"198.18.2.{number}"
            fake_lapi.ban(address)
            fake_lapi.fault = None
            probe.wait_until(address, passes=False, within=5)
    assert stream.arrived() == 0
    lapi = running.status()["lapi"]
    assert (lapi["error"], lapi["failing_since"]) == (None, None)


@pytest.mark.parametrize("fault", [hang(), drip(0.2)], ids=["hang", "drip"])
def test_an_answer_that_does_not_come(
    running: Bouncer, fake_lapi: FakeLapi, probe: Probe, fault: Fault
) -> None:
    """While an answer hangs or drips, bans hold and status answers; once it is cut off all goes on."""
    fake_lapi.fault = fault
    time.sleep(1.5)
    assert not probe.passes(BANNED)
    assert running.status()["lapi"]["last_answer_ago"] > 1
    fake_lapi.ban("198.18.1.2")
    fake_lapi.fault = None
    fake_lapi.drop_connections()
    probe.wait_until("198.18.1.2", passes=False, within=5)


def test_bans_end_on_time_in_an_outage(running: Bouncer, fake_lapi: FakeLapi, probe: Probe) -> None:
    """A ban that runs out while the LAPI is away ends when it must, and no sooner."""
    start = time.monotonic()
    fake_lapi.ban("198.18.1.2", "4s")
    probe.wait_until("198.18.1.2", passes=False, within=2)
    fake_lapi.stop()
    probe.wait_until("198.18.1.2", passes=True, within=6)
    assert abs(time.monotonic() - start - 4) < 0.7
    assert not probe.passes(BANNED)


def test_a_snapshot_that_shrinks(running: Bouncer, fake_lapi: FakeLapi, probe: Probe) -> None:
    """A database that fails for seconds gives empty snapshots: the bans stay, status says so, and it heals."""
    for number in range(30):
        fake_lapi.ban(f"198.18.3.{number}")
    probe.wait_until("198.18.3.29", passes=False, within=2)
    whole = witness.banned(running.host)
    fake_lapi.page = b'{"new":[],"deleted":[]}'
    fake_lapi.faults.append(hang_up())
    running.wait_log("much shorter")
    time.sleep(2)
    assert witness.banned(running.host) == whole
    assert "31 bans are missing" in running.status()["warnings"][0]
    asked = [each.params["startup"] for each in fake_lapi.requests]
    assert asked[-5:] == ["false"] * 5, "an ailing LAPI must not be asked for everything again and again"
    fake_lapi.page = None
    fake_lapi.faults.append(hang_up())
    fake_lapi.ban("198.18.1.2")
    probe.wait_until("198.18.1.2", passes=False, within=5)
    assert running.status()["warnings"] == []


def test_a_restart_of_the_lapi_costs_it_no_page_of_everything(
    running: Bouncer, fake_lapi: FakeLapi, probe: Probe
) -> None:
    """Where no poll got lost the LAPI is asked for what is new, and for everything a little later.

    It has more bouncers than us, and all see it come back in the same second.
    """
    fake_lapi.stop()
    _failing(running, "refused")
    asked = len(fake_lapi.requests)
    fake_lapi.ban("198.18.1.2")
    fake_lapi.unban(BANNED)
    with running.host.inside():
        fake_lapi.start()
    probe.wait_until("198.18.1.2", passes=False, within=5)
    probe.wait_until(BANNED, passes=True, within=5)
    assert fake_lapi.requests[asked].params["startup"] == "false"
    deadline = time.monotonic() + 60
    while all(each.params["startup"] == "false" for each in fake_lapi.requests[asked:]):
        assert time.monotonic() < deadline, "never asked for everything"
        time.sleep(0.1)


def test_the_next_lapi_serves(bouncer: MakeBouncer, fake_lapi: FakeLapi, probe: Probe, net: Network) -> None:
    """When the first of two LAPIs goes away the second one's bans count, and nobody goes free in between."""
    with net.mail.inside():
        second = FakeLapi()
    with second:
        for lapi in (fake_lapi, second):
            lapi.ban(BANNED)
        running = bouncer(api_url=None, api_urls=[fake_lapi.url, second.url])
        running.start()
        with probe.stream(BANNED) as stream:
            fake_lapi.stop()
            second.ban("198.18.1.2")
            probe.wait_until("198.18.1.2", passes=False, within=5)
        assert stream.arrived() == 0
        assert running.status()["lapi"]["url"] == second.url


@pytest.mark.parametrize(
    ("url", "words"),
    [
        ("http://lapi.invalid:8080/", "lapi.invalid"),
        ("http://127.0.0.1:9/", "127.0.0.1:9"),
        ("https://127.0.0.1:{port}/", "127.0.0.1"),
        ("/nowhere/lapi.sock", "/nowhere/lapi.sock"),
    ],
    ids=["no such host", "refused", "no TLS", "no socket"],
)
def test_a_lapi_that_was_never_there(
    bouncer: MakeBouncer, fake_lapi: FakeLapi, probe: Probe, url: str, words: str
) -> None:
    """At a start without an answer the last run's bans are in force, status says what is wrong, a reload mends it."""
    fake_lapi.ban(BANNED)
    running = bouncer(api_url=fake_lapi.url)
    running.start()
    running.stop()
    running.configure(api_url=url.format(port=fake_lapi.port))
    running.start()
    assert not probe.passes(BANNED)
    _failing(running, words)
    running.configure(api_url=fake_lapi.url)
    fake_lapi.ban("198.18.1.2")
    running.signal(signal.SIGHUP)
    probe.wait_until("198.18.1.2", passes=False, within=5)
    assert not probe.passes(BANNED)
