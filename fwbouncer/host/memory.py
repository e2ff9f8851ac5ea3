"""Memory after the first load: gives back what only the loading needed."""

from __future__ import annotations

import ctypes
import gc


def settle() -> None:
    """Return free memory to the system, and spare the collector what is there to stay."""
    gc.collect()
    gc.freeze()
    try:
        ctypes.CDLL(None).malloc_trim(0)
    except (OSError, AttributeError):
        pass  # another C library than glibc
