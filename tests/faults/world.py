"""Everything that a run of faults needs: the hosts, the LAPI, the program, the probe, the judge; and time."""

from __future__ import annotations

import contextlib
import heapq
import itertools
import os
import random
import signal
import subprocess
import sys
import threading
import time
from typing import TYPE_CHECKING, Any

from tests.faults.disk import Disk
from tests.faults.journal import Journal
from tests.faults.judge import Broken, Judge, Row
from tests.faults.model import Model
from tests.faults.probe import ROW
from tests.faults.program import Program
from tests.faults.runclock import RunClock
from tests.faults.watched_lapi import WatchedLapi
from tests.lab.crowdsec import CHECKOUT
from tests.lab.manager import Manager

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from tests.faults.settings import Setting
    from tests.lab.net import Network


class World:
    """One run. Steps call its methods; what they start and doesn't end with the step is a timer here."""

    def __init__(self, net: Network, folder: Path, setting: Setting, seed: int) -> None:
        self.net = net
        self.setting = setting
        self.dice = random.Random(seed)
        self.journal = Journal()
        clock = RunClock(self.journal.began)
        self.model = Model(clock, setting.tolerance, owned=setting.owned)
        self.judge = Judge(self.journal, self.model, clock)
        with net.mail.inside():
            self.lapi = WatchedLapi(self.journal)
        self.others = setting.others(net.mail, self.dice)
        self.others.make_theirs()
        self.disk = Disk(folder / "disk")
        self.manager = Manager(folder) if setting.owned else None
        self.program = Program(net.mail, folder, setting, self.journal, clock, self.lapi, self.manager)
        self.unblocked: dict[str, float] = {}  # by command, until when at most
        self.churning: threading.Thread | None = None
        self._timers: list[tuple[float, int, Callable[[], None]]] = []
        self._order = itertools.count()
        self._rows: list[Row] = []
        self._troubled = 0.0
        self._probe = self._start_probe()
        self._reader = threading.Thread(target=self._read_rows, daemon=True)
        self._reader.start()

    @property
    def calm(self) -> bool:
        """Whether the LAPI may be broken: it isn't, and has been heard since it was, so that retries stay quick."""
        return self.lapi.honest and self.lapi.answered

    @property
    def troubled(self) -> bool:
        """Whether others have just changed what is ours, where they can."""
        calm = self._troubled + 2 * self.setting.tolerance.repair < time.monotonic()
        return not self.setting.owned and not calm

    def note(self, kind: str, what: Any = None) -> None:
        """Tell the model what happens now."""
        self.journal.note(time.monotonic(), kind, what)

    def later(self, seconds: float, act: Callable[[], None]) -> None:
        """Do something in a while."""
        heapq.heappush(self._timers, (time.monotonic() + seconds, next(self._order), act))

    def pass_time(self, seconds: float) -> None:
        """Let time go by: timers go off, packets are judged, the program's life is watched."""
        over = time.monotonic() + seconds
        while True:
            while self._timers and self._timers[0][0] <= time.monotonic():
                heapq.heappop(self._timers)[2]()
            self._look()
            left = over - time.monotonic()
            if left <= 0:
                return
            time.sleep(min(left, 0.02))

    def _look(self) -> None:
        self.program.sample()
        if self._probe.poll() is not None:
            raise AssertionError("the probe has ended")
        rows, self._rows = self._rows, []
        self.judge.take(rows)
        self.judge.proceed()
        self.has_died()

    def has_died(self) -> bool:
        """Say whether the program has ended by itself, with a good reason; it is started again."""
        died = self.program.died()
        if died:
            self.later(0.2, self.program.start)
        return died

    def end(self, number: signal.Signals) -> None:
        """End the program, by SIGTERM or without asking it; it will be started again."""
        empties = number is signal.SIGTERM and not self.setting.owned and not self.setting.keeps
        if number is signal.SIGTERM and not self.disk.full:
            self.note("saved")
        if empties:
            self.note("wiped")
        if self.program.end(number) and empties:
            self.expect_empty()

    def expect_empty(self) -> None:
        """Nothing in the kernel may be ours now."""
        left = self.others.left()
        if left:
            raise Broken(f"left in the kernel: {left}")

    def empty_kernel(self) -> None:
        """Let the kernel lose everything, whoever it belongs to."""
        self.note("wiped")
        if self.manager is not None:
            self.manager.empty_store()
        self.others.flush()
        self.others.make_theirs()

    @contextlib.contextmanager
    def trouble(self) -> Iterator[None]:
        """Tell the model that others change what is ours."""
        self.note("trouble")
        yield
        self.note("trouble over")
        self._troubled = time.monotonic()
        if not self.others.theirs():
            self.others.make_theirs()

    def _start_probe(self) -> subprocess.Popen[bytes]:
        words = (sys.executable, "-m", "tests.faults.probe", *(host.name for host in self.net.hosts))
        return subprocess.Popen(words, cwd=CHECKOUT, stdin=subprocess.PIPE, stdout=subprocess.PIPE)

    def _read_rows(self) -> None:
        rest = b""
        assert self._probe.stdout
        while data := os.read(self._probe.stdout.fileno(), 1 << 16):
            data = rest + data
            whole = len(data) - len(data) % ROW.size
            self._rows += ROW.iter_unpack(data[:whole])
            rest = data[whole:]

    def close(self) -> None:
        """End everything that was started here."""
        assert self._probe.stdin
        assert self._probe.stdout
        self._probe.stdin.close()
        with contextlib.suppress(subprocess.TimeoutExpired):
            self._probe.wait(5)
        self._probe.kill()
        self._probe.wait()
        self._reader.join()
        self._probe.stdout.close()
        self.lapi.stop()
        if self.churning is not None:
            self.churning.join()
        self.program.bouncer.close()
        if self.manager is not None:
            self.manager.close()
        self.disk.close()
