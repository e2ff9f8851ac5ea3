"""Ports as the configuration names them: numbers, ranges, services, `all` and `james`."""

from __future__ import annotations

import re
import socket
from dataclasses import dataclass
from difflib import get_close_matches
from typing import TYPE_CHECKING

from fwbouncer.core.ports import LAST, NO_PORTS, Ports

if TYPE_CHECKING:
    from collections.abc import Iterable

# What a mail host serves. /etc/services has most of it, but not on every system, and some under other names.
SERVICES = {
    "smtp": 25, "lmtp": 24, "submission": 587, "submissions": 465, "smtps": 465,
    "imap": 143, "imaps": 993, "pop3": 110, "pop3s": 995, "sieve": 4190, "managesieve": 4190,
    "jmap": 80, "webadmin": 8000, "http": 80, "https": 443, "ssh": 22, "domain": 53,
}  # fmt: skip
_NUMBERS = re.compile(r"([0-9]{1,9})(?:\s*-\s*([0-9]{1,9}))?", re.ASCII)
_SERVICE = re.compile(r"[A-Za-z0-9][A-Za-z0-9._+-]{0,62}", re.ASCII)
_WORDS = ("all", "james")


@dataclass(frozen=True, slots=True)
class Wish:
    """One item of a list of ports; `word` is "all", "james" or nothing."""

    ports: Ports = NO_PORTS
    word: str = ""


def wish(text: str) -> Wish:
    """Read one item. Raises ValueError with what is wrong."""
    word = text.casefold()
    if word in _WORDS:
        return Wish(word=word)
    numbers = _NUMBERS.fullmatch(text)
    if numbers:
        first = int(numbers[1])
        last = int(numbers[2] or first)
        if not 0 < first <= LAST or not 0 < last <= LAST:
            raise ValueError(f"'{text}' is out of range; ports are numbers from 1 to {LAST}")
        if first > last:
            raise ValueError(f"'{text}' ends before it begins; write {last}-{first}")
        return Wish(Ports.of((first, last)))
    return Wish(Ports.of(_service(text, word)))


def fixed(text: str) -> Ports:
    """Read one item of a list in which only ports can stand, neither `all` nor `james`."""
    found = wish(text)
    if found.word:
        raise ValueError(f"'{found.word}' can't stand here; write numbers, ranges or names of services")
    return found.ports


def gathered(wishes: Iterable[Wish]) -> tuple[Ports | None, bool]:
    """Return the ports of a list, None for all of them, and whether James's own are wanted as well.

    Raises ValueError where `all` stands beside something else.
    """
    several = list(wishes)
    words = {one.word for one in several}
    if "all" in words:
        if len(several) > 1:
            raise ValueError("'all' stands beside other ports; keep it alone, or remove it")
        return None, False
    return Ports.together(one.ports for one in several), "james" in words


def _service(text: str, word: str) -> int:
    if word in SERVICES:
        return SERVICES[word]
    if _SERVICE.fullmatch(text):
        for protocol in ("tcp", "udp"):
            try:
                return socket.getservbyname(word, protocol)
            except (OSError, OverflowError):
                continue
    near = get_close_matches(word, [*SERVICES, *_WORDS], 1, 0.6)
    hint = f"did you mean {near[0]}?" if near else "write the port's number"
    short = text if len(text) <= 40 else text[:39] + "…"
    clean = "".join(char if char.isprintable() else ascii(char)[1:-1] for char in short)
    raise ValueError(f"'{clean}' is neither a port nor a known service; {hint}")
