"""What the CrowdSec on this host knows of its bouncers, through cscli."""

from __future__ import annotations

import hashlib
import json
import re
import time
from datetime import datetime
from typing import TYPE_CHECKING, Any

from fwbouncer.doctor.facts import Bouncer, Registry
from fwbouncer.doctor.look.program import CantLookError, output

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

_VERSION = re.compile(r"v?(\d+\.\d+\.\d+)")
_BEFORE = 1.0  # seconds that a poll may take between its start, which the LAPI notes, and its answer


def look(key: str | None, last_poll: Callable[[], float | None]) -> Registry:
    """Ask cscli; `last_poll` tells when the LAPI answered our daemon last, in seconds since 1970."""
    found = _VERSION.search(output("cscli", "version", both=True))
    before = last_poll()
    rows = output("cscli", "bouncers", "list", "-o", "json")
    looked = time.time()
    after = last_poll()
    steady = before is not None and after is not None and abs(after - before) < _BEFORE
    return Registry(found[1] if found else "", parse(rows, key), looked, after if steady else None)


def parse(text: str, key: str | None) -> tuple[Bouncer, ...]:
    """Read what `cscli bouncers list -o json` prints; an empty list may be `null`."""
    digest = "" if key is None else hashlib.sha512(key.encode()).hexdigest()
    try:
        rows = json.loads(text) or []
        return tuple(_bouncer(row, digest) for row in rows)
    except (ValueError, TypeError, AttributeError):
        raise CantLookError("cscli prints what can't be understood") from None


def _bouncer(row: Mapping[str, Any], digest: str) -> Bouncer:
    # Old releases list what the LAPI keeps of a key, its SHA-512.
    kept = row.get("api_key")
    return Bouncer(
        name=str(row.get("name") or ""),
        kind=str(row.get("type") or ""),
        version=str(row.get("version") or ""),
        address=str(row.get("ip_address") or ""),
        last_pull=_moment(row.get("last_pull")),
        ours=kept == digest if kept else None,
    )


def _moment(text: object) -> float | None:
    """Read Go's time, which may have nine digits behind the point; Python reads six."""
    if not isinstance(text, str):
        return None
    try:
        moment = datetime.fromisoformat(re.sub(r"(\.\d{6})\d+", r"\1", text))
    except ValueError:
        return None
    return moment.timestamp() if moment.year > 1 else None  # Go's zero time: never
