"""One family in iptables mode: its sets, its rules, and the order in which they change together."""

from __future__ import annotations

import logging
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING

from fwbouncer.core.model import NEVER_BLOCK, PROCESSED, Family, Holding, Kind, SetChange, SetKey
from fwbouncer.core.names import parts
from fwbouncer.errors import KernelBusy, KernelError, NoSuchObject
from fwbouncer.kernel import ipset, iptables
from fwbouncer.kernel.backend import Counted, Held
from fwbouncer.kernel.iptables import FILTER, RAW, Skeleton
from fwbouncer.kernel.iptables_skeleton import jumps, skeletons
from fwbouncer.kernel.xtables_names import Names
from fwbouncer.kernel.xtables_rules import Ruleset

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    from fwbouncer.config.schema import Config
    from fwbouncer.kernel.ipset_list import Header
    from fwbouncer.kernel.ipset_socket import Ipsets, IpsetSocket
    from fwbouncer.kernel.ipset_store import SetStore
    from fwbouncer.kernel.xtables import Filter

log = logging.getLogger(__name__)

# A rule of iptables-nft lets go of its set a moment after it is gone: the kernel frees it in the background.
_DESTROY_TRIES, _DESTROY_PAUSE = 100, 0.01


@dataclass(frozen=True, slots=True)
class Means:
    """What a side works with."""

    tables: Mapping[str, Filter]
    sets: Ipsets
    store: SetStore
    sleep: Callable[[float], None] = time.sleep


