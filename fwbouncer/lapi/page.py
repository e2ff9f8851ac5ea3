"""Cuts the body of a decision stream into decisions while it arrives, in little memory.

The body is `{"new": [...], "deleted": [...]}` and may be hundreds of megabytes. Nothing is held but the piece
that is being read, at most one slice and one unfinished decision.
"""

from __future__ import annotations

import json
import re
from codecs import getincrementaldecoder
from math import inf
from typing import TYPE_CHECKING, Any

from fwbouncer.errors import LapiBadAnswer

if TYPE_CHECKING:
    from collections.abc import Callable, Generator, Mapping

    Reading = Generator[None, None, None]

# One million decisions are about 250 MB. A LAPI with millions of expired ones sends them in a snapshot, too.
MAX_BODY = 2**30
MAX_ROWS = 8_000_000  # 1 GiB of real decisions holds fewer; `{},{},{}` would hold 350 million
MAX_ROW = 2**20  # a longer decision spoils the page: without its end nobody can tell where the next begins
SLICE = 2**16  # about a millisecond of work: the event loop gets its turn after each

_SPACE = re.compile(r"[ \t\n\r]*", re.ASCII)


def _scanner(**options: Any) -> Callable[[str, int], tuple[Any, int]]:
    """Return the parser of one JSON value inside a longer text; typeshed doesn't know it."""
    decoder: Any = json.JSONDecoder(**options)
    scan: Callable[[str, int], tuple[Any, int]] = decoder.scan_once
    return scan


_scan = _scanner()
# The interpreter refuses whole numbers of more than 4,300 digits; one of them shall not spoil the page.
_patient_scan = _scanner(parse_int=lambda text: int(text) if len(text) < 40 else inf)


