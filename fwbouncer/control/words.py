"""Numbers, times and foreign texts in words, for pages that commands print."""

from __future__ import annotations

import math
from collections.abc import Mapping


def span(seconds: object) -> str:
    """Write a time as people say it: `0.4 s`, `3 min 20 s`, `2 d 4 h`."""
    amount = number(seconds)
    if amount < 60:
        return f"{amount:.1f} s" if amount < 10 else f"{amount:.0f} s"
    for size, unit, smaller_size, smaller in (
        (86400, "d", 3600, "h"),
        (3600, "h", 60, "min"),
        (60, "min", 1, "s"),
    ):
        if amount >= size:
            rest = int(amount % size // smaller_size)
            return f"{int(amount // size)} {unit}" + (f" {rest} {smaller}" if rest else "")
    return "?"


def traffic(value: object) -> str:
    """Write packets and their bytes."""
    known = value if isinstance(value, Mapping) else {}
    return f"{count(known.get('packets'))} packets, {size(known.get('bytes'))}"


def size(value: object) -> str:
    """Write bytes: `40 B`, `1.5 kB`."""
    amount = number(value)
    power = 0
    while amount >= 1000 and power < 5:
        amount, power = amount / 1000, power + 1
    return f"{amount:.{1 if power else 0}f} {('B', 'kB', 'MB', 'GB', 'TB', 'PB')[power]}"


def number(value: object) -> float:
    """Return a finite number whatever another version sent; json reads NaN and Infinity, and huge whole numbers."""
    try:
        amount = float(value) if isinstance(value, int | float) else 0.0
    except OverflowError:
        return 0.0
    return amount if math.isfinite(amount) else 0.0


def count(value: object, *, grouped: bool = True) -> str:
    """Write a whole number; `?` for what is none."""
    return "?" if not isinstance(value, int) else f"{value:,}" if grouped else f"{value}"


def clean(value: object) -> str:
    """Make a text safe for a terminal; origins and scenarios come from the network."""
    return "".join(char if char.isprintable() else ascii(char)[1:-1] for char in str(value))[:500]
