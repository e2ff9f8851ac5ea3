"""Reads durations as Go writes them: `4999h59m53s`, `38m55.633568505s`, `-17h44m25s`, `1.5s`, `0`."""

from __future__ import annotations

import re

_HOUR, _MINUTE, _SECOND = 3_600_000_000_000, 60_000_000_000, 1_000_000_000
_UNITS = {
    "h": _HOUR,
    "m": _MINUTE,
    "s": _SECOND,
    "ms": 1_000_000,
    "us": 1_000,
    "\u00b5s": 1_000,  # micro sign
    "\u03bcs": 1_000,  # Greek mu: Go takes both
    "ns": 1,
}
# What the LAPI writes nearly always; each number is short enough to need no check of its size.
_PLAIN = re.compile(r"(?:([0-9]{1,6})h)?(?:([0-9]{1,4})m)?([0-9]{1,4})s", re.ASCII)
_TERM = re.compile("([0-9]*)(?:(\\.)([0-9]*))?(h|ms|m|s|us|\u00b5s|\u03bcs|ns)", re.ASCII)
_LONGEST_TEXT = 256
_MOST = 2**63


def nanoseconds(text: str) -> int | None:
    """Return what a duration means; None for text that is no duration or lies outside Go's 64 bits."""
    plain = _PLAIN.fullmatch(text)
    if plain is not None:
        hours, minutes, seconds = plain.groups()
        return int(hours or 0) * _HOUR + int(minutes or 0) * _MINUTE + int(seconds) * _SECOND
    if len(text) > _LONGEST_TEXT:
        return None
    negative = text[:1] == "-"
    terms = text[1:] if text[:1] in ("-", "+") else text
    if terms == "0":
        return 0
    total = _sum(terms)
    if total is None or total > _MOST - (not negative):
        return None
    return -total if negative else total


def _sum(terms: str) -> int | None:
    """Add up `1h2.5m`; None where the text is anything else."""
    total, at = 0, 0
    while at < len(terms):
        term = _TERM.match(terms, at)
        if term is None:
            return None
        whole, point, fraction, unit = term.groups()
        if not whole and not fraction:
            return None
        scale = _UNITS[unit]
        total += int(whole or 0) * scale
        if point and fraction:
            total += int(fraction) * scale // 10 ** len(fraction)
        at = term.end()
    return total if terms else None
