"""One family in iptables mode: which set holds which group, and the rules and sets that go with that.

A set's name is only a number; which group it holds stands in the comment of its rule, and is remembered while we run.
A set that can't be told, or is of the wrong make, becomes a group of its own, named as it is: it keeps blocking until
the daemon, which wants nothing of such a group, has put everything into other sets and taken it out of this one.
"""

from __future__ import annotations

import logging
import re
import time
from collections.abc import Callable, Iterator

from fwbouncer.config.schema import Config
from fwbouncer.core.model import Family, Holding, Kind, Layout, SetChange, SetKey
from fwbouncer.core.names import set_group
from fwbouncer.errors import KernelBusy, KernelError, NoSuchObject
from fwbouncer.kernel import ipset, iptables
from fwbouncer.kernel.backend import Counted
from fwbouncer.kernel.ipset import Header
from fwbouncer.kernel.ipset_socket import Ipsets
from fwbouncer.kernel.ipset_store import SetStore, temporary_name
from fwbouncer.kernel.iptables import Skeleton, Table
from fwbouncer.kernel.iptables_skeleton import skeleton
from fwbouncer.kernel.xtables import Filter

log = logging.getLogger(__name__)

_NUMBERS = 1000  # what fits behind the longest name that the configuration allows
# iptables-nft's rules let go of their sets a moment after they are gone: the kernel frees them in the background.
_DESTROY_TRIES, _DESTROY_PAUSE = 100, 0.01


