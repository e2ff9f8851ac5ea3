"""Every command beside a daemon with a million decisions: what it says, and how long it takes. Not of every run."""

from __future__ import annotations

import json
import time
from typing import TYPE_CHECKING

import pytest

from tests.fake_lapi import answer, static_page

if TYPE_CHECKING:
    from tests.conftest import MakeBouncer
    from tests.fake_lapi import FakeLapi
    from tests.lab.bouncer import Bouncer

HOSTS, RANGES, V6 = 980_000, 10_000, 10_000
QUICK = 0.2  # seconds, from the start of the process to its end; the best of some tries
_TRIES = 10
COMMANDS: list[tuple[tuple[str, ...], int, str]] = [
    (("status",), 0, "1,000,000 (990,000 IPv4, 10,000 IPv6)"),
    (("status", "--json"), 0, '"total": 1000000'),
    (("explain", "1.0.0.7"), 0, "1.0.0.7 is blocked"),
    (("explain", "100.64.7.7"), 0, "on 100.64.7.0/24 by CAPI"),
    (("explain", "2001:db8:0:7::1"), 0, "is blocked"),
    (("explain", "9.9.9.9"), 4, "is not blocked"),
    (("explain", "1.0.0.0/16"), 5, "9,363 of 65,536 are blocked"),
    (("list", "--limit", "10"), 0, "1.0.0.0 "),
    (("list", "--range", "1.0.7.0/24"), 0, "1.0.7."),
    (("list", "--scenario", "no such"), 0, ""),
    (("list", "--expiring-within", "1h"), 0, ""),
    (("unblock", "9.9.9.9", "--for", "5m"), 0, "nothing bans it now"),
    (("unblock", "--list"), 0, "9.9.9.9"),
]


@pytest.fixture
def million(bouncer: MakeBouncer, fake_lapi: FakeLapi) -> Bouncer:
    """Run it until a million decisions are in the kernel; meanwhile `status` tells how far it is."""
    fake_lapi.faults.append(answer(static_page(HOSTS, RANGES, V6)))
    fake_lapi.page = b'{"new":null,"deleted":null}'
    running = bouncer(api_url=fake_lapi.url, log_level="info", update_frequency="10s")
    running.start(ready=False)
    deadline, phases = time.monotonic() + 300, set()
    while time.monotonic() < deadline:
        code, printed = running.attempt("status", "--json")
        status = json.loads(printed) if code == 0 else {}
        if status.get("loading"):
            phases.add(status["loading"]["phase"])
        if status and status["kernel"]["settled"]:
            break
        time.sleep(0.2)
    assert phases == {"fetching", "writing"}
    time.sleep(3)
    return running


def test_every_command_answers_at_once(million: Bouncer, capsys: pytest.CaptureFixture[str]) -> None:
    """Each command is right, and takes less than 200 ms from start to end."""
    slow = {}
    for words, code, expected in COMMANDS:
        taken = min(_timed(million, words, code, expected) for _ in range(_TRIES))
        with capsys.disabled():
            print(f"{1000 * taken:6.0f} ms  fwbouncer {' '.join(words)}")
        if taken >= QUICK:
            slow[words] = taken
    assert not slow


def test_all_of_it_is_streamed(million: Bouncer, capsys: pytest.CaptureFixture[str]) -> None:
    """The whole list comes, its first line at once, and other commands are answered meanwhile."""
    for more in ((), ("--json",)):
        began = time.monotonic()
        count = len(million.ask("list", *more).splitlines())
        with capsys.disabled():
            print(f"{time.monotonic() - began:6.1f} s   fwbouncer {' '.join(('list', *more))} of {count}")
        assert count == HOSTS + RANGES + V6


def _timed(running: Bouncer, words: tuple[str, ...], code: int, expected: str) -> float:
    began = time.monotonic()
    returned, printed = running.attempt(*words)
    taken = time.monotonic() - began
    assert (returned, expected in printed) == (code, True), printed[:2000]
    return taken
