"""Many bouncers in one process that poll a LAPI as fwbouncer does, or as the incumbent does, and do nothing else.

python -m tests.benchmarks.fleet_pollers WAY COUNT INTERVAL BORN

BORN is `new` for bouncers that start all at once and know nothing, `old` for those that have polled for long. Reads
commands, a line each, and answers each with a line of JSON: `watch TEXT` begins to count anew, and to look for this
text in the answers; `report` tells. With the first command they begin.
"""

from __future__ import annotations

import asyncio
import json
import logging
import os
import random
import statistics
import sys
import time
from typing import TYPE_CHECKING, Any

from fwbouncer.config.schema import Lapi
from fwbouncer.core.book import Book
from fwbouncer.core.model import Family, Label
from fwbouncer.core.pacing import Pacing
from fwbouncer.daemon.poller import Poller
from fwbouncer.lapi.client import Client
from tests.benchmarks.fleet_lapi import key
from tests.benchmarks.fleet_wire import STREAM, Transport, Wire
from tests.lab.crowdsec import URL

if TYPE_CHECKING:
    from collections.abc import Callable

HOUR = 3_600_000
# What the incumbent's library asks. Its defaults name no scopes, and leave the LAPI's own filter of doubles on.
_ASKS = f"{STREAM}?community_pull=false&additional_pull=false"


class Counts:
    """What all the pollers of this process have seen since `watch`."""

    def __init__(self) -> None:
        self.watch("")

    def watch(self, text: str) -> None:
        """Begin anew."""
        self.mark = text.encode()
        self.polls = self.snapshots = self.failures = 0
        self.took: list[float] = []
        self.reached: dict[
            int, float
        ] = {}  # poller -> when the text came, by the clock that all processes share

    def report(self) -> dict[str, Any]:
        """Return it; times of polls are milliseconds."""
        took = sorted(self.took) or [0.0]
        return {
            "polls": self.polls,
            "snapshots": self.snapshots,
            "failures": self.failures,
            "p50": statistics.median(took),
            "p99": took[min(len(took) - 1, int(len(took) * 0.99))],
            "reached": len(self.reached),
            "last": max(self.reached.values(), default=0.0),
        }


class Watched(Wire):
    """A connection whose answers are counted."""

    def __init__(self, counts: Counts, number: int, *, old: bool) -> None:
        super().__init__()
        self._counts = counts
        self._number = number
        self._old = old

    async def ask(self, path: str, headers: str) -> int:
        """As any; but who has polled for long asks for everything no first time."""
        if self._old:
            self._old = False
            return 200
        self.mark = self._counts.mark
        began = time.monotonic()
        status = await super().ask(path, headers)
        counts = self._counts
        counts.took.append((time.monotonic() - began) * 1000)
        counts.polls += 1
        counts.snapshots += "startup=true" in path
        if self.found:
            counts.reached.setdefault(self._number, time.monotonic())
        return status


class _Keeper:
    """The kernel of a bouncer that has none."""

    def __init__(self) -> None:
        self.settled = asyncio.Event()

    def wake(self) -> None:
        """There is nothing to do."""

    def distrust(self) -> None:
        """There is nothing to read."""

    async def at_rest(self) -> None:
        """There is nothing to wait for."""


async def ours(wire: Watched, counts: Counts, number: int, interval: float) -> None:
    """Poll as fwbouncer does: its own poller, timetable and client, on a wire that costs less."""
    client = Client(
        Lapi((URL,), key=key(number), update_frequency=interval),
        families=tuple(Family),
        label_of=lambda *_: Label("", "", "", ""),
        clock=_clock,
        transports=lambda *_: Transport(wire),
    )
    pacing = Pacing(int(interval * 1000), HOUR, random.random)

    def polled() -> None:
        counts.failures, client.failures = counts.failures + client.failures, 0

    await Poller(client, pacing, Book(), _Keeper(), _clock, polled).run()  # type: ignore[arg-type]


async def theirs(wire: Watched, counts: Counts, number: int, interval: float) -> None:
    """Poll as the incumbent does: on a fixed beat, everything once, then whatever is new, whatever went wrong."""
    headers = f"User-Agent: crowdsec-firewall-bouncer/v0.0.34\r\nX-Api-Key: {key(number)}\r\n"
    startup = True
    beat = time.monotonic()
    while True:
        try:
            if not wire.usable:
                await wire.connect()
            status = await wire.ask(f"{_ASKS}&startup=true" if startup else _ASKS, headers)
        except OSError:
            status = 0
        if status == 200:
            startup = False
        else:
            counts.failures += 1
            if startup:
                await asyncio.sleep(
                    10
                )  # it ends, and systemd starts it again; retry_initial_connect waits as long
                continue
        # Go's ticker drops the beats that nobody was there to hear.
        late = max(0.0, time.monotonic() - beat)
        beat += interval * (1 + late // interval)
        await asyncio.sleep(max(0.0, beat - time.monotonic()))


def _clock() -> int:
    return time.monotonic_ns() // 1_000_000


async def _first(way: Callable[..., Any], wait: float, *rest: Any) -> None:
    await asyncio.sleep(wait)
    await way(*rest)


async def _obey(counts: Counts, begin: asyncio.Event) -> None:
    reader = asyncio.StreamReader()
    loop = asyncio.get_running_loop()
    await loop.connect_read_pipe(lambda: asyncio.StreamReaderProtocol(reader), sys.stdin)
    while line := (await reader.readline()).decode():
        word, _, rest = line.strip().partition(" ")
        if word == "watch":
            counts.watch(rest)
        begin.set()
        print(json.dumps(counts.report()), flush=True)


async def main(way: str, count: int, interval: float, born: str) -> None:
    """Poll until there are no more commands."""
    counts = Counts()
    begin = asyncio.Event()
    obeying = asyncio.create_task(_obey(counts, begin))
    await begin.wait()
    chance = random.Random(count)
    tasks = []
    for number in range(count):
        wire = Watched(counts, number, old=born == "old")
        # Those that have polled for long have drifted apart; those that boot together ask together.
        wait = interval * chance.random() if born == "old" else 0.0
        poll = ours if way == "ours" else theirs
        tasks.append(asyncio.create_task(_first(poll, wait, wire, counts, number, interval)))
    done, _ = await asyncio.wait([obeying, *tasks], return_when=asyncio.FIRST_COMPLETED)
    for task in done:
        task.result()
    os._exit(0)


if __name__ == "__main__":
    logging.disable(logging.CRITICAL)
    asyncio.run(main(sys.argv[1], int(sys.argv[2]), float(sys.argv[3]), sys.argv[4]))
