"""What many bouncers cost one real LAPI: polls at rest, a hundred new bans, the LAPI's restart, a boot of all."""

from __future__ import annotations

import contextlib
import json
import math
import subprocess
import sys
import time
from functools import partial
from typing import TYPE_CHECKING, Any

from tests.benchmarks import page
from tests.benchmarks.fleet_database import Postgresql, Sqlite, programs
from tests.benchmarks.fleet_lapi import FleetLapi, settle
from tests.lab import crowdsec
from tests.lab.net import lone_host

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from tests.benchmarks.bench import Bench
    from tests.benchmarks.fleet_database import Database
    from tests.lab.net import Host

PART = "fleet"
WAYS = {"ours": "fwbouncer", "theirs": "the incumbent"}
INTERVAL = 10.0  # seconds between two polls of one bouncer, as both have it by default
DECISIONS = 20_000  # as the community's blocklist has
MANY = 1_000  # bouncers, for the full run
FULL = 1_000_000  # the size that tells a full run from a quick one
INDEX = "CREATE INDEX decisions_created_at ON decisions (created_at);ANALYZE;"


def run(bench: Bench) -> None:
    """Measure on each database; those that are not there are told."""
    root = crowdsec.unpacked()
    if root is None:
        bench.measures.remark("fleet: not measured, CrowdSec is neither unpacked nor installed")
        return
    full = max(bench.sizes) >= FULL
    for number, (make, plan) in enumerate(_plans(bench, full=full)):
        with lone_host("fleet") as host:
            folder = bench.folder / f"fleet-{number}"
            folder.mkdir()
            database = make(folder)
            with contextlib.closing(FleetLapi(host, folder, root, database)) as lapi:
                lapi.fill(DECISIONS, MANY)
                plan(Measuring(bench, host, lapi))


def _plans(
    bench: Bench, *, full: bool
) -> Iterator[tuple[Callable[[Path], Database], Callable[[Measuring], None]]]:
    everything = _full if full else _quick
    yield partial(Sqlite, wal=True), everything
    if programs() is None:
        bench.measures.remark("fleet: PostgreSQL is left out, it is neither unpacked nor installed")
    else:
        yield Postgresql, everything
    if full:
        yield partial(Sqlite, wal=False), _many_at_rest
        yield partial(Sqlite, wal=True), _with_index


def _quick(measuring: Measuring) -> None:
    """Within a quarter of a minute for each way and database."""
    for way in WAYS:
        measuring.rest(way, 10, interval=1.0)
        measuring.outage(way, 100, down=3.0, interval=3.0)


def _full(measuring: Measuring) -> None:
    """Within two minutes for each way and database."""
    for way in WAYS:
        for count in (1, 10):
            measuring.rest(way, count, interval=1.0)
        measuring.rest(way, 100, interval=2.0)
        measuring.rest(way, MANY)
        measuring.boot(way, 50)
        measuring.outage(way, 100, down=3.0, interval=3.0)
        measuring.outage(way, MANY, down=5.0)


def _many_at_rest(measuring: Measuring) -> None:
    measuring.rest("ours", MANY)


def _with_index(measuring: Measuring) -> None:
    measuring.lapi.database.run(INDEX)
    measuring.label = "SQLite, use_wal, created_at indexed"
    measuring.rest("ours", MANY)


class Fleet:
    """Bouncers that poll, in a process of their own."""

    def __init__(  # noqa: PLR0913 - who they are and what they look for
        self, host: Host, way: str, count: int, interval: float, born: str, text: str = ""
    ) -> None:
        words = (sys.executable, "-m", "tests.benchmarks.fleet_pollers", way, f"{count}", f"{interval}", born)
        self.count = count
        self._process = host.start(
            *words, stdin=subprocess.PIPE, stdout=subprocess.PIPE, cwd=crowdsec.CHECKOUT
        )
        self.watch(text)  # with that they begin

    def watch(self, text: str = "") -> None:
        """Count from now on, and look for this text in what the LAPI answers."""
        self._say(f"watch {text}")

    def report(self) -> dict[str, Any]:
        """Return what was counted."""
        return self._say("report")

    def wait(self, patience: float) -> dict[str, Any]:
        """Wait until all have seen the text; returns the last report."""
        deadline = time.monotonic() + patience
        while (found := self.report())["reached"] < self.count and time.monotonic() < deadline:
            time.sleep(0.1)
        return found

    def close(self) -> None:
        """End them all."""
        self._process.kill()
        self._process.communicate()

    def _say(self, words: str) -> dict[str, Any]:
        assert self._process.stdin
        assert self._process.stdout
        self._process.stdin.write(f"{words}\n".encode())
        self._process.stdin.flush()
        found: dict[str, Any] = json.loads(self._process.stdout.readline())
        return found


