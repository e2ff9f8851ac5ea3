"""What all benchmarks share: the host, the LAPI, the contenders, the pages and the limits of one run."""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from tests.benchmarks import page
from tests.benchmarks.contenders import wipe
from tests.benchmarks.eye import wait_for

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

    from tests.benchmarks.contenders import Contender
    from tests.benchmarks.eye import Eye
    from tests.benchmarks.measure import Measures
    from tests.benchmarks.page import Ban
    from tests.benchmarks.static_lapi import StaticLapi
    from tests.lab.net import Host

LOADED = 600.0  # seconds after which a contender that must be full before it is measured is given up


@dataclass
class Bench:
    """One run."""

    host: Host
    lapi: StaticLapi
    folder: Path
    contenders: list[Contender]
    measures: Measures
    sizes: tuple[int, ...]
    times: int = 5  # how often each thing is measured
    limit: float = 30.0  # seconds after which a cold start is cut off
    _bans: dict[int, list[Ban]] = field(default_factory=dict)
    _news: int = 50_000_000

    def bans(self, size: int) -> list[Ban]:
        """Return the decisions of the page of that size."""
        if size not in self._bans:
            self._bans = {size: page.bans(size)}  # a million of them takes 150 MB: one list at a time
        return self._bans[size]

    def page(self, size: int) -> Path:
        """Return the file with the page of that size."""
        path = self.folder / f"page-{size}.json"
        if not path.exists():
            path.write_bytes(page.page(self.bans(size)))
        return path

    def news(self, count: int) -> list[Ban]:
        """Return decisions that nobody has seen yet."""
        self._news += count
        return page.bans(count, self._news)

    def tell(self, new: Iterable[Ban] = (), deleted: Iterable[Ban] = (), hours: int = 160) -> int:
        """Let the LAPI tell this at the next poll; returns when its answer had gone out."""
        path = self.folder / "delta.json"
        path.write_bytes(page.page(new, deleted, hours))
        self.lapi.forget()
        self.lapi.serve_once(path)
        return self.lapi.next("delta").ended

    def fill(self, contender: Contender, size: int, poll: float) -> Eye | None:
        """Start a contender in an empty kernel and wait until all is there; None if that takes too long."""
        wipe(self.host)
        self.lapi.serve(self.page(size))
        contender.start(poll)
        eye = contender.eye()
        if wait_for(eye, page.sample(self.bans(size)), until=_in(LOADED)) is None:
            eye.close()
            contender.end()
            return None
        time.sleep(2.0 + size / 200_000)  # what it does after the work belongs to the work
        return eye


def _in(seconds: float) -> int:
    return time.monotonic_ns() + int(seconds * 1e9)