class Side:
    """One family's sets and rules."""

    def __init__(
        self, config: Config, family: Family, rules: Filter, sets: Ipsets, store: SetStore,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:  # fmt: skip
        self.family = family
        self._config = config
        self._rules, self._sets, self._store, self._sleep = rules, sets, store, sleep
        base = re.escape(config.blacklists[family])
        self._ours = re.compile(rf"{base}-(?:0|[1-9]\d{{0,2}})", re.ASCII)
        self._names: dict[str, str] = {}  # group -> set
        self._there: dict[str, Header] = {}  # our sets in the kernel
        self._sizes: dict[str, int] = {}  # of the sets that stand for themselves
        self._stray: set[str] = set()  # sets of ours that no rule uses
        self._stuck: set[str] = set()  # those of them that can't be destroyed
        self._mark = b""
        self._table: Table = {}
        self._taken_for: tuple[Skeleton, object] | None = None
        self._warned: set[str] = set()

    def dump(self) -> Holding:
        """Read the rules and the sets."""
        self._look()
        every = self._sets.names()
        self._there = {name: self._sets.header(name) for name in every if self._ours.fullmatch(name)}
        self._recognise()
        named = set(self._names.values())
        temporary = {temporary_name(self._name(n)) for n in range(_NUMBERS)}
        self._stray = (self._there.keys() - named) | (temporary & set(every))
        holding = {
            SetKey(group, self.family, Kind.HOSTS): self._store.read(name)
            for group, name in self._names.items()
            if name in self._there
        }
        self._sizes = {key.group: len(held) for key, held in holding.items() if self._is_leftover(key.group)}
        return holding

    def faults(self) -> list[str]:
        """Say what is wrong with the rules and sets, as far as the last look goes."""
        missing = [f"ipset {name} is gone" for name in self._names.values() if name not in self._there]
        stray = [f"ipset {name} is left over" for name in self._stray - self._stuck]
        empty = [f"ipset {name} is left over" for name, size in self._sizes.items() if not size]
        return [*missing, *stray, *empty, *self._rule_faults()]

    def apply(self, part: dict[str, SetChange]) -> None:
        """Carry out a change: first what blocks more, then the rules, then what blocks less."""
        doomed = [g for g, size in self._sizes.items() if len(part.get(g, SetChange()).remove) >= size]
        for group in part:
            if group not in self._names:
                self._names[group] = self._free_name()
        for group, name in self._names.items():
            if name not in self._there and group not in doomed:
                self._create(name)
        changes = [(self._names[group], change) for group, change in part.items() if group not in doomed]
        for name, change in changes:
            self._store.write(name, SetChange(add=change.add, renew=change.renew))
        self._mend({g: name for g, name in self._names.items() if g not in doomed})
        for name, change in changes:
            if change.remove:
                self._store.write(name, SetChange(remove=change.remove))
        self._sweep(doomed)

    def disturbed(self) -> list[str]:
        """Look cheaply; say what somebody else changed."""
        found: list[str] = []
        if self._rules.mark() != self._mark:
            self._look()
            found = self._rule_faults()
        for name in self._names.values():
            wrong = self._store.disturbed(name)
            if wrong:
                found.append(wrong)
        return found

    def counters(self) -> Iterator[Counted]:
        """Read what the rules dropped, and what passed by them."""
        groups = {name: group for group, name in self._names.items()}
        packets = size = 0
        for name, chain in self._rules.save().items():
            for line in chain.lines:
                matched = iptables.set_of(line.rule) if name == iptables.CHAIN else None
                if matched is not None and matched[0] in groups:
                    yield Counted(groups[matched[0]], self.family, line.packets, line.bytes)
                elif line.rule == iptables.JUMP:
                    packets, size = packets + line.packets, size + line.bytes
        yield Counted("processed", self.family, packets, size)

    def remove(self) -> None:
        """Take out the jumps, the chains and then the sets, which can't go while a rule uses them."""
        lines = iptables.removal(self._rules.save())
        if lines:
            self._rules.restore(lines)
        self.dump()
        for name in self._there.keys() | self._stray:
            self._destroy(name)
        self._names.clear()

    def layout(self) -> Layout:
        """Say which sets there are without timeouts."""
        bare = {g for g, n in self._names.items() if n in self._there and not self._there[n].timeouts}
        return Layout(flatten=False, timeless=frozenset(SetKey(g, self.family, Kind.HOSTS) for g in bare))

    def _look(self) -> None:
        # The mark first: what changes between the two shows at the next look.
        self._mark = self._rules.mark()
        self._table = self._rules.save()
        docker = iptables.DOCKER in self._table and iptables.DOCKER not in self._skeleton(self._names).jumps
        if docker:
            self._warn(
                f"{iptables.DOCKER} exists for IPv{self.family.value}, and no chain list names it: "
                "packets to published container ports are not checked"
            )
        for chain in self._skeleton(self._names).jumps:
            if chain not in self._table:
                self._warn(
                    f"there is no chain {chain} for IPv{self.family.value}; it is used once it appears"
                )

    def _warn(self, text: str) -> None:
        if text not in self._warned:
            self._warned.add(text)
            log.warning("%s", text)

    def _skeleton(self, names: dict[str, str]) -> Skeleton:
        sets = sorted((name, group) for group, name in names.items())
        return skeleton(self._config, self.family, sets)

    def _rule_faults(self) -> list[str]:
        wanted = self._skeleton(self._names)
        if self._taken_for == (wanted, self._shape()):
            return []
        return [f"IPv{self.family.value}: {fault}" for fault in iptables.faults(self._table, wanted)]

    def _shape(self) -> object:
        return {name: chain.rules() for name, chain in self._table.items()}

    def _mend(self, names: dict[str, str]) -> None:
        wanted = self._skeleton(names)
        if self._taken_for == (wanted, self._shape()):
            return
        lines = iptables.mending(self._table, wanted)
        if not lines:
            return
        self._rules.restore(lines)
        self._look()
        odd = iptables.faults(self._table, wanted)
        self._taken_for = (wanted, self._shape()) if odd else None
        if (
            odd
        ):  # written without an error, so it stands; another release of iptables may word rules otherwise
            log.warning(
                "iptables shows our rules in other words than they were written in: %s", "; ".join(odd)
            )

    def _recognise(self) -> None:
        """Find out which group each set in the kernel holds."""
        known = {name: group for group, name in self._names.items() if not self._is_leftover(group)}
        chain = self._table.get(iptables.CHAIN, iptables.Chain())
        matched = dict(filter(None, map(iptables.set_of, chain.rules())))
        self._names = {group: name for name, group in known.items() if self._fits(name)}
        for name in sorted(self._there.keys() - set(self._names.values())):
            origin = matched.get(name)
            group = _group(origin) if origin else name
            if self._fits(name) and group != name and group not in self._names:
                self._names[group] = name
            elif name in matched:
                self._names[name] = name

    def _fits(self, name: str) -> bool:
        there, ours = self._there.get(name), self._config.iptables
        if there is None:
            return True
        return (there.type, there.family, there.timeouts) == (
            ours.ipset_type,
            self.family,
            ours.ipset_timeouts,
        )

    def _is_leftover(self, group: str) -> bool:
        return self._ours.fullmatch(group) is not None and self._names.get(group) == group

    def _name(self, number: int) -> str:
        return f"{self._config.blacklists[self.family]}-{number}"

    def _free_name(self) -> str:
        taken = self._there.keys() | set(self._names.values())
        return next(name for n in range(_NUMBERS) if (name := self._name(n)) not in taken)

    def _create(self, name: str) -> None:
        ours = self._config.iptables
        message = ipset.create(
            name, ours.ipset_type, self.family, ours.ipset_size, timeouts=ours.ipset_timeouts
        )
        self._sets.run(message)
        self._there[name] = self._sets.header(name)

    def _sweep(self, doomed: list[str]) -> None:
        for group in doomed:
            self._stray.add(self._names.pop(group))
            self._sizes.pop(group, None)
        for name in sorted(self._stray - self._stuck):
            try:
                self._destroy(name)
            except KernelError as error:  # a rule of somebody else's uses it: theirs to end
                self._stuck.add(name)
                log.warning("%s", error)
            else:
                self._stray.discard(name)

    def _destroy(self, name: str) -> None:
        for left in reversed(range(_DESTROY_TRIES)):
            try:
                self._sets.run(ipset.destroy(name))
            except NoSuchObject:
                break
            except KernelBusy:
                if not left:
                    raise
                self._sleep(_DESTROY_PAUSE)
            else:
                break
        self._store.forget(name)
        self._there.pop(name, None)


def _group(origin: str) -> str:
    """Name the group of an origin as a rule's comment tells it; the incumbent writes lists as "lists:name"."""
    kind, colon, name = origin.partition(":")
    return set_group("lists", name) if colon and kind == "lists" else set_group(origin, "")