class Measuring:
    """One LAPI, and what is done with it."""

    def __init__(self, bench: Bench, host: Host, lapi: FleetLapi) -> None:
        self.lapi = lapi
        self.label = lapi.database.name
        self.measures = bench.measures
        self._tell = bench.tell
        self._host = host
        self._number = 60_000_000
        self._began = 0.0, 0.0  # the processor time of LAPI and database when what is measured began

    def rest(self, way: str, count: int, interval: float = INTERVAL) -> None:
        """Let them poll while nothing happens, then ban a hundred.

        Few may poll more often: a poll costs the same, and more of them are seen.
        """
        self._begin(way, count, "at rest")
        with contextlib.closing(self._fleet(way, count, interval)) as fleet:
            time.sleep(interval * 1.1)
            before, began = self.lapi.cpu(), time.monotonic()
            fleet.watch()
            time.sleep(max(3.0, interval))
            found = fleet.report()
            window = (time.monotonic() - began) * INTERVAL / interval
            spent = [1000 * (now - then) for now, then in zip(self.lapi.cpu(), before, strict=True)]
            polls = max(1, found["polls"])
            self._add(way, count, "CPU ms a poll", sum(spent) / polls)
            self._add(way, count, "CPU ms a poll, the database's part", spent[1] / polls)
            self._add(way, count, "CPU s a minute", sum(spent) / 1000 * 60 / window)
            self._add(way, count, "ms a poll takes, median", found["p50"])
            self._add(way, count, "ms a poll takes, 99 of 100", found["p99"])
            self._add(way, count, "MB, LAPI and database (PSS)", self.lapi.memory()[0])
            self._news(way, fleet, interval)

    def _news(self, way: str, fleet: Fleet, interval: float) -> None:
        """Ban a hundred, and wait until the last of them has come to all."""
        bans = self._bans(100)
        fleet.watch(_mark(bans))
        before, began = sum(self.lapi.cpu()), time.monotonic()
        self.lapi.ban(bans)
        found = fleet.wait(3 * interval)
        spent = 1000 * (sum(self.lapi.cpu()) - before) / max(1, found["polls"])
        self._add(way, fleet.count, "CPU ms a poll while 100 bans come", spent)
        took = (found["last"] - began) / interval if found["reached"] == fleet.count else math.inf
        self._add(way, fleet.count, "intervals until 100 bans are known to all", took)

    def outage(
        self, way: str, count: int, down: float, interval: float = INTERVAL, patience: float = 60.0
    ) -> None:
        """End the LAPI, ban somebody meanwhile, start it again, and wait until all know."""
        self._begin(way, count, "and an outage")
        with contextlib.closing(self._fleet(way, count, interval)) as fleet:
            time.sleep(interval * 1.1)
            bans = self._bans(1)
            fleet.watch(_mark(bans))
            self.lapi.stop()
            time.sleep(down)
            self.lapi.ban(bans)
            began, self._began = time.monotonic(), (0.0, self.lapi.cpu()[1])
            self.lapi.start()
            self._together(way, fleet, "after a restart", began, patience)

    def boot(self, way: str, count: int, patience: float = 60.0) -> None:
        """Start bouncers that know nothing, all at once."""
        self._begin(way, count, "that boot")
        bans = self._bans(1)
        self.lapi.ban(bans)
        began = time.monotonic()
        with contextlib.closing(Fleet(self._host, way, count, INTERVAL, "new", _mark(bans))) as fleet:
            self._together(way, fleet, "when all boot", began, patience)

    def _begin(self, way: str, count: int, what: str) -> None:
        self._tell(f"{count:,} bouncers {what}: {WAYS[way]}, {self.label}")
        self.lapi.stop()
        self.lapi.start()  # with the memory of a fresh one
        settle(self.lapi)
        self._began = self.lapi.cpu()

    def _together(self, way: str, fleet: Fleet, when: str, began: float, patience: float) -> None:
        found = fleet.wait(patience)
        spent, (_, peak) = sum(self.lapi.cpu()) - sum(self._began), self.lapi.memory()
        all_know = found["reached"] == fleet.count
        took = found["last"] - began if all_know else math.inf
        note = "" if all_know else f"{found['reached']:,} of them after {patience:.0f} s"
        self._add(way, fleet.count, f"{when}: seconds until all know all", took, note)
        self._add(way, fleet.count, f"{when}: CPU s until then", spent)
        self._add(way, fleet.count, f"{when}: pages of everything", found["snapshots"])
        self._add(way, fleet.count, f"{when}: failed polls", found["failures"])
        self._add(way, fleet.count, f"{when}: MB at the LAPI's peak", peak)

    def _fleet(self, way: str, count: int, interval: float) -> Fleet:
        return Fleet(self._host, way, count, interval, "old")

    def _bans(self, count: int) -> list[page.Ban]:
        self._number += 1000  # the last of them is an address of IPv4, whatever their count
        return page.bans(count, self._number + 1)

    def _add(self, way: str, count: int, what: str, value: float, note: str = "") -> None:
        self.measures.add(PART, what, f"{WAYS[way]}, {self.label}", count, value, note)


def _mark(bans: list[page.Ban]) -> str:
    return f'"value":"{bans[-1].value}"'
