"""Times as they are given to commands."""

from __future__ import annotations

from fwbouncer.errors import ConfigError
from fwbouncer.exits import clean


def seconds(text: str, flag: str, longest: int) -> float:
    """Read a time like 90s, 1h30m or 7d; raises ConfigError for none, or one of more than so many days."""
    import re  # noqa: PLC0415 - few commands take a time

    from fwbouncer.core.duration import nanoseconds  # noqa: PLC0415

    days = re.fullmatch(r"([0-9]{1,5})d", text, re.ASCII)
    length = int(days[1]) * 86400 * 10**9 if days else nanoseconds(text)
    if length is None or not 0 < length <= longest * 86400 * 10**9:
        raise ConfigError(
            f"{flag}: '{clean(text[:60])}' is no time up to {longest}d; write one like 30m, 1h or 7d"
        )
    return length / 10**9
