"""Which of a table's sets are ours, what they stand for, and how the administrator's own want to be filled."""

from __future__ import annotations

from typing import TYPE_CHECKING

from fwbouncer.core.model import NEVER_BLOCK, ONE_GROUP, Family, Kind, Layout, SetKey
from fwbouncer.errors import KernelError, NoSuchObject
from fwbouncer.kernel import nft
from fwbouncer.kernel.called import never_set

if TYPE_CHECKING:
    from fwbouncer.config.schema import Nft
    from fwbouncer.kernel.standing import Standing, StandingSet

_RANGES = "-ranges"


def target_of(place: Nft, name: str, there: StandingSet) -> SetKey | None:
    """Say what a set stands for; None for one that is not ours."""
    if there.key_type != nft.KEY_TYPE[place.family]:
        return None
    if place.set_only:
        kinds = {place.blacklists: Kind.HOSTS, place.blacklists + _RANGES: Kind.RANGES}
        kind = kinds.get(name)
        return SetKey(ONE_GROUP, place.family, kind) if kind else None
    if name == never_set(place):
        return SetKey(NEVER_BLOCK, place.family, Kind.RANGES)
    group = name.removeprefix(f"{place.blacklists}-")
    if group == name:
        return None
    if group.endswith(_RANGES):
        return SetKey(group.removesuffix(_RANGES), place.family, Kind.RANGES)
    return SetKey(group, place.family, Kind.HOSTS)


def check_given(place: Nft, table: Standing) -> None:
    """Refuse a table of the administrator's that can't be filled. Raises KernelError."""
    family = "ip" if place.family is Family.V4 else "ip6"
    if not table.exists:
        raise NoSuchObject(
            f"set-only: there is no table {family} {place.table}; "
            f"create it, with the rules that use its sets, before fwbouncer starts"
        )
    given = table.sets.get(place.blacklists)
    if given is not None and given.key_type != nft.KEY_TYPE[place.family]:
        raise KernelError(
            f"set-only: set {place.blacklists} in table {family} {place.table} holds no addresses"
        )


class Found:
    """What one reading of all tables found, gathered into the layout."""

    def __init__(self) -> None:
        self.names: dict[Family, dict[str, SetKey]] = {}
        self.unread: set[SetKey] = set()
        self._spares: set[Family] = set()
        self._mixed: set[tuple[str, Family]] = set()
        self._timeless: set[SetKey] = set()
        self._sizes: list[tuple[SetKey, int]] = []

    def take_in(self, place: Nft, table: Standing) -> dict[str, set[Kind]]:
        """Sort one table's sets; returns the groups that there are, or must be, with their kinds of sets."""
        names = self.names[place.family] = {}
        groups: dict[str, set[Kind]] = {}
        for name, there in table.sets.items():
            target = target_of(place, name, there)
            if target is not None:
                names[name] = target
                groups.setdefault(target.group, set()).add(target.kind)
                self._describe(place, target, there)
        if not place.set_only:
            self._spares.add(place.family)
        else:
            wanted = {Kind.HOSTS} if (ONE_GROUP, place.family) in self._mixed else {Kind.HOSTS, Kind.RANGES}
            groups.setdefault(ONE_GROUP, set()).update(wanted)
        return groups

    def layout(self) -> Layout:
        """Say how these sets are filled."""
        return Layout(
            flatten=True,
            mixed=frozenset(self._mixed),
            timeless=frozenset(self._timeless),
            sizes=tuple(self._sizes),
            spares=frozenset(self._spares),
            unread=frozenset(self.unread),
        )

    def _describe(self, place: Nft, target: SetKey, there: StandingSet) -> None:
        interval = bool(there.flags & nft.SET_INTERVAL)
        if place.set_only and target.kind is Kind.HOSTS and interval:
            self._mixed.add((target.group, place.family))
        if not there.flags & nft.SET_TIMEOUT:
            self._timeless.add(target)
        if there.size:
            # A range takes two places: its first address and the one behind its last.
            self._sizes.append((target, there.size // 2 if interval else there.size))
