"""What server and client of the control socket agree on: one JSON object a line, in each direction.

{"command": "status"}  ->  {"protocol": 1, ...the answer...}  or  {"protocol": 1, "error": "why not"}
"""

from __future__ import annotations

import json
from typing import Any

PROTOCOL = 1
MOST_REQUEST = 64 * 1024
MOST_REPLY = 64 * 1024 * 1024  # a list of all bans is long


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
