"""What the LAPI is told about dropped packets: in a form that CrowdSec takes, and each packet once."""

from __future__ import annotations

import time
from collections import Counter
from typing import TYPE_CHECKING, Any

from tests.fake_lapi import hang_up, status
from tests.lab.net import ATTACKER, family_of

if TYPE_CHECKING:
    from tests.conftest import MakeBouncer
    from tests.fake_lapi import FakeLapi
    from tests.lab.bouncer import Bouncer
    from tests.lab.crowdsec import CrowdSec
    from tests.lab.manager import Manager
    from tests.lab.packets import Probe

BANNED = {"198.18.1.1": "crowdsec", "2001:db8:ba0::1": "CAPI"}
SIZE = {4: 36, 6: 56}  # bytes of a probe's packet
# CrowdSec's model of a report: what each object may hold, by type, and what it must hold (marked by a star).
TEXT, COUNT, NUMBER = "text", "whole number", "number"
SCHEMA: dict[str, Any] = {
    "remediation_components*": [
        {
            "type": TEXT,
            "name": TEXT,
            "last_pull": COUNT,
            "version*": TEXT,
            "os": {"name*": TEXT, "family": TEXT, "version*": TEXT},
            "feature_flags": [TEXT],
            "utc_startup_timestamp*": COUNT,
            "metrics": [
                {
                    "meta*": {"window_size_seconds*": COUNT, "utc_now_timestamp*": COUNT},
                    "items*": [{"name*": TEXT, "value*": NUMBER, "unit*": TEXT, "labels": {"": TEXT}}],
                }
            ],
        }
    ]
}


def check(found: Any, model: Any, where: str = "report") -> None:
    """Hold a value against the model."""
    if isinstance(model, list):
        assert isinstance(found, list), where
        for number, each in enumerate(found):
            check(each, model[0], f"{where}[{number}]")
    elif isinstance(model, dict):
        assert isinstance(found, dict), where
        assert {name[:-1] for name in model if name.endswith("*")} <= found.keys(), where
        known = {name.removesuffix("*"): each for name, each in model.items()}
        for name, value in found.items():
            assert name in known or "" in known, f"{where}.{name} is not known"
            check(value, known.get(name, known.get("")), f"{where}.{name}")
    elif model is TEXT:
        assert isinstance(found, str), where
        assert len(found) <= 255, where
    else:
        assert type(found) in ((int,) if model is COUNT else (int, float)), where
        assert found >= 0, where


def as_cscli_counts(reports: list[Any]) -> Counter[tuple[str, str, str, str]]:
    """Add up by name, unit, origin and family; as cscli does, what is equal in time and all else counts once."""
    seen = {
        (window["meta"]["utc_now_timestamp"], item["name"], item["unit"], item["value"], *_labels(item))
        for report in reports
        for window in report["remediation_components"][0]["metrics"]
        for item in window["items"]
        if item["name"] != "active_decisions"
    }
    sums: Counter[tuple[str, str, str, str]] = Counter()
    for _, name, unit, value, origin, family in seen:
        sums[name, unit, origin, family] += value
    return sums


def _labels(item: dict[str, Any]) -> tuple[str, str]:
    return item["labels"].get("origin", ""), item["labels"]["ip_type"]


class Knocks:
    """Sends packets of the banned, and knows what must be told of them."""

    def __init__(self, probe: Probe, lapi: FakeLapi) -> None:
        self._probe, self._lapi = probe, lapi
        self.sent: Counter[tuple[str, str, str, str]] = Counter()
        for value, origin in BANNED.items():
            lapi.ban(value, origin=origin)

    def knock(self, times: int) -> None:
        """Send so many packets from each."""
        for address in ATTACKER.values():
            self._probe.wait_until(address, passes=True, within=30)
        assert not self._probe.arriving([*BANNED] * times)
        for value, origin in BANNED.items():
            number = family_of(value)
            self.sent["dropped", "packet", origin, f"ipv{number}"] += times
            self.sent["dropped", "byte", origin, f"ipv{number}"] += times * SIZE[number]

    def told(self) -> Counter[tuple[str, str, str, str]]:
        """Return what the LAPI knows of them."""
        sums = as_cscli_counts(self._lapi.usage)
        return Counter({key: value for key, value in sums.items() if key[0] == "dropped" and value})

    def wait(self) -> None:
        """Wait until the LAPI knows all, and hears nothing more in the next report."""
        deadline = time.monotonic() + 30
        while self.told() != self.sent:
            assert time.monotonic() < deadline, f"sent {self.sent}, told {self.told()}"
            time.sleep(0.05)
        wait_reports(self._lapi, len(self._lapi.usage) + 1)
        assert self.told() == self.sent


