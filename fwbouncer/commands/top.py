"""The command `top`: what is being dropped, second by second."""
# ruff: noqa: PLC0415, T201 - imports stand where they are needed, for speed; and commands print

from __future__ import annotations

import argparse
import sys
import time
from typing import TYPE_CHECKING, Any

from fwbouncer.commands.command import Command
from fwbouncer.commands.places import socket_of
from fwbouncer.exits import FINE, clean

if TYPE_CHECKING:
    from collections.abc import Iterator

_HOME, _CLEAR = "\x1b[H", "\x1b[2J"
_MORE = """\
The kernel counts by origin, and not by address: who the dropped packets come from shows only in a log of them
(deny_log). A terminal is kept up to date until Ctrl-C; elsewhere one sample over a second is printed.

With --json each line is one object: seconds (since the line before), and for each origin in dropped, for processed
and never_block: packets and bytes in all, packets_per_second, bytes_per_second.

examples:
  fwbouncer top
  fwbouncer top --once
  fwbouncer top --json --every 10 --count 6
"""


def _arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--once", action="store_true", help="print one sample, also on a terminal")
    parser.add_argument(
        "--every", metavar="SECONDS", type=_seconds, default=1.0, help="from 0.1 to 3600; 1 unless given"
    )
    parser.add_argument("--count", metavar="N", type=int, help="end after so many samples")


def _seconds(text: str) -> float:
    try:
        seconds = float(text)
    except ValueError:
        seconds = 0.0
    if not 0.1 <= seconds <= 3600:
        raise argparse.ArgumentTypeError(f"'{clean(text[:40])}' is no number from 0.1 to 3600")
    return seconds


def _top(options: argparse.Namespace) -> int:
    live = sys.stdout.isatty() and not options.once and not options.json
    samples = options.count
    if samples is None and not live and (options.once or not options.json):
        samples = 1
    try:
        for number, sample in enumerate(_samples(options), 1):
            _show(options, sample, live=live)
            if number == samples:
                break
    except KeyboardInterrupt:
        if not live:
            raise
        print()
    return FINE


def _samples(options: argparse.Namespace) -> Iterator[dict[str, Any]]:
    from fwbouncer.control.client import ask
    from fwbouncer.control.rates import rates

    path = socket_of(options)
    before = ask(path, "traffic")
    while True:
        time.sleep(options.every)
        now = ask(path, "traffic")
        yield rates(before, now)
        before = now


def _show(options: argparse.Namespace, sample: dict[str, Any], *, live: bool) -> None:
    if options.json:
        import json

        print(json.dumps(sample), flush=True)
        return
    from fwbouncer.control.paint import wanted
    from fwbouncer.control.rates import render

    text = render(sample, color=wanted())
    if live:
        text = _HOME + _CLEAR + f"dropped packets, every {options.every:g} s; Ctrl-C ends\n\n" + text
    print(text, end="", flush=True)


COMMAND = Command(
    "top",
    "Show what is being dropped, by origin.",
    _top,
    arguments=_arguments,
    more=_MORE,
    asks=True,
    json="as JSON, an object a line",
)
