"""The backend of mode iptables: an ipset for each group and family, and the rules that use them."""

from __future__ import annotations

from contextlib import closing
from typing import TYPE_CHECKING

from fwbouncer.config.schema import Mode
from fwbouncer.core.model import Change, Family, Holding, Layout, SetChange, SetKey
from fwbouncer.errors import ConfigError, KernelError
from fwbouncer.kernel import iptables
from fwbouncer.kernel.ipset_backend import IpsetBackend
from fwbouncer.kernel.ipset_numbers import MAX_TIMEOUT
from fwbouncer.kernel.ipset_socket import IpsetSocket
from fwbouncer.kernel.ipset_store import SetStore
from fwbouncer.kernel.iptables import FILTER, RAW
from fwbouncer.kernel.iptables_skeleton import tried
from fwbouncer.kernel.xtables import Xtables, stands
from fwbouncer.kernel.xtables_side import Means, Side

if TYPE_CHECKING:
    from collections.abc import Mapping

    from fwbouncer.config.schema import Config
    from fwbouncer.kernel.backend import Backend, Clock, Counted, Held

# Seconds between two looks; each costs about a tenth of a millisecond, and one more for 100,000 bans.
PULSE = 0.75


def open_backend(config: Config, clock: Clock) -> Backend:
    """Make the backend of mode iptables or ipset. Raises ConfigError where something is not installed."""
    kind = IpsetBackend if config.mode is Mode.IPSET else IptablesBackend
    return kind.open(config, clock)


class _EverySet(frozenset[SetKey]):
    """All sets, those to come included."""

    def __contains__(self, key: object) -> bool:
        return isinstance(key, SetKey)


class IptablesBackend:
    """One kernel, one writer. What it needs is put together by `open`."""

    def __init__(
        self,
        config: Config,
        clock: Clock,
        sets: IpsetSocket,
        rules: Mapping[Family, Mapping[str, Xtables]],
        longest: int,
    ) -> None:
        self._config = config
        self._sets = sets
        self._rules = dict(rules)
        self._store = SetStore(sets, clock, longest)
        self._sides = {f: Side(config, f, Means(tables, sets, self._store)) for f, tables in rules.items()}
        self._dumped = False

    @classmethod
    def open(
        cls,
        config: Config,
        clock: Clock,
        *,
        variant: str = "",
        longest: int = MAX_TIMEOUT,
    ) -> IptablesBackend:
        """Find the programs and the kernel. Raises ConfigError where a program or an extension is missing.

        `variant` is "legacy" or "nft", to insist on one kind of iptables; `longest` is the longest timeout.
        """
        rules: dict[Family, dict[str, Xtables]] = {}
        try:
            for family in config.families:
                rules[family] = {FILTER: Xtables(family, variant)}
                if RAW in tried(config, family) or stands(rules[family][FILTER], RAW):
                    # First, since what moves between the two is joined in the first.
                    rules[family] = {RAW: Xtables(family, variant, table=RAW), **rules[family]}
                _try(rules[family], config, family)
            return cls(config, clock, IpsetSocket.open(), rules, longest)
        except BaseException:
            _close(rules)
            raise

    def layout(self) -> Layout:
        """Say which sets there are without timeouts; networks stay as they are."""
        timeless = frozenset(key for side in self._sides.values() for key in side.timeless())
        if not self._config.iptables.ipset_timeouts:
            timeless = _EverySet()
        return Layout(flatten=False, timeless=timeless, spares=frozenset(self._sides))

    def dump(self) -> Holding:
        """Read rules and sets."""
        holding: Holding = {}
        for side in self._sides.values():
            holding.update(side.dump())
        self._dumped = True
        return holding

    def whole(self) -> bool:
        """Say whether rules and sets are as they must be."""
        return self._dumped and not any(side.faults() for side in self._sides.values())

    def apply(self, change: Change) -> None:
        """Carry out a change, set by set, and mend the rules in one step for each family."""
        if not self._dumped:
            self.dump()
        parts: dict[Family, dict[str, SetChange]] = {family: {} for family in self._sides}
        for key, part in change.items():
            if key.family not in parts:
                raise KernelError(f"IPv{key.family.value} is disabled, but a change is meant for it")
            parts[key.family][key.group] = part
        for family, side in self._sides.items():
            side.apply(parts[family])

    def counters(self) -> list[Counted]:
        """Read the rules' counters."""
        return [counted for side in self._sides.values() for counted in side.counters()]

    def holders(self, address: bytes) -> list[Held]:
        """Ask the kernel, on a socket of its own."""
        side = self._sides.get(Family.V4 if len(address) == 4 else Family.V6)
        with closing(IpsetSocket.open()) as sets:
            return list(side.holders(sets, address)) if side else []

    def fileno(self) -> int | None:
        """Return None: neither ipset nor iptables tells of changes."""
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
            found = [fault for side in self._sides.values() for fault in side.disturbed()]
        except KernelError as error:
            return str(error)
        return f"somebody ({'; '.join(found)})" if found else None

    def remove(self) -> None:
        """Take out everything of ours."""
        for side in self._sides.values():
            side.remove()
        self._dumped = False

    def close(self) -> None:
        """Let go of the kernel without changing it."""
        self._sets.close()
        _close(self._rules)


def _close(rules: Mapping[Family, Mapping[str, Xtables]]) -> None:
    for tables in rules.values():
        for xtables in tables.values():
            xtables.close()


def _try(tables: Mapping[str, Xtables], config: Config, family: Family) -> None:
    for name, wanted in tried(config, family).items():
        lacking = tables[name].accepts(iptables.mending({}, wanted))
        if lacking is not None:
            action = config.deny.action.value
            raise ConfigError(
                f"deny_action {action} and the policies need an extension of iptables that is missing: {lacking}"
            )
