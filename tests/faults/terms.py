"""The words of the fault runner's model, and what it tolerates."""

from __future__ import annotations

from dataclasses import dataclass, field
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network

Network = IPv4Network | IPv6Network
Address = IPv4Address | IPv6Address


@dataclass(frozen=True, slots=True)
class Tolerance:
    """What may pass without being a fault, in seconds."""

    bite: float = 0.6  # from the page that carried a change until it is in the kernel
    early: float = 0.15  # so long before its deadline a ban may end: LAPI and kernel round
    late: float = 0.6  # or so long after it
    repair: float = 0.3  # after somebody changed a table that isn't owned
    calm: float = 1.0  # more, where repairs come so fast that the program paces itself
    reload: float = 1.0  # after SIGHUP a page may still go to the client that is being replaced
    restore: float = 2.5  # from a start until what the state file told is in force
    saved: float = 35.0  # what has been in force for so long is in the state file
    edge: float = 0.05  # between a packet's sending and its meeting the rules


@dataclass(slots=True)
class Claim:
    """One decision, as its maker knows it."""

    serial: int
    network: Network
    made: float
    until: float
    lag: float = 0.0  # so much later than it was written a page with it was read
    ended: float | None = None  # when the LAPI was told to end it
    told: float | None = None  # when an answer with it had arrived, in run time
    held: float | None = None  # since when it must be in the kernel
    stored: bool = False  # it must be in the state file
    adopted: bool = False  # the program may know of it without its number
    gone: float | None = None  # since when it must not be
    lacked: list[float] = field(default_factory=list)  # snapshots in a row that it should be in and isn't


@dataclass(slots=True)
class Page:
    """One answer of the LAPI."""

    startup: bool
    written: float  # when its durations were computed
    carried: frozenset[int]
    ended: frozenset[int]
    others: int = 0  # decisions in it that nobody watches
    sent: float | None = None


@dataclass(slots=True)
class Excuse:
    """A time in which the kernel may hold anything. `until` is None while nobody can say when it ends."""

    since: float
    until: float | None = None  # run time
    empty: bool = False  # it ends with the first page
