"""What our sets, counters and chains are called."""

from __future__ import annotations

from typing import TYPE_CHECKING

from fwbouncer.core.model import NEVER_BLOCK, Kind
from fwbouncer.core.names import parts

if TYPE_CHECKING:
    from fwbouncer.config.schema import Nft
    from fwbouncer.core.model import SetKey

_BY = "-by-"


def set_name(place: Nft, target: SetKey) -> str:
    """Return the kernel's name for a set."""
    if target.group == NEVER_BLOCK:
        return never_set(place)
    base = place.blacklists if place.set_only else f"{place.blacklists}-{target.group}"
    return f"{base}-ranges" if target.kind is Kind.RANGES else base


def never_set(place: Nft) -> str:
    """Return the name of the set of those who are never blocked, and of its counter."""
    return f"{place.table}-{NEVER_BLOCK}"


def counter_name(place: Nft, group: str) -> str:
    """Return the name of a group's counter: one for all policies of an origin."""
    return f"{place.blacklists}-{parts(group)[0]}"


def opening_chain(place: Nft) -> str:
    """Return the name of the chain that judges what opens a connection."""
    return f"{place.chain}-opening"


def group_chain(place: Nft, group: str) -> str:
    """Return the name of the chain for those whom a group's sets hold."""
    return f"{place.chain}{_BY}{group}"


def is_of_group(place: Nft, chain: str) -> bool:
    """Tell such a chain by its name."""
    return chain.startswith(f"{place.chain}{_BY}")
