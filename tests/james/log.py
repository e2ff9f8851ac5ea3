"""What James has written so far, and when."""

from __future__ import annotations

import ipaddress
import json
import re
import time
from datetime import datetime
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path


def in_java(address: str) -> str:
    """Return an address as Java prints it: an IPv6 one with all its zeros."""
    parsed = ipaddress.ip_address(address)
    return (
        str(parsed)
        if parsed.version == 4
        else ":".join(f"{int(w, 16):x}" for w in parsed.exploded.split(":"))
    )


class JamesLog:
    """James's log in JSON."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def times(self, text: str, address: str) -> list[int]:
        """Return when each line was written that has this text and address, in nanoseconds since 1970.

        James writes the time in milliseconds, so a line may be up to one younger.
        """
        named = re.compile(rf"(?<![0-9a-f.:]){re.escape(in_java(address))}(?![0-9a-f.])")
        whole, _, _ = self._path.read_text().rpartition("\n")  # the last line may still be on its way
        lines = [line for line in whole.split("\n") if text in line and named.search(line)]
        return [_nanoseconds(json.loads(line)["timestamp"]) for line in lines]

    def wait_for(self, text: str, address: str, number: int, within: float = 60) -> int:
        """Return when the so-manieth such line was written, once it has been."""
        deadline = time.monotonic() + within
        while len(found := self.times(text, address)) < number:
            assert time.monotonic() < deadline, (
                f"James has written {len(found)} lines {text!r} about {address}"
            )
            time.sleep(0.02)
        return found[number - 1]


def _nanoseconds(timestamp: str) -> int:
    return round(datetime.fromisoformat(timestamp).timestamp() * 1000) * 1_000_000
