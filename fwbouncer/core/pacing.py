"""Decides when the LAPI is asked next, and whether for everything."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

    from fwbouncer.core.model import Millis

SECOND: Millis = 1000
FIRST_RETRY: Millis = 50
# A LAPI that starts together with us is up within seconds: until then a retry is never further off than this.
EAGER_FOR: Millis = 10 * SECOND
EAGER_RETRY: Millis = 500
SLOWEST_RETRY: Millis = 30 * SECOND
# A LAPI that was away may have come back with an older database, or be another one, so everything is asked for soon;
# but not at once: all of a LAPI's bouncers see its restart in the same second. Spread over so many times what such a
# page takes, 300 bouncers keep it as busy as one that asks again and again.
AFTER_OUTAGE = 300


class Pacing:
    """The timetable of polls. `random` returns floats from 0 up to 1; all times are on the caller's clock."""

    def __init__(self, interval: Millis, resync_interval: Millis, random: Callable[[], float]) -> None:
        self._interval = interval
        self._resync = resync_interval
        self._random = random
        self._failing_since: Millis | None = None
        self._in_step = True  # with other bouncers: those that booted with us, or saw the same outage end
        self._wait: Millis = FIRST_RETRY
        self._snapshot_due: Millis | None = None  # None: there was none yet
        self._suspicion_from: Millis = 0
        self._page_takes: Millis = 0  # a page of everything

    def succeeded(self, now: Millis) -> Millis:
        """Note a parsed page; return how long to wait for the next.

        That is about the interval; the first time and after an outage any shorter time, so that many bouncers that
        begin together don't go on asking together.
        """
        if self._failing_since is not None and self._snapshot_due is not None:
            soon = min(AFTER_OUTAGE * self._page_takes, self._resync // 4)
            self._snapshot_due = min(self._snapshot_due, now + int(soon * self._random()))
        self._failing_since = None
        self._wait = FIRST_RETRY
        in_step, self._in_step = self._in_step, False
        if self._interval < SECOND:
            return self._interval
        if in_step:
            return max(1, int(self._interval * self._random()))
        return self._spread(self._interval, 0.05)

    def failed(self, now: Millis, took: Millis = 0) -> Millis:
        """Note a poll that brought no page, and how long that lasted; return how long to wait for the next."""
        if self._failing_since is None:
            self._failing_since = now
        self._in_step = True
        eager = now - self._failing_since < EAGER_FOR
        slowest = max(SLOWEST_RETRY, self._interval)
        wait = min(self._wait, EAGER_RETRY if eager else slowest)
        self._wait = 2 * wait
        if took > EAGER_FOR:  # a LAPI that can't cope: asked again at once it would have even more to do
            wait = max(wait, min(took, slowest))
        # Downwards only, so that the promised longest wait holds.
        return max(1, int(wait * (1 - 0.25 * self._random())))

    @property
    def failing_since(self) -> Millis | None:
        """When the outage began that has not ended yet."""
        return self._failing_since

    def snapshot_taken(self, now: Millis, took: Millis) -> None:
        """Note a complete page of everything, and how long asking for it and reading it lasted."""
        self._failing_since = None
        self._page_takes = took
        self._snapshot_due = now + self._spread(self._resync, 0.1)
        # Older LAPIs need minutes of database work for it: suspicion must not keep them busy with that alone.
        self._suspicion_from = now + max(10 * self._interval, 20 * took)

    def snapshot_due(self, now: Millis, *, suspected: bool = False) -> bool:
        """Tell whether the next poll should ask for everything, by the timetable or on a suspicion."""
        if self._snapshot_due is None or now >= self._snapshot_due:
            return True
        return suspected and now >= self._suspicion_from

    def _spread(self, wait: Millis, share: float) -> Millis:
        return int(wait * (1 + share * (2 * self._random() - 1)))
