"""Which ipset holds which group, in one family.

A set's name is only a number; which group it holds stands in its rule's comment, and is remembered while we run.
A set that can't be told, or is of the wrong make, becomes a group of its own, named as it is: it keeps blocking
until the daemon, which wants nothing of such a group, has everything in other sets and takes it out of this one.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from fwbouncer.core.model import NEVER_BLOCK
from fwbouncer.core.names import parts, set_group
from fwbouncer.core.policy import NAME as POLICY
from fwbouncer.kernel.ipset_store import temporary_name

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Mapping

_LIMIT = 1000  # numbers of up to three digits fit behind the longest name that the configuration allows


class Names:
    """Group -> set name."""

    def __init__(self, base: str) -> None:
        self._base = base
        self._pass = f"{base}-ok"
        self._ours = re.compile(rf"{re.escape(base)}-(?:0|[1-9]\d{{0,2}}|ok)", re.ASCII)
        self._temporary = {temporary_name(f"{base}-{n}") for n in (*range(_LIMIT), "ok")}
        self._earlier: set[str] = set()
        self.of: dict[str, str] = {}

    def claim(self, origins: Mapping[str, str | None]) -> None:
        """Learn from the rules in our chain of sets that had another name in an earlier configuration."""
        self._earlier = {
            name for name, origin in origins.items() if origin and not self._ours.fullmatch(name)
        }

    def is_ours(self, name: str) -> bool:
        """Tell a name that only we give, this run or an earlier one."""
        return self._ours.fullmatch(name) is not None or name in self._earlier

    def is_temporary(self, name: str) -> bool:
        """Tell the name of a set that another was to be grown through."""
        return name in self._temporary

    def is_leftover(self, group: str) -> bool:
        """Tell a group that stands for a set of unknown or unfit content."""
        return self.of.get(group) == group and self.is_ours(group)

    def recognise(
        self,
        there: Collection[str],
        origins: Mapping[str, str | None],
        fits: Callable[[str, str], bool],
    ) -> None:
        """Match the sets that are there with groups: by memory, then by the origins in our comments."""
        known = {group: name for group, name in self.of.items() if not self.is_leftover(group)}
        self.of = {group: name for group, name in known.items() if name not in there or fits(name, group)}
        for name in sorted(set(there) - set(self.of.values())):
            origin = origins.get(name)
            group = NEVER_BLOCK if name == self._pass else _group(origin) if origin else name
            if group != name and group not in self.of and name not in self._earlier and fits(name, group):
                self.of[group] = name
            elif name in origins and name != self._pass:  # a leftover's rule drops
                self.of[name] = name

    def give(self, group: str, taken: Collection[str]) -> str:
        """Give a group a name, the lowest number that is free; who is never blocked has a name of its own."""
        if group == NEVER_BLOCK:
            self.of[group] = self._pass
            return self._pass
        taken = set(taken) | set(self.of.values())
        names = (f"{self._base}-{n}" for n in range(_LIMIT))
        name = self.of[group] = next(name for name in names if name not in taken)
        return name


def _group(origin: str) -> str:
    """Name the group of an origin as a comment tells it; the incumbent writes a list as "lists:name".

    Behind a slash stands a policy's name.
    """
    name, policy = parts(origin)
    if POLICY.fullmatch(policy) and set_group(name, "") == name:
        return origin
    kind, colon, name = origin.partition(":")
    return set_group("lists", name) if colon and kind == "lists" else set_group(origin, "")
