"""A timer that goes on while the machine sleeps: what was due meanwhile goes off when it wakes."""

from __future__ import annotations

import ctypes
import os
import struct
import time
from contextlib import suppress

_TFD_NONBLOCK, _TFD_CLOEXEC = os.O_NONBLOCK, os.O_CLOEXEC


class Alarm:
    """Becomes readable every so many seconds of CLOCK_BOOTTIME; a timerfd, which Python has from 3.13 on."""

    def __init__(self, seconds: float) -> None:
        libc = ctypes.CDLL(None, use_errno=True)
        self._descriptor: int = libc.timerfd_create(time.CLOCK_BOOTTIME, _TFD_NONBLOCK | _TFD_CLOEXEC)
        whole, rest = int(seconds), int(seconds % 1 * 1e9)
        # struct itimerspec: how often, and when first
        if self._descriptor < 0 or libc.timerfd_settime(
            self._descriptor, 0, struct.pack("llll", whole, rest, whole, rest), None
        ):
            raise OSError(ctypes.get_errno(), "no timer")

    def fileno(self) -> int:
        """Return the descriptor."""
        return self._descriptor

    def heard(self) -> None:
        """Be quiet until it goes off the next time."""
        with suppress(BlockingIOError):
            os.read(self._descriptor, 8)

    def close(self) -> None:
        """Stop it."""
        os.close(self._descriptor)