def wait_reports(lapi: FakeLapi, number: int) -> None:
    """Wait until so many reports have been taken."""
    deadline = time.monotonic() + 30
    while len(lapi.usage) < number:
        assert time.monotonic() < deadline, lapi.usage
        time.sleep(0.05)


def asked(lapi: FakeLapi) -> int:
    """Count the reports that were tried."""
    return sum(request.method == "POST" for request in list(lapi.requests))


def start(make: MakeBouncer, manager: Manager | None, lapi: FakeLapi, **settings: Any) -> Bouncer:
    """Start one that reports each second."""
    running = make(manager, api_url=lapi.url, usage_metrics_interval="1s", **settings)
    running.start()
    return running


def test_a_report_is_what_crowdsec_takes(bouncer: MakeBouncer, manager: Manager, fake_lapi: FakeLapi) -> None:
    """Reports have CrowdSec's form, also with names that are long and odd; counts are there by origin and family."""
    for value, origin in BANNED.items():
        fake_lapi.ban(value, origin=origin)
    fake_lapi.ban("198.18.9.0/24", origin="lists", scenario="x" * 250 + '"\n')
    running = start(bouncer, manager, fake_lapi)
    wait_reports(fake_lapi, 2)
    for report in fake_lapi.usage:
        check(report, SCHEMA)
    component = fake_lapi.usage[-1]["remediation_components"][0]
    assert component["type"] == "crowdsec-firewall-bouncer"
    assert 0 <= time.time() - component["utc_startup_timestamp"] < 60
    items = component["metrics"][0]["items"]
    active = {_labels(item): item["value"] for item in items if item["name"] == "active_decisions"}
    assert (active["crowdsec", "ipv4"], active["crowdsec", "ipv6"], active["CAPI", "ipv6"]) == (1, 0, 1)
    assert sum(active.values()) == 3
    assert running.running()


def test_each_packet_is_told_once(
    bouncer: MakeBouncer, manager: Manager, fake_lapi: FakeLapi, probe: Probe
) -> None:
    """Over outages, answers that get lost, a crash, a restart and a flush, the LAPI's sums are what was sent."""
    knocks = Knocks(probe, fake_lapi)
    running = start(bouncer, manager, fake_lapi)
    knocks.knock(3)
    knocks.wait()
    for fault in (status(500), hang_up()):
        fake_lapi.fault = fault
        tried = asked(fake_lapi)
        knocks.knock(5)
        while asked(fake_lapi) < tried + 2:
            time.sleep(0.05)
        fake_lapi.fault = None
        knocks.wait()
    fake_lapi.stop()
    knocks.knock(7)
    running.kill()
    with running.host.inside():
        fake_lapi.start()
    running.start()
    knocks.wait()
    knocks.knock(2)
    running.stop()
    manager.empty_store()  # as systemd does: the tables go, and their counters
    running.start()
    knocks.knock(4)
    knocks.wait()
    assert "usage metrics not taken" in running.log


def test_without_a_file_nothing_is_told_twice(
    bouncer: MakeBouncer, manager: Manager, fake_lapi: FakeLapi, probe: Probe
) -> None:
    """Where nothing is kept on disk, counters that outlived a restart are not taken for news."""
    knocks = Knocks(probe, fake_lapi)
    running = start(bouncer, manager, fake_lapi, state_file="none")
    knocks.knock(3)
    knocks.wait()
    running.stop()
    running.start()
    knocks.knock(4)
    knocks.wait()


def test_an_older_crowdsec_is_left_in_peace(bouncer: MakeBouncer, lapi: CrowdSec) -> None:
    """CrowdSec 1.4 has no such path: that is said once, calmly, and it isn't asked again for long."""
    running = bouncer(usage_metrics_interval="1s")
    running.start()
    running.wait_log("the LAPI takes no usage metrics", 30)
    time.sleep(3)
    assert running.log.count("usage metrics") == 1
    assert not [line for line in running.log.splitlines() if "level=warning" in line or "level=error" in line]


def test_nothing_is_told_where_that_is_not_wanted(bouncer: MakeBouncer, fake_lapi: FakeLapi) -> None:
    """With `usage_metrics_interval: none` the LAPI is told nothing; a reload turns it on."""
    running = start(bouncer, None, fake_lapi)
    running.configure(usage_metrics_interval="none")
    running.stop()
    running.start()
    before = asked(fake_lapi)
    time.sleep(2.5)
    assert asked(fake_lapi) == before
    running.configure(usage_metrics_interval="1s")
    running.reload()
    wait_reports(fake_lapi, before + 1)