class PageParser:
    """Reads one page: `feed` it all, then `close`.

    `sinks` maps the keys that matter to functions that take a batch of raw decisions, as they complete. Both
    methods raise LapiBadAnswer once the body can't become a page; what the sinks got then counts for nothing.
    """

    def __init__(self, sinks: Mapping[str, Callable[[list[Any]], None]], max_body: int = MAX_BODY) -> None:
        self._sinks = sinks
        self._max_body = max_body
        self._size = 0
        self._rows = 0
        self._pending = bytearray()
        # Bytes that are not UTF-8 spoil the text that they stand in, and no more.
        self._utf8 = getincrementaldecoder("utf-8")("replace")
        self._text = ""
        self._at = 0  # up to here the text is read
        self._scan = _scan
        self._bulk = True  # worth trying in this text
        self._complete = False
        self._seen: set[str] = set()
        self._reading = self._page()

    def feed(self, data: bytes) -> None:
        """Read the next bytes, as many or few as there are."""
        self._size += len(data)
        if self._size > self._max_body:
            raise LapiBadAnswer(f"the answer is longer than {self._max_body} bytes")
        for start in range(0, len(data), SLICE):
            self._pending += data[start : start + SLICE]
            # Not before: each try costs a second look at an unfinished decision.
            if len(self._pending) >= SLICE // 2:
                self._advance()

    def close(self) -> None:
        """Read what is left; the body must be complete."""
        self._advance(last=True)
        if not self._complete:
            where = self._size - len(self._text) + self._at
            raise LapiBadAnswer(f"the answer breaks off or is not JSON at about byte {where} of {self._size}")
        if not self._seen:
            raise LapiBadAnswer("the answer has neither new nor deleted decisions in it")

    def _advance(self, *, last: bool = False) -> None:
        self._text = self._text[self._at :] + self._utf8.decode(self._pending, last)
        self._pending.clear()
        self._at = 0
        self._bulk = True
        try:
            next(self._reading)
        except RecursionError:
            raise LapiBadAnswer("the answer is nested too deeply") from None
        if len(self._text) - self._at > MAX_ROW:
            raise LapiBadAnswer(f"the answer is not JSON, or has a decision longer than {MAX_ROW} characters")

    # Below, a bare `yield` waits for more text.

    def _page(self) -> Reading:
        if (yield from self._peek()) != "{":
            raise LapiBadAnswer("the answer is not a JSON object")
        self._at += 1
        more = (yield from self._peek()) != "}"
        self._at += not more
        while more:
            key = yield from self._value()
            yield from self._mark(":")
            yield from self._member(key)
            more = (yield from self._mark(",}")) == ","
        self._complete = True
        while True:
            self._at = _skip_space(self._text, self._at)
            if self._at < len(self._text):
                raise LapiBadAnswer("the answer goes on behind its end")
            yield

    def _member(self, key: object) -> Reading:
        if not isinstance(key, str):
            raise LapiBadAnswer("the answer is not JSON: a name is missing")
        sink = self._sinks.get(key)
        if sink is None:
            yield from self._value()
            return
        if key in self._seen:
            raise LapiBadAnswer(f'"{key}" stands in the answer twice')
        self._seen.add(key)
        if (yield from self._peek()) == "[":
            self._at += 1
            yield from self._list(sink)
        elif (yield from self._value()) is not None:  # older LAPIs write an empty list as null
            raise LapiBadAnswer(f'"{key}" is not a list')

    def _list(self, sink: Callable[[list[Any]], None]) -> Reading:
        if (yield from self._peek()) == "]":
            self._at += 1
            return
        while True:
            yield from self._peek()
            rows = self._many() or self._several()
            if rows:
                self._count(len(rows))
                sink(rows)
                continue
            row = yield from self._value()
            self._count(1)
            sink([row])
            if (yield from self._mark(",]")) == "]":
                return

    def _many(self) -> list[Any]:
        """Parse all but the last decision of this text in one go, if its borders are plain to see."""
        cut = self._text.rfind("},{", self._at) if self._bulk else -1
        self._bulk = False
        if cut < 0:
            return []
        try:
            rows: list[Any] = json.loads(f"[{self._text[self._at : cut + 1]}]")
        except ValueError:  # the cut is inside a text, or behind the list's end
            return []
        self._at = cut + 2
        return rows

    def _several(self) -> list[Any]:
        """Parse one by one the decisions that have a comma behind them in this text."""
        text, at, scan = self._text, self._at, self._scan
        rows = []
        try:
            while True:
                row, at = scan(text, at)
                at = _skip_space(text, at)
                if text[at] != ",":
                    break
                self._at = at = _skip_space(text, at + 1)
                rows.append(row)
        except (StopIteration, ValueError, IndexError):  # unfinished, or not JSON: more text will tell
            pass
        return rows

    def _count(self, rows: int) -> None:
        self._rows += rows
        if self._rows > MAX_ROWS:
            raise LapiBadAnswer(f"the answer has more than {MAX_ROWS} decisions")

    def _value(self) -> Generator[None, None, Any]:
        """Parse one value of any kind, whole."""
        yield from self._peek()
        while True:
            try:
                value, end = self._scan(self._text, self._at)
            except (StopIteration, json.JSONDecodeError):
                yield  # unfinished, or not JSON: the limits end the waiting
                continue
            except ValueError:
                self._scan = _patient_scan
                continue
            if end < len(self._text):  # otherwise a number might go on
                self._at = end
                return value
            yield

    def _mark(self, wanted: str) -> Generator[None, None, str]:
        """Take one of these punctuation marks."""
        mark = yield from self._peek()
        if mark not in wanted:
            raise LapiBadAnswer("the answer is not JSON: a comma, colon or bracket is missing")
        self._at += 1
        return mark

    def _peek(self) -> Generator[None, None, str]:
        """Look at the next character that is no white space."""
        while True:
            self._at = _skip_space(self._text, self._at)
            if self._at < len(self._text):
                return self._text[self._at]
            yield


def _skip_space(text: str, at: int) -> int:
    """Return where white space ends that starts here, if any does."""
    space = _SPACE.match(text, at)
    return space.end() if space else at
