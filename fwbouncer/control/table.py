"""The rows that `fwbouncer list` prints, piece by piece as they come."""

from __future__ import annotations

import json
from typing import Any

from fwbouncer.control.words import clean, span

_HEADS = ("ADDRESS", "ENDS IN", "ORIGIN", "TYPE", "ID", "SCENARIO")
_LEAST = (18, 10, 8, 4, 8)
_MANY = 10_000  # texts that are remembered


class Table:
    """Columns are as wide as the first piece needs; what is wider later stands out."""

    def __init__(self, *, header: bool) -> None:
        self._header = header
        self._widths: list[int] = []
        self._clean: dict[str, str] = {}
        self._spans: dict[int, str] = {}

    def rows(self, piece: bytes) -> str:
        """Write a piece, which is whole lines of JSON."""
        objects = json.loads(
            b"[" + piece.rstrip(b"\n").replace(b"\n", b",") + b"]"
        )  # one call is faster than many
        found = [self._cells(row) for row in objects]
        if not self._widths:
            columns = list(zip(*found, strict=True))[:-1]
            self._widths = [
                max(least, *map(len, cells)) for least, cells in zip(_LEAST, columns, strict=True)
            ]
            if self._header:
                found.insert(0, _HEADS)
        a, b, c, d, e = self._widths
        return "".join(
            f"{value:{a}}  {left:{b}}  {origin:{c}}  {kind:{d}}  {number:{e}}  {scenario}\n"
            for value, left, origin, kind, number, scenario in found
        )

    def _cells(self, row: dict[str, Any]) -> tuple[str, str, str, str, str, str]:
        number = row.get("id")
        return (
            self._text(row.get("value")),
            self._span(row.get("left")),
            self._text(row.get("origin")),
            self._text(row.get("type")),
            "-" if number is None else self._text(number),
            self._text(row.get("scenario")),
        )

    def _span(self, left: object) -> str:
        if not isinstance(left, int):
            return "?"
        known = self._spans.get(left)
        if known is None:
            if len(self._spans) > _MANY:
                self._spans.clear()
            known = self._spans[left] = span(left)
        return known

    def _text(self, value: object) -> str:
        text = str(value)
        if text.isalnum():
            return text
        known = self._clean.get(text)
        if known is None:
            if len(self._clean) > _MANY:
                self._clean.clear()
            known = self._clean[text] = clean(text)
        return known
