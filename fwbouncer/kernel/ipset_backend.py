"""The backend of mode ipset: keeps the contents of the administrator's own sets, and touches no rule."""

from __future__ import annotations

import logging
from contextlib import closing
from typing import TYPE_CHECKING

from fwbouncer.core.model import (
    ONE_GROUP,
    PROCESSED,
    Change,
    Family,
    Holding,
    Kind,
    Layout,
    SetChange,
    SetKey,
)
from fwbouncer.errors import ConfigError, KernelError, NoSuchObject
from fwbouncer.kernel import iptables
from fwbouncer.kernel.backend import Clock, Counted, Held
from fwbouncer.kernel.ipset_numbers import MAX_TIMEOUT
from fwbouncer.kernel.ipset_socket import IpsetSocket
from fwbouncer.kernel.ipset_store import SetStore, growable
from fwbouncer.kernel.xtables import Xtables

if TYPE_CHECKING:
    from collections.abc import Mapping

    from fwbouncer.config.schema import Config
    from fwbouncer.kernel.ipset_list import Header

log = logging.getLogger(__name__)

PULSE = 0.75  # seconds between two looks
_TYPES = ("hash:net", "hash:ip")
_CREATE_FAMILY = {Family.V4: "inet", Family.V6: "inet6"}


class IpsetBackend:
    """One set a family. In it, exceptions and what never ends are the administrator's own."""

    def __init__(
        self,
        config: Config,
        sets: IpsetSocket,
        store: SetStore,
        rules: Mapping[Family, Xtables],
    ) -> None:
        self._config = config
        self._names = {family: config.blacklists[family] for family in config.families}
        self._sets = sets
        self._store = store
        self._rules = dict(rules)  # only for the counters
        self._there: dict[Family, Header] = {}
        self._dumped = False

    @classmethod
    def open(
        cls,
        config: Config,
        clock: Clock,
        *,
        variant: str = "",
        longest: int = MAX_TIMEOUT,
    ) -> IpsetBackend:
        """Find the kernel, and iptables for the counters, which can be missing."""
        rules: dict[Family, Xtables] = {}
        for family in config.families:
            try:
                rules[family] = Xtables(family, variant)
            except ConfigError as error:
                log.warning("no counters for IPv%d: %s", family.value, error)
        sets = IpsetSocket.open()
        return cls(config, sets, SetStore(sets, clock, longest), rules)

    def layout(self) -> Layout:
        """Say how the sets were made; one that can't grow has a size."""
        bare = [_key(family) for family, header in self._there.items() if not header.timeouts]
        fixed = [(_key(family), h.maxelem) for family, h in self._there.items() if not growable(h)]
        return Layout(flatten=False, timeless=frozenset(bare), sizes=tuple(fixed))

    def dump(self) -> Holding:
        """Read the sets."""
        self._there = {}
        holding: Holding = {}
        for family, name in self._names.items():
            try:
                header = self._sets.header(name)
                _check(header, family)
                holding[_key(family)] = self._store.read(name, keep_permanent=header.timeouts)
            except NoSuchObject:
                self._store.forget(name)
            else:
                self._there[family] = header
        self._dumped = True
        return holding

    def whole(self) -> bool:
        """Say whether all the sets are there."""
        return self._dumped and self._there.keys() == self._names.keys()

    def apply(self, change: Change) -> None:
        """Carry out a change, as far as the sets are there; raises NoSuchObject at the end if one is not."""
        if not self._dumped:
            self.dump()
        for family in self._there:
            part = change.get(_key(family), SetChange())
            if len(part):
                self._store.write(self._names[family], part)
        for family, name in self._names.items():
            if family not in self._there:
                raise NoSuchObject(
                    f"ipset {name} doesn't exist: make it, and a rule that uses it: ipset create {name} "
                    f"{self._config.iptables.ipset_type} family {_CREATE_FAMILY[family]} timeout 300 "
                    f"maxelem {self._config.iptables.ipset_size}"
                )

    def counters(self) -> list[Counted]:
        """Read the counters of the administrator's rules on our sets, and of the chains that these stand in."""
        found: list[Counted] = []
        for family, rules in self._rules.items():
            for name, chain in rules.save().items():
                lines = [line for line in chain.lines if _names_set(line.rule, self._names[family])]
                if not lines:
                    continue
                packets, size = sum(line.packets for line in lines), sum(line.bytes for line in lines)
                found.append(Counted(ONE_GROUP, family, packets, size, part=name))
                passed = (packets + chain.packets, size + chain.bytes)
                found.append(Counted(PROCESSED, family, *passed, part=name))
        return found

    def holders(self, address: bytes) -> list[Held]:
        """Ask the kernel; the rules are the administrator's."""
        family = Family.V4 if len(address) == 4 else Family.V6
        name = self._names.get(family)
        with closing(IpsetSocket.open()) as sets:
            if name is None or not sets.holds(name, address):
                return []
        return [Held(_key(family), f"ipset {name}", None, ())]

    def fileno(self) -> int | None:
        """Return None: ipset tells nobody of changes."""
        return None

    def pulse(self) -> float | None:
        """Return how soon to look again."""
        return PULSE

    def disturbed(self) -> str | None:
        """Look cheaply; also renews bans that outlast the kernel's longest timeout, a few at a time."""
        if not self._dumped:
            return None
        try:
            self._store.tend()
            found = list(filter(None, map(self._store.disturbed, self._names.values())))
        except KernelError as error:
            return str(error)
        return f"somebody ({'; '.join(found)})" if found else None

    def remove(self) -> None:
        """Take our elements out of the sets."""
        for key, elements in self.dump().items():
            self._store.write(self._names[key.family], SetChange(remove=list(elements)))

    def close(self) -> None:
        """Let go of the kernel without changing it."""
        self._sets.close()
        for rules in self._rules.values():
            rules.close()


def _key(family: Family) -> SetKey:
    return SetKey(ONE_GROUP, family, Kind.HOSTS)


def _names_set(rule: iptables.Rule, name: str) -> bool:
    matched = iptables.set_of(rule)
    return matched is not None and matched[0] == name


def _check(header: Header, family: Family) -> None:
    if header.family is not family or header.type not in _TYPES:
        raise KernelError(
            f"ipset {header.name} can't be used for IPv{family.value}: it is of type {header.type}"
            f"{'' if header.family is family else ' and of another family'}; it must be {' or '.join(_TYPES)}"
        )
