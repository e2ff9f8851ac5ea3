"""Writes the decisions in force as JSON lines, a slice at a time, so that a million of them stop nothing else."""

from __future__ import annotations

import asyncio
import json
import socket
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from fwbouncer.core.addresses import read
from fwbouncer.core.model import AddressKey, Family, Label, Millis
from fwbouncer.core.names import parts
from fwbouncer.core.selection import Claim, Selection, Sieve
from fwbouncer.errors import ControlError

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator

    from fwbouncer.core.book import Book

# Claims that are looked at, and written, in one go: some milliseconds each.
_SLICE, _AT_ONCE = 16_384, 2048
_FAMILIES = {4: socket.AF_INET, 16: socket.AF_INET6}
_MANY = 10_000  # texts that are remembered


class Dates:
    """Turns times on our clock into dates."""

    def __init__(self, wall: Millis, boot: Millis) -> None:
        self.now = boot
        self._ahead = wall - boot
        self._minutes: dict[int, str] = {}

    def left(self, deadline: Millis) -> int:
        """Return the whole seconds until then."""
        return max(0, deadline - self.now) // 1000

    def text(self, deadline: Millis) -> str:
        """Return the date as RFC 3339 writes it, in UTC."""
        minute, second = divmod((deadline + self._ahead) // 1000, 60)
        known = self._minutes.get(minute)
        if known is None:
            if len(self._minutes) > _MANY:
                self._minutes.clear()
            known = self._minutes[minute] = time.strftime("%Y-%m-%dT%H:%M:", time.gmtime(minute * 60))
        return f"{known}{second:02d}Z"


class Lines:
    """Writes claims as JSON objects. The part that a label fills is written once for all its claims."""

    def __init__(self, dates: Dates) -> None:
        self._dates = dates
        self._tails: dict[int, tuple[Label, str]] = {}

    def line(self, claim: Claim) -> str:
        """Write one, with its newline."""
        decision, key, deadline, label = claim
        known = self._tails.get(id(label))
        if known is None:
            if len(self._tails) > _MANY:
                self._tails.clear()
            known = self._tails[id(label)] = (
                label,
                json.dumps(_why(label), separators=(",", ":"))[1:] + "\n",
            )
        number = decision if decision >= 0 else "null"
        return (
            f'{{"id":{number},"value":"{value(key)}","until":"{self._dates.text(deadline)}",'
            f'"left":{self._dates.left(deadline)},{known[1]}'
        )


def value(key: AddressKey) -> str:
    """Write an address or network; faster than `shown`."""
    size = len(key) & ~1
    text = socket.inet_ntop(_FAMILIES[size], key[:size])
    return f"{text}/{key[size]}" if len(key) > size else text


def _why(label: Label) -> dict[str, str]:
    policy = parts(label.group)[1] or "default"
    return {"origin": label.origin, "scenario": label.scenario, "type": label.type, "policy": policy}


@dataclass(frozen=True, slots=True)
class Asked:
    """What a list is to hold, and how many of them at most."""

    selection: Selection
    most: int


def asked(request: dict[str, Any], now: Millis) -> Asked:
    """Read a request; raises ControlError with what is wrong in it."""
    texts = {name: request.get(name, "") for name in ("origin", "scenario", "type")}
    if not all(isinstance(text, str) and len(text) < 1000 for text in texts.values()):
        raise ControlError("origin, scenario and type are texts")
    family, seconds, most = request.get("family"), request.get("within"), request.get("limit")
    if family not in (None, 4, 6):
        raise ControlError("family is 4 or 6")
    if seconds is not None and not (isinstance(seconds, int | float) and 0 < seconds < 1e9):
        raise ControlError("within is a number of seconds")
    if most is not None and not (isinstance(most, int) and most > 0):
        raise ControlError("limit is a whole number")
    wanted = Selection(
        **texts,
        family=Family(family) if family else None,
        within=address(request["range"]) if "range" in request else None,
        before=None if seconds is None else now + int(seconds * 1000),
    )
    return Asked(wanted, most or 1 << 62)


def address(text: object) -> AddressKey:
    """Read an address or network; raises ControlError with what is wrong."""
    try:
        return read(str(text)[:100])  # the error repeats it
    except ValueError as error:
        raise ControlError(str(error)) from None


async def pieces(book: Book, what: Asked, dates: Dates) -> AsyncGenerator[bytes, None]:
    """Yield the lines of what is asked for, in the order in which the decisions came."""
    lines, sieve, left = Lines(dates), Sieve(what.selection), what.most
    found = list(sieve.around(book.ledger))
    at = 0
    while left > 0:
        if found:
            some = found[: min(left, _AT_ONCE)]
            found = found[len(some) :]
            left -= len(some)
            yield "".join(map(lines.line, some)).encode()
        elif at < book.ledger.rows:
            found = list(sieve.sift(book.ledger.section(at, at + _SLICE)))
            at += _SLICE
            await asyncio.sleep(0)
        else:
            return
