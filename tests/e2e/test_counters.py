"""Known numbers of packets from known origins, and what every counter says of them."""

from __future__ import annotations

import time
from collections import Counter
from itertools import chain
from typing import TYPE_CHECKING, Any

import pytest

from tests.lab.net import ATTACKER, family_of
from tests.lab.scrape import Scrape, scrape

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.conftest import MakeBouncer
    from tests.e2e.conftest import Launch
    from tests.fake_lapi import FakeLapi
    from tests.lab.bouncer import Bouncer
    from tests.lab.manager import Manager
    from tests.lab.net import Network
    from tests.lab.packets import Probe
    from tests.lab.xtables import Bench

SIZE = {4: 20 + 8 + 8, 6: 40 + 8 + 8}  # bytes of a probe's packet: IP, UDP, a number
# Who is banned, by which origin, under which name the origin is told, and with how many packets he knocks.
BANNED = (
    ("198.18.1.1", {"origin": "crowdsec"}, "crowdsec", 3),
    ("198.18.1.2", {"origin": "CAPI"}, "CAPI", 5),
    ("2001:db8:ba0::2", {"origin": "CAPI"}, "CAPI", 7),
    ("198.18.2.0/24", {"origin": "cscli"}, "cscli", 11),
    ("2001:db8:ba1::/64", {"origin": "cscli"}, "cscli", 13),
    ("198.18.1.3", {"origin": "lists", "scenario": "firehol_x"}, "lists:firehol_x", 17),
    ("2001:db8:ba0::3", {"origin": "lists", "scenario": "firehol_x"}, "lists:firehol_x", 19),
)


class Knocks:
    """Sends the packets, and knows what must have been counted for them."""

    def __init__(self, probe: Probe) -> None:
        self._probe = probe
        self.packets: Counter[str] = Counter()  # by the labels of a sample

    def knock(self) -> None:
        """Let everybody who is banned knock once more."""
        self._probe.wait_until(ATTACKER[4], passes=True, within=30)  # neighbours know each other now
        self._probe.wait_until(ATTACKER[6], passes=True, within=30)
        sources = {value.partition("/")[0]: (origin, times) for value, _, origin, times in BANNED}
        assert not self._probe.arriving(chain.from_iterable([s] * times for s, (_, times) in sources.items()))
        for source, (origin, times) in sources.items():
            self.packets[f"ip_type=ipv{family_of(source)},origin={origin}"] += times

    def judge(self, page: Scrape) -> None:
        """Compare a page with what was sent."""
        assert page.named("fw_bouncer_dropped_packets") == dict(self.packets)
        octets = {labels: n * SIZE[int(labels[len("ip_type=ipv")])] for labels, n in self.packets.items()}
        assert page.named("fw_bouncer_dropped_bytes") == octets
        for number in (4, 6):
            ours = f"ip_type=ipv{number}"
            sent = sum(n for labels, n in self.packets.items() if labels.startswith(ours))
            assert page[f"fw_bouncer_processed_packets{{{ours}}}"] >= sent


@pytest.fixture
def knocks(probe: Probe, fake_lapi: FakeLapi) -> Knocks:
    """Have all of them banned."""
    for value, fields, _, _ in BANNED:
        fake_lapi.ban(value, **fields)
    return Knocks(probe)


def _reload(bouncer: Bouncer, **changes: Any) -> None:
    bouncer.configure(**changes)
    bouncer.reload()


def _lives(bouncer: Bouncer, knocks: Knocks, start: Callable[[], Any], disturb: Callable[[], Any]) -> None:
    """Knock in each stage of a life; every page must show all that was sent until then."""

    def count() -> None:
        knocks.knock()
        knocks.judge(scrape(bouncer.host))

    count()
    bouncer.stop()
    start()
    knocks.judge(scrape(bouncer.host))
    count()
    bouncer.kill()
    start()
    count()
    _reload(bouncer, update_frequency="0.2s")
    count()
    disturb()
    count()


def test_counters_of_an_owned_table(
    net: Network, manager: Manager, bouncer: MakeBouncer, fake_lapi: FakeLapi, knocks: Knocks
) -> None:
    """Dropped packets are told exactly, for every origin and family, over restart, crash and reload."""
    running = bouncer(manager, api_url=fake_lapi.url, prometheus={"enabled": True})
    running.start()
    _lives(
        running,
        knocks,
        running.start,
        lambda: _reload(running, nftables={"ipv4": {"table": "other"}, "ipv6": {"table": "other6"}}),
    )


def test_counters_of_a_table_that_others_flush(
    net: Network, bouncer: MakeBouncer, fake_lapi: FakeLapi, knocks: Knocks
) -> None:
    """The same where the table goes with each stop, and somebody flushes all rules: no figure ever falls."""
    running = bouncer(api_url=fake_lapi.url, prometheus={"enabled": True})
    running.start()

    def flush() -> None:
        net.mail.run("nft", "flush", "ruleset")
        deadline = time.monotonic() + 30
        while "crowdsec6" not in net.mail.run("nft", "list", "tables"):  # it all comes back in one step
            assert time.monotonic() < deadline
            time.sleep(0.01)

    _lives(running, knocks, running.start, flush)


def test_counters_of_iptables(
    inside: Bench, launch: Launch, net: Network, fake_lapi: FakeLapi, knocks: Knocks
) -> None:
    """The same in mode iptables, where rules are counted that are written anew now and then."""
    running = launch(prometheus={"enabled": True})
    _lives(
        running,
        knocks,
        lambda: launch(running),
        lambda: _reload(running, iptables_chains=["INPUT", "FORWARD"]),
    )
