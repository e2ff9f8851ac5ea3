"""A contender at its place: a network namespace, a LAPI and an eye of its own, so that many can be full at once."""

from __future__ import annotations

import contextlib
import os
import signal
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING

from tests.benchmarks.contenders import wipe
from tests.benchmarks.costs import tree
from tests.benchmarks.eye import wait_for

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

    from tests.benchmarks.contenders import Contender
    from tests.benchmarks.eye import Eye
    from tests.benchmarks.page import Ban
    from tests.benchmarks.static_lapi import StaticLapi

_SLICE = 1_000_000_000  # nanoseconds between two looks at whether a contender still lives


@dataclass
class Seat:
    """One contender, and what it has for itself."""

    contender: Contender
    lapi: StaticLapi
    _eye: Eye | None = None

    @property
    def name(self) -> str:
        """The contender's."""
        return self.contender.name

    @property
    def eye(self) -> Eye:
        """Looks into its kernel."""
        assert self._eye, f"{self.name} has not begun"
        return self._eye

    def begin(self, page: Path, poll: float) -> int:
        """Start it with nothing in the kernel and this page to fetch; returns when (CLOCK_MONOTONIC, ns)."""
        self.clear()
        self.lapi.serve(page)
        began = time.monotonic_ns()
        self.contender.start(poll)
        self._eye = self.contender.eye()
        return began

    def clear(self) -> None:
        """End it, and leave nothing of its work in the kernel."""
        self.contender.end()
        if self._eye:
            self._eye.close()
            self._eye = None
        wipe(self.contender.host)

    def close(self) -> None:
        """End everything here."""
        try:
            self.clear()
        finally:
            self.lapi.close()

    def wait_for(self, bans: Sequence[Ban], *, until: int, hours: float | None = 0.0) -> int | None:
        """Wait as `eye.wait_for` does, but no longer than the contender lives."""
        while True:
            alive = self.contender.state() != "Z"
            done = wait_for(self.eye, bans, until=min(until, time.monotonic_ns() + _SLICE), hours=hours)
            if done is not None or not alive or time.monotonic_ns() > until:
                return done

    def rest(self) -> None:
        """Stop its processes where they stand, so that they don't disturb who is measured."""
        self._signal(signal.SIGSTOP)
        until = time.monotonic() + 10  # one that is in the kernel stops when it comes out
        while self.contender.state() in "RSD" and time.monotonic() < until:
            time.sleep(0.002)

    @contextlib.contextmanager
    def awake(self) -> Iterator[None]:
        """Let it go on for a while; begins behind its second poll, when what it missed is made up for."""
        self._signal(signal.SIGCONT)
        self.lapi.forget()
        for _ in range(2):
            self.lapi.next("nothing")
        yield
        self.lapi.forget()
        with contextlib.suppress(TimeoutError):
            self.lapi.next("nothing", within=5.0)
        time.sleep(0.03)  # between two polls: one that is cut short would time out once it goes on
        self.rest()

    def _signal(self, number: signal.Signals) -> None:
        for pid in tree(self.contender.pid):
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, number)
