"""Memory after a load: gives back what only the loading needed."""

from __future__ import annotations

import ctypes
import gc
from contextlib import suppress


def settle() -> None:
    """Return free memory to the system, and spare the collector what is there to stay. For once, after the start."""
    gc.collect()
    gc.freeze()
    trim()


def trim() -> None:
    """Return free memory to the system."""
    with suppress(OSError, AttributeError):  # another C library than glibc
        ctypes.CDLL(None).malloc_trim(0)
