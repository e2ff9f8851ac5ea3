"""The clocks of this host and of the LAPI's."""

from __future__ import annotations

from typing import TYPE_CHECKING

from fwbouncer.doctor.facts import Facts, Unseen
from fwbouncer.doctor.finding import Finding, fine, warning

if TYPE_CHECKING:
    from collections.abc import Iterator

_MOST = 5.0  # seconds


def check(facts: Facts) -> Iterator[Finding]:
    """Tell where they differ. The LAPI sends how long a ban still lasts, so its end is right all the same."""
    if isinstance(facts.lapis, Unseen):
        return
    for answer in facts.lapis.answers:
        if answer.skew is None:
            continue
        if abs(answer.skew) <= _MOST:
            yield fine("clock.agrees", f"the clock of {answer.name} agrees with this host's")
            continue
        ahead = "ahead of" if answer.skew > 0 else "behind"
        yield warning(
            "clock.skew",
            f"the clock of {answer.name} is {abs(answer.skew):.0f} s {ahead} this host's",
            "Bans end in time all the same, but log lines of the two don't match, certificates seem to begin late or "
            "end early, and a clock that is set while a LAPI runs makes it forget or repeat what was new.",
            "timedatectl",
            "timedatectl set-ntp true",
        )
