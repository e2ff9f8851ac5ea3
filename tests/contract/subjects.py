"""What the contract asks of a kernel that it is tried on, and what not every kernel can."""

from __future__ import annotations

import contextlib
import ipaddress
import time
from abc import ABC, abstractmethod
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, ClassVar

from fwbouncer.core.model import Change, Family, Kind, SetChange, SetKey

if TYPE_CHECKING:
    from collections.abc import Iterator

    from fwbouncer.core.model import Element, Millis
    from fwbouncer.kernel.backend import Backend
    from tests.lab.net import Network
    from tests.lab.packets import Probe

GROUP = "crowdsec"
MINUTE: Millis = 60_000
_Address = ipaddress.IPv4Address | ipaddress.IPv6Address


@dataclass
class Subject(ABC):
    """One kernel, with a witness that shares no code with the backend; `backend` makes writers for it."""

    # Ranges are elements with edges of any kind, and never overlap. ipset holds networks, which may lie in each other.
    flat: ClassVar[bool] = True
    # A change is done in one step, or not at all. ipset has no transactions: what blocks more goes first there.
    atomic: ClassVar[bool] = True
    # The backend makes rules, and a set for each group. In mode ipset both are the administrator's.
    builds: ClassVar[bool] = True
    # The administrator can make the set: modes set-only and ipset.
    given: ClassVar[bool] = True
    # A set that was made for so many elements takes no more. One of ipset's is exchanged for a larger one.
    tight: ClassVar[bool] = True
    # By how much a ban may last too long: ipset counts in whole seconds.
    late: ClassVar[Millis] = 0
    group: ClassVar[str] = GROUP

    opened: list[Backend] = field(default_factory=list)

    def change(
        self,
        *,
        add: dict[str, Millis] | None = None,
        renew: dict[str, Millis] | None = None,
        remove: tuple[str, ...] = (),
        group: str = "",
        mixed: bool = False,
    ) -> Change:
        """Make a change; numbers say in how many milliseconds a ban ends."""
        made: Change = {}
        for verb, told in (("add", add or {}), ("renew", renew or {})):
            for text, left in told.items():
                for target, element in self.places(text, group or self.group, mixed=mixed):
                    getattr(made.setdefault(target, SetChange()), verb).append((element, self.now() + left))
        for text in remove:
            for target, element in self.places(text, group or self.group, mixed=mixed):
                _take_out(made.setdefault(target, SetChange()), element)
        return made

    def places(self, text: str, group: str, *, mixed: bool = False) -> Iterator[tuple[SetKey, Element]]:
        """Say in which set an address, a network or a range (`first-last`) belongs, and as which elements."""
        first, _, last = text.partition("-")
        if not last and "/" not in text and not mixed:
            packed = ipaddress.ip_address(text).packed
            yield SetKey(group, family_of(packed), Kind.HOSTS), packed
            return
        low, high = _edges(first, last)
        family = family_of(low.packed)
        if self.flat:
            yield SetKey(group, family, Kind.HOSTS if mixed else Kind.RANGES), low.packed + high.packed
            return
        for network in ipaddress.summarize_address_range(low, high):
            address, length = network.network_address.packed, network.prefixlen
            whole = length == 8 * len(address)
            yield SetKey(group, family, Kind.HOSTS), address if whole else address + bytes((length,))

    def backend(self) -> Backend:
        """Start a writer as the daemon does: it looks before it writes."""
        made = self.open()
        self.opened.append(made)
        made.dump()
        return made

    @abstractmethod
    def open(self) -> Backend:
        """Make another backend for the same kernel."""

    @abstractmethod
    def now(self) -> Millis:
        """Read the clock that deadlines are on."""

    @abstractmethod
    def sleep(self, span: Millis) -> None:
        """Let time pass."""

    @abstractmethod
    def left(self, address: str) -> Millis | None:
        """Return how long the kernel bans an address still; None if it does not."""

    @abstractmethod
    def passing(self, *sources: str) -> set[str]:
        """Send a packet from each address; return those that came through."""

    @abstractmethod
    def watched(self, source: str) -> contextlib.AbstractContextManager[list[bool]]:
        """Let packets come in while the block runs; afterwards the list says of each whether it came through."""

    @abstractmethod
    def generation(self) -> int:
        """Count the transactions so far; where there are none, return what changes with every change."""

    @abstractmethod
    def flush(self) -> None:
        """Be somebody who removes everything."""

    @abstractmethod
    def crowd(self) -> None:
        """Be others, whose things have names almost like ours."""

    @abstractmethod
    def others(self) -> object:
        """Describe everything in the kernel that is not the backend's."""

    @abstractmethod
    def empty(self) -> bool:
        """Tell whether the kernel holds nothing of ours at all."""

    @abstractmethod
    def give(self, *, interval: bool = False, timed: bool = True, size: int = 0) -> None:
        """Be an administrator who makes the IPv4 set himself."""

    @abstractmethod
    def close(self) -> None:
        """Let go of everything."""


@dataclass
class RealSubject(Subject):
    """A namespace of the lab, with packets and the kernel's clock; this thread must be inside."""

    net: Network = field(kw_only=True)
    probe: Probe = field(kw_only=True)

    def now(self) -> Millis:
        """Read the kernel's clock."""
        return time.clock_gettime_ns(time.CLOCK_BOOTTIME) // 1_000_000

    def sleep(self, span: Millis) -> None:
        """Wait."""
        time.sleep(span / 1000)

    def passing(self, *sources: str) -> set[str]:
        """Send real packets."""
        return self.probe.arriving(sources)

    @contextlib.contextmanager
    def watched(self, source: str) -> Iterator[list[bool]]:
        """Send a packet every half millisecond."""
        seen: list[bool] = []
        with self.probe.stream(source, every=0.0005) as stream:
            yield seen
        seen.extend(packet.arrived for packet in stream.packets)


def family_of(packed: bytes) -> Family:
    """Tell an address's family."""
    return Family.V4 if len(packed) == 4 else Family.V6


def _edges(first: str, last: str) -> tuple[_Address, _Address]:
    if last:
        return ipaddress.ip_address(first), ipaddress.ip_address(last)
    network = ipaddress.ip_network(first)
    return network[0], network[-1]


def _take_out(part: SetChange, element: Element) -> None:
    # No change names an element twice. Old and new ranges can have a network in common: that one is renewed.
    part.renew += [pair for pair in part.add if pair[0] == element]
    part.add = [pair for pair in part.add if pair[0] != element]
    if all(renewed != element for renewed, _ in part.renew):
        part.remove.append(element)
