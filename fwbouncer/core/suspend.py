"""Notices that the machine has slept: the clock that counts on in sleep runs away from the one that stands still."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from fwbouncer.core.model import Millis

# Much less than a kernel set's deadline may be off before it is written anew.
_NOTABLE: Millis = 500


class Suspend:
    """Knows how far CLOCK_BOOTTIME was ahead of CLOCK_MONOTONIC when somebody last looked."""

    def __init__(self, boot: Millis, monotonic: Millis) -> None:
        self._ahead = boot - monotonic

    def slept(self, boot: Millis, monotonic: Millis) -> Millis:
        """Return for how long the machine has slept since the last notable sleep; 0 for next to nothing.

        Nobody can set these two clocks, so a date that jumps is no sleep.
        """
        ahead = boot - monotonic
        slept = ahead - self._ahead
        if slept < _NOTABLE:
            return 0
        self._ahead = ahead
        return slept
