"""Memory around a load: keeps the collector out of it, and gives back what only the loading needed."""

from __future__ import annotations

import ctypes
import gc
from contextlib import suppress


def hold() -> None:
    """Collect nothing while what is there to stay comes in: the collector would look at all of it again and again."""
    gc.disable()


def resume() -> None:
    """Collect as usual."""
    gc.enable()


def settle() -> None:
    """Return free memory to the system, and spare the collector what is there to stay. For once, after the start."""
    resume()
    gc.collect()
    gc.freeze()
    trim()


def trim() -> None:
    """Return free memory to the system."""
    with suppress(OSError, AttributeError):  # another C library than glibc
        ctypes.CDLL(None).malloc_trim(0)
