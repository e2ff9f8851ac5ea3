"""What was counted, on disk: packets that were dropped before a restart are not told twice after it, nor forgotten.

The kernel's counters outlive a restart where the tables do, and begin anew where they don't. So each counter's last
reading is kept with the totals.
"""

from __future__ import annotations

import logging
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

from fwbouncer.core.model import Family
from fwbouncer.core.tally import MOST, CounterKey, Reading, Tally, Totals, Traffic
from fwbouncer.core.usage import Usage, Window
from fwbouncer.host import state
from fwbouncer.host.entries import read_entries, write_entries
from fwbouncer.host.logs import fields

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

_log = logging.getLogger("fwbouncer.metrics")

_NAME = "counters.json"
_LONGEST = 255
_NAMESPACE = Path("/proc/self/ns/net")


class CounterFile:
    """The file in a folder; without a folder nothing is kept."""

    def __init__(self, folder: Path | None) -> None:
        self._path = folder / _NAME if folder else None
        self._complained = False

    def load(self) -> tuple[Tally, Usage | None]:
        """Return what was counted and what was told; no Usage where nothing is known."""
        entries = dict(read_entries(self._path))
        if not entries:
            return Tally(), None
        try:
            totals = _totals(entries["totals"])
            last = dict(_readings(entries["last"])) if entries["kernel"] == _kernel() else {}
            usage = Usage(_totals(entries["told"]), _number(entries["since"]), _window(entries["lost"]))
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            _log.warning("%s is not used: %s", self._path, error, extra=fields("file_refused"))
            return Tally(), None
        return Tally(totals, last), usage

    def save(self, tally: Tally, usage: Usage) -> None:
        """Replace the file. Whoever calls this from a thread gives copies."""
        if self._path is None:
            return
        entries = {
            "kernel": _kernel(),
            "last": [[*_place(key), key.part, seen.life, *seen.traffic] for key, seen in tally.last.items()],
            "totals": _listed(tally.totals),
            "told": _listed(usage.told),
            "since": usage.since,
            "lost": _shown(usage.lost),
        }
        self._complained = not write_entries(self._path, entries, quiet=self._complained)


def _kernel() -> str:
    """Name the kernel's memory that counters live in: a boot and a network namespace."""
    namespace = 0
    with suppress(OSError):
        namespace = _NAMESPACE.stat().st_ino
    return f"{state.moment().boot_id.hex()}-{namespace}"


def _place(key: CounterKey | tuple[str, Family]) -> tuple[str, int]:
    return key[0], key[1].value


def _listed(totals: Totals) -> list[list[Any]]:
    return [[*_place(place), *traffic] for place, traffic in totals.items()]


def _shown(window: Window | None) -> dict[str, Any] | None:
    if window is None:
        return None
    banned = [[*_place(place), count] for place, count in window.banned.items()]
    return {"since": window.since, "until": window.until, "grown": _listed(window.grown), "banned": banned}


def _window(found: Mapping[str, Any] | None) -> Window | None:
    if found is None:
        return None
    banned = {(_text(name), Family(number)): _number(count) for name, number, count in _some(found["banned"])}
    return Window(_number(found["since"]), _number(found["until"]), _totals(found["grown"]), banned)


def _totals(rows: Iterable[Any]) -> Totals:
    return {
        (_text(name), Family(number)): Traffic(_number(packets), _number(octets))
        for name, number, packets, octets in _some(rows)
    }


def _readings(rows: Iterable[Any]) -> Iterable[tuple[CounterKey, Reading]]:
    for name, number, part, life, packets, octets in _some(rows):
        traffic = Traffic(_number(packets), _number(octets))
        yield CounterKey(_text(name), Family(number), _text(part)), Reading(_number(life), traffic)


def _some(rows: Iterable[Any]) -> list[Any]:
    found = list(rows)
    if len(found) > 4 * MOST:
        raise ValueError(f"{len(found)} rows are too many")
    return found


def _number(value: Any) -> int:
    if type(value) is not int or not 0 <= value < 2**64:
        raise ValueError("a number is none, or out of range")
    return value


def _text(value: Any) -> str:
    if not isinstance(value, str) or len(value) > _LONGEST:
        raise ValueError("a name is none, or too long")
    return value
