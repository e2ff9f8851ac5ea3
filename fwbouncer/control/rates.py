"""How many packets a second: what two readings of the counters make, and the table that `fwbouncer top` prints."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from fwbouncer.control.lines import block
from fwbouncer.control.paint import paint
from fwbouncer.control.words import clean, count, number, size

if TYPE_CHECKING:
    from collections.abc import Mapping

_HEADS = ("FROM", "PACKETS/S", "BYTES/S", "PACKETS", "BYTES")


def rates(before: Mapping[str, Any], now: Mapping[str, Any]) -> dict[str, Any]:
    """Compare two answers of the daemon. A counter that has become smaller was begun anew, at zero."""
    seconds = max(0.001, number(now.get("at")) - number(before.get("at")))
    earlier, dropped = block(before, "dropped"), block(now, "dropped")
    return {
        "seconds": round(seconds, 3),
        "dropped": {who: _rate(block(earlier, who), block(dropped, who), seconds) for who in dropped},
        "processed": _rate(block(before, "processed"), block(now, "processed"), seconds),
        "never_block": _rate(block(before, "never_block"), block(now, "never_block"), seconds),
    }


def render(sample: Mapping[str, Any], *, color: bool) -> str:
    """Write the table, who costs most first."""
    dropped = sorted(
        block(sample, "dropped").items(),
        key=lambda item: (-number(item[1].get("packets_per_second")), item[0]),
    )
    rows = [_cells(who, each) for who, each in dropped]
    rows.append(_cells("everything seen", block(sample, "processed")))
    widths = [max(map(len, column)) for column in zip(_HEADS, *rows, strict=True)]
    head = _row(_HEADS, widths)
    lines = [paint(head, "bold" if color else "")]
    for row in rows:
        busy = row is not rows[-1] and row[1] != "0"
        lines.append(paint(_row(row, widths), "red" if color and busy else ""))
    return "".join(line + "\n" for line in lines)


def _rate(before: Mapping[str, Any], now: Mapping[str, Any], seconds: float) -> dict[str, Any]:
    result: dict[str, Any] = {}
    for unit in ("packets", "bytes"):
        then, there = number(before.get(unit)), number(now.get(unit))
        result[unit] = int(there)
        result[f"{unit}_per_second"] = round((there - then if there >= then else there) / seconds, 1)
    return result


def _cells(who: str, each: Mapping[str, Any]) -> tuple[str, ...]:
    return (
        clean(who),
        f"{number(each.get('packets_per_second')):,.0f}",
        size(each.get("bytes_per_second")),
        count(each.get("packets")),
        size(each.get("bytes")),
    )


def _row(cells: tuple[str, ...], widths: list[int]) -> str:
    first, *rest = (
        f"{cell:<{width}}" if not place else f"{cell:>{width}}"
        for place, (cell, width) in enumerate(zip(cells, widths, strict=True))
    )
    return "  ".join((first, *rest))
