"""Every step that there is: a function that does one thing, and says in words what; None: not now."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from tests.faults import steps_host as host
from tests.faults import steps_lapi as lapi

if TYPE_CHECKING:
    from tests.faults.world import World

Step = Callable[["World"], str | None]

# How often each is taken, in parts of their sum.
STEPS: dict[Step, float] = {
    lapi.ban: 26,
    lapi.ban_again: 10,
    lapi.ban_for_a_moment: 2,
    lapi.flood: 1,
    lapi.unban: 5,
    lapi.forget: 2,
    lapi.rebuild: 0.3,
    lapi.lose_cursors: 0.7,
    lapi.lie_once: 3,
    lapi.lie_twice: 1.2,
    lapi.break_once: 2,
    lapi.break_for_a_while: 1.5,
    lapi.hang: 1.5,
    lapi.outage: 1.7,
    lapi.cut: 0.7,
    host.vandalise: 3,
    host.flush: 1,
    host.vandalise_often: 0.5,
    host.churn: 1,
    host.terminate: 0.5,
    host.kill: 0.7,
    host.reboot: 0.4,
    host.suspend: 1.5,
    host.reload: 1.2,
    host.reload_nonsense: 0.4,
    host.list_never_block: 1,
    host.unblock: 2,
    host.cancel_unblock: 0.7,
    host.spoil_state: 0.7,
    host.fill_disk: 0.5,
}