class Side:
    """One family's sets and rules."""

    def __init__(self, config: Config, family: Family, means: Means) -> None:
        self.family = family
        self._config = config
        self._rules = Ruleset(family, means.tables)
        self._sets, self._store, self._sleep = means.sets, means.store, means.sleep
        self._names = Names(config.blacklists[family])
        self._there: dict[str, Header] = {}  # our sets in the kernel
        self._left: dict[str, int] = {}  # sets that stand for themselves, with their sizes
        self._stray: set[str] = set()  # sets of ours that nothing of ours uses
        self._stuck: set[str] = set()  # those that can't be destroyed
        self._warned: set[str] = set()

    def dump(self) -> Holding:
        """Read the rules and the sets."""
        self._look()
        every = set(self._sets.names())
        origins = self._rules.origins()
        self._names.claim(origins)
        self._there = {name: self._sets.header(name) for name in every if self._names.is_ours(name)}
        self._names.recognise(self._there, origins, self._fits)
        self._stray = self._there.keys() - set(self._names.of.values())
        self._stray |= set(filter(self._names.is_temporary, every))
        held = {g: self._store.read(name) for g, name in self._names.of.items() if name in self._there}
        known = self._config.policies.know
        left = (group for group in held if self._names.is_leftover(group) or not known(group))
        self._left = {group: len(held[group]) for group in left}
        return {SetKey(group, self.family, Kind.HOSTS): some for group, some in held.items()}

    def faults(self) -> list[str]:
        """Say what is wrong with the rules and sets, as far as the last look goes."""
        gone = [f"ipset {name} is gone" for name in self._names.of.values() if name not in self._there]
        over = sorted(self._stray - self._stuck) + [name for name, size in self._left.items() if not size]
        return [*gone, *(f"ipset {name} is left over" for name in over), *self._rule_faults()]

    def apply(self, part: dict[str, SetChange]) -> None:
        """Carry out a change: first what blocks more, then the rules, then what blocks less."""
        none = SetChange()
        leaving = {g: part.get(g, none) for g in self._left}
        done = {g for g, p in leaving.items() if len(p.remove) >= self._left[g] and not (p.add or p.renew)}
        for group in part:
            if group not in self._names.of:
                self._names.give(group, self._there)
        names = {group: name for group, name in self._names.of.items() if group not in done}
        for group, name in names.items():
            if name not in self._there:
                self._create(name, *self._make(group))
        if NEVER_BLOCK in part:  # whoever is let pass is so before the bans bite
            self._store.write(names[NEVER_BLOCK], SetChange(add=part[NEVER_BLOCK].add))
            self._rules.mend(self._wanted(self._names.of))
        changes = [(names[group], change) for group, change in part.items() if group in names]
        for name, change in changes:
            self._store.write(name, SetChange(add=change.add, renew=change.renew))
        self._rules.mend(self._wanted(names))
        for name, change in changes:
            if change.remove:
                self._store.write(name, SetChange(remove=change.remove))
        for group in done:
            self._stray.add(self._names.of.pop(group))
            del self._left[group]
        self._sweep()

    def disturbed(self) -> list[str]:
        """Look cheaply; say what somebody else changed."""
        found: list[str] = []
        if self._rules.moved():
            self._look()
            found = self._rule_faults()
        return [*found, *filter(None, map(self._store.disturbed, self._names.of.values()))]

    def counters(self) -> Iterator[Counted]:
        """Read what the rules dropped, and what passed by them."""
        # A copy first: counters are read while another thread may be writing.
        groups = {name: group for group, name in list(self._names.of.items())}
        jumps: dict[str, list[Counted]] = {}
        for table, chain, line in self._rules.counted():
            part, packets, size = f"{table} {chain}", line.packets, line.bytes
            matched = iptables.set_of(line.rule)
            if matched is not None and matched[0] in groups and groups[matched[0]] != NEVER_BLOCK:
                origin = parts(groups[matched[0]])[0]
                yield Counted(origin, self.family, packets, size, part=f"{part} {matched[0]}")
            elif line.rule == iptables.JUMP:
                jumps.setdefault(table, []).append(Counted(PROCESSED, self.family, packets, size, part=part))
        # What the table raw let pass is seen again in the table filter.
        yield from jumps.get(RAW, jumps.get(FILTER, ()))

    def holders(self, sets: IpsetSocket, address: bytes) -> Iterator[Held]:
        """Ask the kernel which sets hold an address, and which rules use those."""
        holding = {name: group for group, name in list(self._names.of.items()) if sets.holds(name, address)}
        every = list(self._rules.every()) if holding else []
        for name, group in holding.items():
            using = ((chain, rule) for chain, rule in every if (iptables.set_of(rule) or ("",))[0] == name)
            rules = [f"{chain}: {iptables.join(rule)}" for chain, rule in using]
            yield Held(SetKey(group, self.family, Kind.HOSTS), f"ipset {name}", None, tuple(rules))

    def remove(self) -> None:
        """Take out the jumps, the chains and then the sets, which can't go while a rule uses them."""
        self._rules.look()
        self._names.claim(self._rules.origins())
        self._rules.remove()
        ours = (self._names.is_ours, self._names.is_temporary)
        self._stray = {name for name in self._sets.names() if any(test(name) for test in ours)}
        self._stuck.clear()
        self._names.of.clear()
        self._sweep()

    def timeless(self) -> frozenset[SetKey]:
        """Return the sets that were made without timeouts."""
        names = self._names.of.items()
        bare = [g for g, name in names if name in self._there and not self._there[name].timeouts]
        return frozenset(SetKey(group, self.family, Kind.HOSTS) for group in bare)

    def _look(self) -> None:
        self._rules.look()
        table = self._rules.chains(FILTER)
        named, family = jumps(self._config, self.family), f"IPv{self.family.value}"
        if named and iptables.DOCKER in table and iptables.DOCKER not in named:
            self._warn(
                f"{iptables.DOCKER} exists for {family}, and iptables_chains doesn't name it: "
                "packets to containers' published ports are not checked"
            )
        for chain in named:
            if chain not in table:
                self._warn(f"there is no chain {chain} for {family}; it will be used once it appears")

    def _warn(self, text: str) -> None:
        if text not in self._warned:
            self._warned.add(text)
            log.warning("%s", text)

    def _wanted(self, names: dict[str, str]) -> dict[str, Skeleton]:
        return skeletons(self._config, self.family, sorted((name, group) for group, name in names.items()))

    def _rule_faults(self) -> list[str]:
        return self._rules.faults(self._wanted(self._names.of))

    def _make(self, group: str) -> tuple[str, bool]:
        """Return the type of a group's set, and whether it has timeouts."""
        # What is never blocked are networks, too, some of them for a time, however the bans' sets are made.
        ours = self._config.iptables
        return ("hash:net", True) if group == NEVER_BLOCK else (ours.ipset_type, ours.ipset_timeouts)

    def _fits(self, name: str, group: str) -> bool:
        there = self._there[name]
        return (there.family, (there.type, there.timeouts)) == (self.family, self._make(group))

    def _create(self, name: str, kind: str, timeouts: bool) -> None:
        size = self._config.iptables.ipset_size
        self._sets.run(ipset.create(name, kind, self.family, size, timeouts=timeouts))
        self._store.forget(name)
        self._store.read(name)
        self._there[name] = self._sets.header(name)

    def _sweep(self) -> None:
        for name in sorted(self._stray - self._stuck):
            try:
                self._destroy(name)
            except KernelError as error:  # a rule of somebody else's uses it: theirs to end
                self._stuck.add(name)
                log.warning("%s", error)

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
        self._stray.discard(name)
