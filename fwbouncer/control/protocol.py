"""What server and client of the control socket agree on: one JSON object a line, in each direction.

{"command": "status"}  ->  {"protocol": 1, ...the answer...}  or  {"protocol": 1, "error": "why not"}

A list can be long, so its answer is many lines: one that says {"protocol": 1, "stream": true}, then the list's own
objects, none of which has a key "protocol", then one with it that ends the list, or says what broke it off.
"""

from __future__ import annotations

import json
from typing import Any

PROTOCOL = 1
MOST_REQUEST = 64 * 1024
MOST_REPLY = 64 * 1024 * 1024  # bytes, of an answer that is one line; or of one line of a list
UNKNOWN = "unknown command"  # how an answer to a command begins that the daemon doesn't know
MARK = b'{"protocol":'  # how a line of ours begins


def answer(**content: Any) -> bytes:
    """Write an answer, or a mark in a list, as one line; raises TypeError or ValueError as `encode` does."""
    return encode({"protocol": PROTOCOL, **content})


def encode(message: dict[str, Any]) -> bytes:
    """Write a message as one line; raises TypeError or ValueError for what JSON has no form for."""
    return json.dumps(message, separators=(",", ":")).encode() + b"\n"


def decode(line: bytes) -> dict[str, Any] | None:
    """Read one line; None when it is no JSON object."""
    try:
        message = json.loads(line)
    except (ValueError, RecursionError):
        return None
    return message if isinstance(message, dict) else None
