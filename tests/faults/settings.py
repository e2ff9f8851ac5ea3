"""The ways in which the program is run under faults."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Protocol

from tests.faults.terms import Tolerance
from tests.faults.vandal import Vandal

if TYPE_CHECKING:
    import random
    from collections.abc import Callable, Sequence
    from pathlib import Path

    from tests.lab.net import Host


class Others(Protocol):
    """Whoever else changes the kernel of the mail host."""

    def act(self) -> tuple[str, bool]:
        """Do something bad to what is ours; return what, and whether the kernel let it happen."""

    def flush(self) -> None:
        """Take everything out of the kernel."""

    def churn(self, seconds: float) -> None:
        """Change what is not ours as fast as it goes, for a while."""

    def left(self) -> list[str]:
        """Return what in the kernel is ours."""

    def make_theirs(self) -> None:
        """Put something into the kernel that is not ours."""

    def theirs(self) -> bool:
        """Say whether that stands as it was made."""


@dataclass(frozen=True, slots=True)
class Setting:
    """One way. `changes` is what a reload may change, and to what."""

    name: str
    others: Callable[[Host, random.Random], Others]
    changes: dict[str, Sequence[Any]]
    owned: bool = False
    keeps: bool = False  # the kernel is left as it is at a stop
    tolerance: Tolerance = field(default_factory=Tolerance)
    settings: dict[str, Any] = field(default_factory=dict)
    environment: Callable[[Path], dict[str, str]] = lambda _: {}


_CHANGES: dict[str, Sequence[Any]] = {
    "deny_log": (True, False, False),
    "deny_action": ("DROP", "REJECT"),
    "update_frequency": ("0.05s", "0.1s"),
    "nftables_hooks": (["input"], ["input", "forward"], ["prerouting"]),
    "nftables": [
        {"ipv4": {"table": table, "priority": priority}}
        for table in ("crowdsec", "mailban")
        for priority in (-10, -5)
    ],
}
SETTINGS = {
    each.name: each
    for each in (
        Setting("unowned", Vandal, _CHANGES),
        Setting("owned", Vandal, _CHANGES, owned=True),
        Setting("kept", Vandal, _CHANGES, keeps=True, settings={"on_stop": "keep"}),
    )
}
