"""How hard the tests that draw examples look: the same each time, or with FWBOUNCER_FUZZ=N N times as many, all new.

What is drawn anew can find what nobody has seen yet, and that must not decide whether today's change is taken.
"""

from __future__ import annotations

import os

from hypothesis import settings

_TIMES = int(os.environ.get("FWBOUNCER_FUZZ", "0"))


def use() -> None:
    """Make it the way of every test that says nothing else. Machines are slow at times: no example has a deadline."""
    settings.register_profile("fwbouncer", deadline=None, derandomize=_TIMES == 0, max_examples=examples(100))
    settings.load_profile("fwbouncer")


def examples(usually: int) -> int:
    """Return how many examples to draw where it is usually so many."""
    return usually * max(_TIMES, 1)
