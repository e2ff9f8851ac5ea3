"""ipsets have a size; who doesn't fit in isn't blocked."""

from __future__ import annotations

from typing import TYPE_CHECKING

from fwbouncer.config.schema import Mode
from fwbouncer.doctor.checks.mending import RESTART, configure
from fwbouncer.doctor.facts import Unseen
from fwbouncer.doctor.finding import Finding, fine, problem, warning

if TYPE_CHECKING:
    from collections.abc import Iterator

    from fwbouncer.doctor.facts import Facts

_NEARLY = 0.8


def check(facts: Facts) -> Iterator[Finding]:
    """Tell which are full, or nearly."""
    config = facts.config
    if config is None or config.mode not in (Mode.IPTABLES, Mode.IPSET) or isinstance(facts.xtables, Unseen):
        return
    tight = False
    for name, (held, most) in sorted(facts.xtables.sizes.items()):
        if not most or held < _NEARLY * most:
            continue
        tight = True
        full = held >= most
        larger = 1 << (2 * most - 1).bit_length()
        yield (problem if full else warning)(
            "capacity.full" if full else "capacity.nearly-full",
            f"ipset {name} holds {held:,} of at most {most:,} elements",
            "Those for whom there is no place are not blocked.",
            *configure(facts, f"ipset_size: {larger}")[:2],
            RESTART,
        )
    if facts.xtables.sizes and not tight:
        yield fine("capacity.enough", "the ipsets have room")
