"""The backend of mode iptables: an ipset per group and family, and the rules that use them."""

from __future__ import annotations

from collections.abc import Mapping

from fwbouncer.config.schema import Config
from fwbouncer.core.model import Change, Family, Holding, Layout, SetChange, SetKey
from fwbouncer.errors import ConfigError, KernelError
from fwbouncer.kernel import ipset, iptables
from fwbouncer.kernel.backend import Clock, Counted
from fwbouncer.kernel.ipset_socket import IpsetSocket
from fwbouncer.kernel.ipset_store import SetStore
from fwbouncer.kernel.iptables_skeleton import tried
from fwbouncer.kernel.xtables import Xtables
from fwbouncer.kernel.xtables_side import Side

# Seconds between two looks; each costs about a tenth of a millisecond, and one more for 100,000 bans.
PULSE = 0.75


class IptablesBackend:
    """One kernel, one writer. What it needs is put together by `open`."""

    def __init__(self, sides: Mapping[Family, Side], sets: IpsetSocket, store: SetStore) -> None:
        self._sides = dict(sides)
        self._sets = sets
        self._store = store
        self._dumped = False
        self._opened: list[Xtables] = []

    @classmethod
    def open(
        cls, config: Config, clock: Clock, *, variant: str = "", longest: int = ipset.MAX_TIMEOUT
    ) -> IptablesBackend:
        """Find the programs and the kernel. Raises ConfigError where a program or an extension is missing.

        `variant` is "legacy" or "nft" to insist on one kind of iptables; `longest` is the longest timeout given.
        """
        rules = {family: Xtables(family, variant) for family in config.families}
        for family, filter_ in rules.items():
            lacking = filter_.accepts(iptables.mending({}, tried(config, family)))
            if lacking is not None:
                raise ConfigError(f"deny_action: {config.deny.action.value} can't be used here: {lacking}")
        sets = IpsetSocket.open()
        store = SetStore(sets, clock, longest)
        sides = {family: Side(config, family, filter_, sets, store) for family, filter_ in rules.items()}
        backend = cls(sides, sets, store)
        backend._opened += rules.values()
        return backend

    def layout(self) -> Layout:
        """Say which sets there are without timeouts; networks stay as they are."""
        timeless = [key for side in self._sides.values() for key in side.layout().timeless]
        return Layout(flatten=False, timeless=frozenset(timeless))

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
            parts[_known(key, self._sides)][key.group] = part
        for family, side in self._sides.items():
            side.apply(parts[family])

    def counters(self) -> list[Counted]:
        """Read the rules' counters."""
        return [counted for side in self._sides.values() for counted in side.counters()]

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
        return "; ".join(found) or None

    def remove(self) -> None:
        """Take out everything of ours."""
        for side in self._sides.values():
            side.remove()
        self._dumped = False

    def close(self) -> None:
        """Let go of the kernel without changing it."""
        self._sets.close()
        for opened in self._opened:
            opened.close()


def _known(key: SetKey, sides: Mapping[Family, Side]) -> Family:
    if key.family not in sides:
        raise KernelError(f"IPv{key.family.value} is disabled, but a change is meant for it")
    return key.family
