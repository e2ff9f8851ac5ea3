"""What every backend promises: nftables, iptables with ipsets, and the kernel in a dict behave alike."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

from fwbouncer.core.model import Change, Family, Holding, Layout, Millis, SetKey

Clock = Callable[[], Millis]


@dataclass(frozen=True, slots=True)
class Counted:
    """What one set's rules dropped, or what our chains saw (`group` is then "processed").

    A group may have several, told apart by `part`. A counter that is made anew starts from zero: where the kernel
    says so, `life` is another number then.
    """

    group: str
    family: Family
    packets: int
    bytes: int
    life: int = 0
    part: str = ""


@dataclass(frozen=True, slots=True)
class Held:
    """A set that holds an address, by the kernel's own word."""

    target: SetKey
    name: str  # as the administrator's tools name it: "ip crowdsec crowdsec-blacklists-CAPI"
    until: Millis | None  # None where the kernel doesn't say; FOREVER where it doesn't end
    rules: tuple[str, ...]  # those that use the set now: "crowdsec-chain-input: banned by CAPI"


class Backend(Protocol):
    """One kernel, one writer. Every method blocks; the daemon calls them one at a time, off its event loop."""

    def layout(self) -> Layout:
        """Say how decisions are laid out; known after the first `dump`."""

    def dump(self) -> Holding:
        """Read what the kernel holds now of ours. An absent table or set is an empty one.

        Remembers the skeleton (tables, chains, rules, sets) that it found; `apply` mends what differs.
        """

    def whole(self) -> bool:
        """Say whether the skeleton that the last `dump` found, or `apply` wrote, is as it must be."""

    def apply(self, change: Change) -> None:
        """Carry out a change, creating what it needs; all of it or, with a KernelError, nothing.

        ipset knows no such steps: what blocks more goes first there, and an entry that the kernel refuses is logged
        and left out. An empty change still mends the skeleton.
        """

    def counters(self) -> list[Counted]:
        """Read the counters; costs nothing that grows with the sets."""

    def holders(self, address: bytes) -> list[Held]:
        """Ask the kernel which sets of ours hold an address; reads no whole set. From any thread."""

    def fileno(self) -> int | None:
        """Return a descriptor that is readable when somebody may have changed the kernel; None if there is none."""

    def pulse(self) -> float | None:
        """Return after how many seconds to call `disturbed` even though nothing was readable; None for never."""

    def disturbed(self) -> str | None:
        """Read what the descriptor has; say who changed what of ours ("nft, pid 12"), or None if nobody did.

        May be called at any time between two other calls; never blocks for longer than a cheap look.
        """

    def remove(self) -> None:
        """Take everything of ours out of the kernel, and nothing of anybody else's."""

    def close(self) -> None:
        """Let go of the kernel without changing it."""
