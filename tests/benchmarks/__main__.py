"""Measures fwbouncer beside the incumbent, an administrator's one-liner and the kernel alone.

python -m tests.benchmarks [--full] [--only cold,change,idle,warm] [--sizes 1000,100000] [--times 5] [--out FOLDER]

INCUMBENT=path adds another binary of the incumbent. Needs root: everything runs in network namespaces.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import sys
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING

from tests.benchmarks import change, cold, idle, plot, report, warm
from tests.benchmarks.bench import Bench
from tests.benchmarks.contenders import Contender, Fwbouncer, Incumbent, OneLiner, wipe
from tests.benchmarks.measure import Measures
from tests.benchmarks.static_lapi import StaticLapi
from tests.lab.crowdsec import CHECKOUT
from tests.lab.net import Host, network

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

PARTS: dict[str, Callable[[Bench], None]] = {
    "cold": cold.run,
    "change": change.run,
    "idle": idle.run,
    "warm": warm.run,
}
QUICK, FULL = (1_000, 10_000, 100_000), (1_000, 10_000, 100_000, 1_000_000)
DEBIANS = CHECKOUT / ".cache/incumbent/usr/bin/crowdsec-firewall-bouncer"


def main() -> int:
    """Run what is asked for; the results are written after each part."""
    options = _options()
    options.out.mkdir(parents=True, exist_ok=True)
    measures = Measures()
    with _bench(options, measures) as bench:
        for name in options.only:
            began = time.monotonic()
            print(f"==> {name}", file=sys.stderr, flush=True)
            PARTS[name](bench)
            report.write(options.out, report.machine(), measures)
            print(f"    {time.monotonic() - began:.0f} s", file=sys.stderr, flush=True)
    plot.write(options.out / "bench.svg", measures)
    print(report.markdown(report.machine(), measures))
    return 0


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
    options.sizes = options.sizes or (FULL if options.full else QUICK)
    options.limit = options.limit or (300.0 if options.full else 60.0)
    return options


def _names(text: str) -> list[str]:
    names = text.split(",")
    strange = [name for name in names if name not in PARTS]
    if strange:
        raise argparse.ArgumentTypeError(f"{strange[0]} is not one of {', '.join(PARTS)}")
    return names


@contextlib.contextmanager
def _bench(options: argparse.Namespace, measures: Measures) -> Iterator[Bench]:
    with contextlib.ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="fwbouncer-bench-")))
        host = stack.enter_context(network()).mail
        lapi = stack.enter_context(contextlib.closing(StaticLapi(host)))
        contenders = _contenders(host, folder, others=not options.ours)
        try:
            yield Bench(host, lapi, folder, contenders, measures, options.sizes, options.times, options.limit)
        finally:
            for each in contenders:
                each.end()
            wipe(host)


def _contenders(host: Host, folder: Path, *, others: bool) -> list[Contender]:
    found: list[Contender] = [Fwbouncer(host, folder, mode) for mode in ("nftables", "iptables")]
    if not others:
        return found
    binaries = {"Debian's incumbent": DEBIANS}
    if os.environ.get("INCUMBENT"):
        binaries["the incumbent given"] = Path(os.environ["INCUMBENT"]).resolve()
    for called, binary in binaries.items():
        if not binary.exists():
            print(f"{binary} is not there: {called} is left out", file=sys.stderr)
            continue
        found += [Incumbent(host, folder, mode, binary, called) for mode in ("nftables", "iptables")]
    return [*found, OneLiner(host, folder)]


if __name__ == "__main__":
    sys.exit(main())
