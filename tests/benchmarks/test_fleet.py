"""The fleet's bench itself, with three bouncers of each kind, on SQLite."""

from __future__ import annotations

import contextlib
import math
from typing import TYPE_CHECKING

import pytest

from tests.benchmarks.bench import Bench
from tests.benchmarks.fleet import PART, WAYS, Measuring
from tests.benchmarks.fleet_database import Sqlite
from tests.benchmarks.fleet_lapi import FleetLapi
from tests.benchmarks.measure import Measures
from tests.benchmarks.static_lapi import StaticLapi
from tests.lab import crowdsec
from tests.lab.net import lone_host

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

COUNT = 3


@pytest.fixture
def measuring(tmp_path: Path) -> Iterator[Measuring]:
    """Set up a LAPI with few decisions."""
    root = crowdsec.unpacked()
    assert root, "CrowdSec is neither unpacked nor installed"
    (folder := tmp_path / "lapi").mkdir()
    with contextlib.ExitStack() as stack:
        none, host = (stack.enter_context(lone_host(role)) for role in ("none", "fleet"))
        nobodys = stack.enter_context(contextlib.closing(StaticLapi(none)))
        bench = Bench(none, nobodys, tmp_path, [], Measures(), (0,))
        lapi = FleetLapi(host, folder, root, Sqlite(folder, wal=True))
        stack.enter_context(contextlib.closing(lapi))
        lapi.fill(500, COUNT)
        yield Measuring(bench, host, lapi)


def test_a_ban_made_while_the_lapi_is_away_comes_to_all(measuring: Measuring) -> None:
    """When it is back, whichever way they poll, and without a page of everything for each."""
    for way, name in WAYS.items():
        measuring.outage(way, COUNT, down=0.5, interval=1.0)
        found = {m.what: m.median for m in measuring.measures.of(PART) if m.who.startswith(name)}
        assert math.isfinite(found["after a restart: seconds until all know all"])
        assert found["after a restart: failed polls"]
        assert found["after a restart: pages of everything"] < COUNT  # a poll may have been under way
        assert found["after a restart: CPU s until then"] > 0
