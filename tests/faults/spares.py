"""Who must pass whatever bans them: the addresses that the configuration lists, and those unblocked by command."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from tests.faults.runclock import RunClock
    from tests.faults.terms import Address, Network

APPLIES = 1.0  # seconds after SIGHUP; run time
_EDGE = 0.15  # seconds; about when an unblocking ends


@dataclass(slots=True)
class Unblocked:
    """One answered `unblock`. It must pass from `since` to `until`; it may from `asked` to `at_most`."""

    network: Network
    asked: float
    since: float
    until: float
    at_most: float
    kept: bool  # survives the process


class Spares:
    """The other half of the model."""

    def __init__(self, clock: RunClock) -> None:
        self._clock = clock
        self._unblocked: list[Unblocked] = []
        self._listed: frozenset[Network] = frozenset()
        self._passing: frozenset[Network] = (
            frozenset()
        )  # was listed for a time that may have been too short to notice
        self._next: frozenset[Network] | None = (
            None  # what is listed in the file that has yet to be taken over
        )
        self._due: float | None = None  # run time by which that is so; None: at the next sign of life

    def unblocked(self, one: Unblocked) -> None:
        """The program said yes to `unblock`."""
        self._unblocked.append(one)

    def cancelled(self, network: Network, asked: float, answered: float) -> None:
        """The program said yes to taking it back."""
        for one in self._unblocked:
            if one.network == network and one.until > asked:
                one.until = asked
                one.at_most = min(one.at_most, answered)

    def relisted(self, listed: frozenset[Network], at: float) -> None:
        """The file lists others now, and SIGHUP was sent."""
        if self._next is not None:  # the one before may or may not have been taken over
            self._passing |= self._listed | self._next
            self._listed &= self._next
        self._next = listed
        self._due = self._clock.at(at) + APPLIES

    def lost(self, at: float) -> None:
        """The program is gone."""
        self._due = None
        for one in self._unblocked:
            if not one.kept:
                one.until = min(one.until, at)

    def alive(self) -> None:
        """The program has read its file, after a start."""
        if self._due is None:
            self._settle()

    def _settle(self) -> None:
        if self._next is not None:
            self._listed, self._next, self._passing = self._next, None, frozenset()

    def must_pass(self, source: Address, begin: float, end: float) -> str | None:
        """Return why a packet sent between these times must pass; None if it need not."""
        if self._due is not None and self._clock.at(begin) > self._due:
            self._settle()
        listed = self._listed if self._next is None else self._listed & self._next
        for network in listed:
            if _holds(network, source):
                return f"never_block lists {network}"
        self._unblocked = [one for one in self._unblocked if one.at_most > begin - 5]
        for one in self._unblocked:
            if _holds(one.network, source) and one.since <= begin and end < one.until - _EDGE:
                return f"it is unblocked: {one}"
        return None

    def may_pass(self, source: Address, begin: float, end: float) -> bool:
        """Tell whether a packet of a banned source may pass."""
        listed = self._listed | self._passing | (self._next or frozenset())
        return any(_holds(network, source) for network in listed) or any(
            _holds(one.network, source) and one.asked <= end + _EDGE and begin < one.at_most + _EDGE
            for one in self._unblocked
        )


def _holds(network: Network, source: Address) -> bool:
    return network.version == source.version and source in network
