"""Chooses which of several LAPIs to ask: the first that answers, in the order of the configuration."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

    from fwbouncer.core.model import Millis
    from fwbouncer.lapi.endpoint import Endpoint

# How often a better one than the one in use is tried: seldom, since one that hangs delays the poll.
LOOK_BACK: Millis = 30_000


class Failover:
    """Remembers which LAPI serves us, and since when the ones before it have not been tried."""

    def __init__(self, endpoints: Sequence[Endpoint]) -> None:
        self._endpoints = tuple(endpoints)
        self._in_use: Endpoint | None = None
        self._tried: dict[Endpoint, Millis] = {}

    @property
    def in_use(self) -> Endpoint:
        """The LAPI that answered last, or the first one."""
        return self._in_use or self._endpoints[0]

    def candidates(self, now: Millis) -> list[Endpoint]:
        """List whom to ask, best first."""
        if self._in_use is None:
            return list(self._endpoints)
        at = self._endpoints.index(self._in_use)
        due = [each for each in self._endpoints[:at] if now - self._tried.get(each, now) >= LOOK_BACK]
        return [*due, *self._endpoints[at:], *(each for each in self._endpoints[:at] if each not in due)]

    def failed(self, endpoint: Endpoint, now: Millis) -> None:
        """Note that one gave no page."""
        self._tried[endpoint] = now
        if endpoint == self._in_use:
            self._in_use = None

    def answered(self, endpoint: Endpoint) -> None:
        """Note that one gave a page."""
        self._in_use = endpoint
