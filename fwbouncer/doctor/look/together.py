"""Runs probes side by side, for so long and no longer."""

from __future__ import annotations

import threading
import time
from typing import TYPE_CHECKING, TypeVar

from fwbouncer.doctor.facts import Unseen
from fwbouncer.doctor.look.program import CantLookError
from fwbouncer.errors import FwbouncerError

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

_T = TypeVar("_T")


def together(probes: Mapping[str, Callable[[], _T]], limit: float) -> dict[str, _T | Unseen]:
    """Run them all; what fails, or takes longer than `limit` seconds, is Unseen. Keeps the order."""
    found: dict[str, _T | Unseen] = {}

    def run(name: str, probe: Callable[[], _T]) -> None:
        try:
            found[name] = probe()
        except (CantLookError, FwbouncerError) as error:
            found[name] = Unseen(str(error))
        except OSError as error:
            where = f": {error.filename}" if error.filename else ""
            found[name] = Unseen(f"{error.strerror or error}{where}")
        except Exception as error:  # noqa: BLE001 - one probe's mistake must not cost the others' findings
            found[name] = Unseen(f"{type(error).__name__} in fwbouncer itself: {error}")

    # Threads that hang, on a dead file server for instance, must not keep the program from ending.
    threads = [threading.Thread(target=run, args=pair, daemon=True) for pair in probes.items()]
    for thread in threads:
        thread.start()
    deadline = time.monotonic() + limit
    for thread in threads:
        thread.join(max(0.0, deadline - time.monotonic()))
    late = Unseen(f"no answer within {limit:g} s")
    return {name: found.get(name, late) for name in probes}
