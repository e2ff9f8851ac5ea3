"""A mail host's day in a minute, watched by a real Prometheus; then every panel and every alert must have its data.

python3 -m tests.dashboard.story --prometheus PROGRAM [--seconds 45] [--results FILE]
"""

from __future__ import annotations

import argparse
import contextlib
import json
import math
import random
import sys
import tempfile
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tests.dashboard.prometheus import Prometheus
from tests.fake_lapi import FakeLapi, status
from tests.lab.bouncer import Bouncer
from tests.lab.net import ATTACKER, MAIL, network
from tests.lab.packets import Greeter, Probe, client

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.lab.net import Network

HERE = Path(__file__).parents[2] / "packaging" / "grafana"
ORIGINS: dict[str, dict[str, str]] = {
    "CAPI": {"origin": "CAPI", "scenario": "crowdsecurity/ssh-bf"},
    "crowdsec": {"origin": "crowdsec", "scenario": "apache-james/bf-auth"},
    "cscli": {"origin": "cscli", "scenario": "manual ban"},
    "lists": {"origin": "lists", "scenario": "firehol_level2"},
}
SPARED = "198.18.9.9"
WINDOW = 15  # seconds that rates are taken over
# What this day leaves at zero, or may do so between two scrapes.
MAY_BE_ZERO = {"fwbouncer_drift_elements", "fwbouncer_held_back_elements", "fwbouncer_doubted_bans"}


@dataclass
class Day:
    """What happens on the mail host."""

    net: Network
    lapi: FakeLapi
    bouncer: Bouncer
    probe: Probe
    seconds: float
    chance: random.Random = field(default_factory=lambda: random.Random(7))
    banned: list[str] = field(default_factory=list)

    def live(self) -> None:
        """Let it pass: bans come, the banned knock, somebody flushes the rules, the LAPI fails for a while."""
        session = client(self.net.attacker, "198.18.8.8")
        session.connect((MAIL[4], 25))
        begun, done = time.monotonic(), set[str]()
        events = {"cut": 0.3, "flush": 0.45, "outage": 0.55, "answers": 0.65, "wave": 0.75}
        while (passed := (time.monotonic() - begun) / self.seconds) < 1:
            for name, at in events.items():
                if passed >= at and name not in done:
                    done.add(name)
                    getattr(self, f"_{name}")()
            self._ban(self.chance.randrange(4))
            self._knock(40 if "wave" in done and passed < 0.9 else 10)
            time.sleep(0.2)
        session.close()

    def _ban(self, number: int, first: str = "") -> None:
        for _ in range(number):
            name = self.chance.choice([*ORIGINS])
            far = self.chance.randrange(1 << 16)
            value = f"198.18.{16 + far % 200}.{far >> 8}" if far % 3 else f"2001:db8:ba0::{far:x}"
            self.lapi.ban(first or value, **ORIGINS[name])
            self.banned.append(first or value)

    def _knock(self, number: int) -> None:
        some = self.chance.choices(self.banned, k=number) if self.banned else []
        self.probe.arriving([*some, SPARED, *ATTACKER.values()], wait=0.0)

    def _cut(self) -> None:
        self._ban(1, "198.18.8.8")

    def _flush(self) -> None:
        self.net.mail.run("nft", "flush", "ruleset")

    def _outage(self) -> None:
        self.lapi.fault = status(503)

    def _answers(self) -> None:
        self.lapi.fault = None

    def _wave(self) -> None:
        for number in range(300):
            self.lapi.ban(f"198.19.{number // 250}.{number % 250}", **ORIGINS["CAPI"])
            self.banned.append(f"198.19.{number // 250}.{number % 250}")


def expressions(
    dashboard: dict[str, Any], seconds: float
) -> Iterator[tuple[dict[str, Any], dict[str, Any], str]]:
    """Yield each panel and target with its query, Grafana's variables put in."""
    values = {
        "$__rate_interval": f"{WINDOW}s",
        "$__range": f"{int(seconds)}s",
        "$instance": ".*",
        "$job": ".*",
    }
    for panel in dashboard["panels"]:
        for target in panel["targets"]:
            query = target["expr"]
            for name, value in values.items():
                query = query.replace(name, value)
            assert "$" not in query, f"{panel['title']}: {query}"
            yield panel, target, query


def judge(prometheus: Prometheus, seconds: float, since: float) -> tuple[list[str], list[dict[str, Any]]]:
    """Ask everything that the dashboard asks; return what has no data, and all the data."""
    dashboard = json.loads((HERE / "fwbouncer.json").read_text())
    until, empty, found = time.time(), [], []
    for panel, target, query in expressions(dashboard, seconds):
        if target["range"]:
            series = prometheus.over(query, since, until, max(1.0, seconds / 200))
        else:
            series = [{**each, "values": [each["value"]]} for each in prometheus.instant(query)]
        numbers = [float(value) for each in series for _, value in each["values"]]
        if not any(math.isfinite(number) for number in numbers):
            empty.append(f"{panel['title']}: {query}: no data")
        elif not any(numbers) and query.split("(")[-1].partition("{")[0] not in MAY_BE_ZERO:
            empty.append(f"{panel['title']}: {query}: nothing but zero")
        found.append({"panel": panel["id"], "legend": target["legendFormat"], "series": series})
    broken = [f"alert {r['name']}: {r.get('lastError')}" for r in prometheus.rules() if r["health"] != "ok"]
    return empty + broken, found


def main() -> int:
    """Live through the day and judge."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--prometheus", type=Path, required=True)
    parser.add_argument("--seconds", type=float, default=45)
    parser.add_argument("--results", type=Path, help="where to write what was found, for a picture")
    options = parser.parse_args()
    with contextlib.ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        net = stack.enter_context(network())
        with net.mail.inside():
            lapi = stack.enter_context(FakeLapi())
        bouncer = Bouncer(
            net.mail, folder, api_url=lapi.url, prometheus={"enabled": True}, never_block=[SPARED]
        )
        bouncer.configure(update_frequency="0.5s", resync_interval="20s", log_level="info")
        stack.callback(bouncer.close)
        stack.enter_context(contextlib.closing(Greeter(net.mail)))
        probe = stack.enter_context(contextlib.closing(Probe(net)))
        lapi.ban("no address at all", **ORIGINS["cscli"])
        lapi.ban("198.18.7.7", type="captcha", **ORIGINS["cscli"])
        bouncer.start()
        prometheus = Prometheus(net.mail, options.prometheus, folder, HERE / "alerts.yaml")
        stack.callback(prometheus.close)
        since = time.time()
        Day(net, lapi, bouncer, probe, options.seconds).live()
        time.sleep(2)
        empty, found = judge(prometheus, options.seconds, since)
    if options.results is not None:
        options.results.write_text(json.dumps(found))
    for line in empty:
        print(line, file=sys.stderr)
    print(f"{len(found)} queries of the dashboard, {len(found) - len(empty)} with data")
    return 1 if empty else 0


if __name__ == "__main__":
    sys.exit(main())
