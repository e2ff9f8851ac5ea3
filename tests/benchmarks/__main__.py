"""Measures fwbouncer beside the incumbent, an administrator's one-liner and the kernel alone.

python -m tests.benchmarks [--full] [--only cold,…,fleet] [--sizes 1000,100000] [--times 5] [--out FOLDER]

INCUMBENT=path adds another binary of the incumbent. Needs root: everything runs in network namespaces.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import signal
import sys
import tempfile
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from tests.benchmarks import change, cold, fleet, idle, packets, plot, report, warm
from tests.benchmarks.bench import Bench
from tests.benchmarks.contenders import Contender, Fwbouncer, Incumbent, OneLiner
from tests.benchmarks.measure import Measures
from tests.benchmarks.names import DEBIANS, GIVEN, MODES
from tests.benchmarks.progress import Progress
from tests.benchmarks.seat import Seat
from tests.benchmarks.static_lapi import StaticLapi
from tests.lab.crowdsec import CHECKOUT
from tests.lab.net import lone_host

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from types import ModuleType

    from tests.lab.net import Host

# Beside those that are full of bans, one size after the other.
FULL: dict[str, ModuleType] = {"idle": idle, "change": change, "warm": warm}
# Once, with sizes and hosts of their own.
WHOLE: dict[str, Callable[[Bench], None]] = {"packets": packets.run, "fleet": fleet.run}
PARTS = ("cold", *FULL, *WHOLE)
QUICK_SIZES, FULL_SIZES = (1_000, 10_000, 100_000), (1_000, 10_000, 100_000, 1_000_000)
UNPACKED = CHECKOUT / ".cache/incumbent/usr/bin/crowdsec-firewall-bouncer"


def main() -> int:
    """Run what is asked for; the results are written after each step."""
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # so that everything is taken down
    options = _options()
    options.out.mkdir(parents=True, exist_ok=True)
    sized = [part for part in options.only if part not in WHOLE]
    whole = [part for part in options.only if part in WHOLE]
    progress = Progress([*((p, s) for s in options.sizes for p in sized), *((p, 0) for p in whole)])
    with _bench(options, progress) as bench:
        where = report.machine({s.name: s.contender.version for s in bench.seats})
        for size in options.sizes:
            for _ in _sized(bench, size, sized, progress):
                report.write(options.out, where, bench.measures)
        for part in whole:
            progress.begin(part)
            WHOLE[part](bench)
            progress.end(part)
            report.write(options.out, where, bench.measures)
    plot.write(options.out / "bench.svg", bench.measures)
    plot.as_picture(options.out / "bench.svg")
    print(report.markdown(where, bench.measures))
    return 0


def _sized(bench: Bench, size: int, parts: list[str], progress: Progress) -> Iterator[None]:
    """Measure everything at one size; yields after each step."""
    if "cold" in parts:
        progress.begin("cold", size)
        cold.run(bench, size)
        progress.end("cold", size)
        yield
    full = [part for part in FULL if part in parts]
    for group in bench.groups(size) if full else ():
        seats, others = bench.fill(group, size)
        for part in full:
            for who, why in others.items():
                bench.measures.note(FULL[part].PART, FULL[part].HEADLINE, who, size, why)
            progress.begin(part, size)
            FULL[part].run(bench, seats, size)
            progress.end(part, size)
            yield
        for seat in group:
            seat.clear()


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--full", action="store_true", help="all sizes, and more patience with the slow")
    parser.add_argument("--only", type=_names, default=list(PARTS))
    parser.add_argument("--sizes", type=lambda text: tuple(map(int, text.split(","))))
    parser.add_argument("--times", type=int, default=5)
    parser.add_argument("--limit", type=float, help="seconds after which a cold start is cut off")
    parser.add_argument("--out", type=Path, default=CHECKOUT / "build/bench")
    parser.add_argument("--ours", action="store_true", help="leave the others out")
    options = parser.parse_args()
    options.sizes = options.sizes or (FULL_SIZES if options.full else QUICK_SIZES)
    options.limit = options.limit or (90.0 if options.full else 20.0)
    return options


def _names(text: str) -> list[str]:
    names = text.split(",")
    strange = [name for name in names if name not in PARTS]
    if strange:
        raise argparse.ArgumentTypeError(f"{strange[0]} is not one of {', '.join(PARTS)}")
    return [part for part in PARTS if part in names]


@contextlib.contextmanager
def _bench(options: argparse.Namespace, progress: Progress) -> Iterator[Bench]:
    with contextlib.ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="fwbouncer-bench-")))

        def place(role: str) -> tuple[Host, StaticLapi]:
            host = stack.enter_context(lone_host(role))
            return host, stack.enter_context(contextlib.closing(StaticLapi(host)))

        host, lapi = place("none")
        seats = []
        for number, make in enumerate(_makers(others=not options.ours)):
            there, its_lapi = place(f"seat{number}")
            seats.append(stack.enter_context(contextlib.closing(Seat(make(there, folder), its_lapi))))
        yield Bench(
            host,
            lapi,
            folder,
            seats,
            Measures(),
            options.sizes,
            options.times,
            options.limit,
            progress.tell,
        )


def _makers(*, others: bool) -> Iterator[Callable[[Host, Path], Contender]]:
    """Yield what makes a contender, given its host and its folder."""
    for mode in MODES:
        yield partial(Fwbouncer, mode=mode)
    if not others:
        return
    binaries = {DEBIANS: UNPACKED}
    if os.environ.get("INCUMBENT"):
        binaries[GIVEN] = Path(os.environ["INCUMBENT"]).resolve()
    for called, binary in binaries.items():
        if not binary.exists():
            print(f"{binary} is not there: {called} is left out", file=sys.stderr)
            continue
        for mode in MODES:
            yield partial(Incumbent, mode=mode, binary=binary, called=called)
    yield OneLiner


if __name__ == "__main__":
    sys.exit(main())
