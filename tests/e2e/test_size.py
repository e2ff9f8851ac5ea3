"""Large pages: in the kernel at once, in little memory, and without slowing what comes next."""

from __future__ import annotations

import json
import time
from typing import TYPE_CHECKING

import pytest

from tests.fake_lapi import answer, raw_decision, static_page
from tests.lab import witness
from tests.lab.scrape import Scrape, scrape

if TYPE_CHECKING:
    from tests.conftest import MakeBouncer
    from tests.fake_lapi import FakeLapi
    from tests.lab.bouncer import Bouncer
    from tests.lab.manager import Manager
    from tests.lab.packets import Probe

HOSTS, RANGES = 100_000, 1_000
NOTHING = b'{"new":null,"deleted":null}'
BANNED = "198.18.1.1"


@pytest.fixture
def asleep(bouncer: MakeBouncer, manager: Manager, fake_lapi: FakeLapi) -> Bouncer:
    """Make a bouncer that gets 100,000 hosts and 1,000 ranges at its start, and then nothing."""
    fake_lapi.faults.append(answer(static_page(HOSTS, RANGES)))
    fake_lapi.page = NOTHING
    return bouncer(manager, api_url=fake_lapi.url, log_level="info", update_frequency="0.05s")


@pytest.fixture
def loaded(asleep: Bouncer) -> Bouncer:
    """Run it until all of that is in the kernel."""
    asleep.start()
    return asleep


def test_a_large_page_is_one_transaction(asleep: Bouncer) -> None:
    """All of 101,000 decisions are in the kernel, put there by a single step of the ruleset."""
    before = witness.generation(asleep.host)
    asleep.start()
    assert witness.generation(asleep.host) == before + 1
    assert len(witness.elements(asleep.host, 4)) == HOSTS + RANGES


def test_a_large_page_takes_little_memory(loaded: Bouncer) -> None:
    """With 101,000 decisions in the kernel the process stays under 120 MB."""
    time.sleep(2)
    assert loaded.rss() < 120_000_000


def test_a_small_change_is_quick(loaded: Bouncer, fake_lapi: FakeLapi, probe: Probe) -> None:
    """One more decision is enforced some 20 ms after the poll's answer, however many there are."""
    delays: list[float] = []
    for value in (BANNED, "198.18.2.0/24", "198.18.1.3", "198.18.1.4", "198.18.5.0/24"):
        source = value.replace(".0/24", ".7")
        new = raw_decision(10**6 + len(delays), value, scope="Range" if "/" in value else "Ip")
        with probe.stream(source) as stream:
            time.sleep(0.1)
            asked = len(fake_lapi.requests)
            fake_lapi.faults.append(answer(json.dumps({"new": [new], "deleted": None}).encode()))
            time.sleep(0.5)
        # The next request to come is the one that got the page.
        answered = fake_lapi.requests[asked].at
        delays.append(stream.first(arrived=False) / 1e9 - answered)
    # The best of five: the rest is what two cores, shared with sender and LAPI, add.
    assert min(delays) < 0.020, delays


def test_the_end_of_a_large_list_is_one_step(loaded: Bouncer, fake_lapi: FakeLapi) -> None:
    """Thousands of decisions that end together leave together."""
    page = json.loads(static_page(HOSTS, RANGES))["new"][:5000]
    for row in page:
        row["duration"] = "-1s"
    before = witness.generation(loaded.host)
    fake_lapi.faults.append(answer(json.dumps({"new": None, "deleted": page}).encode()))
    deadline = time.monotonic() + 10
    while witness.generation(loaded.host) == before:
        assert time.monotonic() < deadline
        time.sleep(0.01)
    assert len(witness.elements(loaded.host, 4)) == HOSTS + RANGES - 5000
    assert witness.generation(loaded.host) == before + 1


def test_a_scrape_costs_the_same_at_any_size(
    loaded: Bouncer, manager: Manager, bouncer: MakeBouncer, fake_lapi: FakeLapi
) -> None:
    """Prometheus's page takes as long with 101,000 bans as with none, and counts them all."""
    loaded.configure(prometheus={"enabled": True})
    loaded.stop()
    fake_lapi.faults.append(answer(static_page(HOSTS, RANGES)))
    loaded.start()
    long, page = _scraped(loaded)
    assert sum(page.named("fw_bouncer_banned_ips").values()) == HOSTS + RANGES
    loaded.stop()
    manager.empty_store()
    empty = bouncer(api_url=fake_lapi.url, prometheus={"enabled": True})
    empty.start()
    short, page = _scraped(empty)
    assert not sum(page.named("fw_bouncer_banned_ips").values())
    print(f"a scrape takes {1000 * long:.1f} ms with {HOSTS + RANGES} bans, {1000 * short:.1f} ms with none")
    assert long < 4 * short + 0.02


def _scraped(running: Bouncer) -> tuple[float, Scrape]:
    """Return how long a scrape takes, and its page."""
    times = []
    for _ in range(15):
        began = time.monotonic()
        page = scrape(running.host)
        times.append(time.monotonic() - began)
    return sorted(times)[len(times) // 4], page
