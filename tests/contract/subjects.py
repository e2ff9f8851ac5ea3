"""The kernels that the contract is tried on, each with a witness that shares no code with the backend."""

from __future__ import annotations

import ipaddress
import json
import time
from abc import ABC, abstractmethod
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from fwbouncer.config.schema import Config, Lapi, Mode, Nft
from fwbouncer.core.model import FOREVER, ONE_GROUP, Change, Family, Kind, Layout, SetChange, SetKey
from fwbouncer.kernel.memory import Memory
from fwbouncer.kernel.nftables import Nftables
from fwbouncer.kernel.socket import NetlinkSocket
from tests.lab.shell import run
from tests.lab.witness import generation

if TYPE_CHECKING:
    from collections.abc import Iterator

    from fwbouncer.core.model import Element, Millis
    from fwbouncer.kernel.backend import Backend
    from tests.lab.net import Network
    from tests.lab.packets import Probe

GROUP = "crowdsec"
MINUTE: Millis = 60_000
PLACES = {
    Family.V4: Nft(Family.V4, "crowdsec", "crowdsec-chain", "crowdsec-blacklists"),
    Family.V6: Nft(Family.V6, "crowdsec6", "crowdsec6-chain", "crowdsec6-blacklists"),
}
CONFIG = Config(Path("/nonexistent"), Mode.NFTABLES, Lapi(urls=()), tuple(Family), PLACES)
_Told = tuple[SetKey, "Element"]


def place(text: str, group: str = GROUP, *, mixed: bool = False) -> _Told:
    """Say in which set an address, a network or a range (`first-last`) belongs, and as which element."""
    first, _, last = text.partition("-")
    if not last and "/" not in text and not mixed:
        packed = ipaddress.ip_address(text).packed
        return SetKey(group, _family(packed), Kind.HOSTS), packed
    if last:
        low, high = ipaddress.ip_address(first), ipaddress.ip_address(last)
    else:
        network = ipaddress.ip_network(first)
        low, high = network[0], network[-1]
    kind = Kind.HOSTS if mixed else Kind.RANGES
    return SetKey(group, _family(low.packed), kind), low.packed + high.packed


def _family(packed: bytes) -> Family:
    return Family.V4 if len(packed) == 4 else Family.V6


@dataclass
class Subject(ABC):
    """One kernel; `backend` makes writers for it, one after the other."""

    opened: list[Backend] = field(default_factory=list)

    def change(
        self,
        *,
        add: dict[str, Millis] | None = None,
        renew: dict[str, Millis] | None = None,
        remove: tuple[str, ...] = (),
        group: str = GROUP,
        mixed: bool = False,
    ) -> Change:
        """Make a change; numbers say in how many milliseconds a ban ends."""
        made: Change = {}
        for verb, told in (("add", add or {}), ("renew", renew or {})):
            for text, left in told.items():
                target, element = place(text, group, mixed=mixed)
                getattr(made.setdefault(target, SetChange()), verb).append((element, self.now() + left))
        for text in remove:
            target, element = place(text, group, mixed=mixed)
            made.setdefault(target, SetChange()).remove.append(element)
        return made

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
    def generation(self) -> int:
        """Count the transactions so far."""

    @abstractmethod
    def flush(self) -> None:
        """Be somebody who removes everything."""

    @abstractmethod
    def others(self) -> object:
        """Describe everything in the kernel that is not the backend's."""

    @abstractmethod
    def empty(self) -> bool:
        """Tell whether the kernel holds nothing of ours at all."""

    @abstractmethod
    def give(self, *, interval: bool = False, timed: bool = True, size: int = 0) -> None:
        """Be an administrator who makes the IPv4 set himself, for mode set-only."""


class _Counting(Memory):
    """Counts its transactions."""

    generation = 0

    def apply(self, change: Change) -> None:
        before = self._sets.copy()
        super().apply(change)
        self.generation += self._sets != before


@dataclass
class MemorySubject(Subject):
    """The kernel in a dict, on a clock of its own."""

    time: Millis = 5_000_000

    def __post_init__(self) -> None:
        """Make the one kernel that there is."""
        self.kernel = _Counting(self.now, linger=20)

    def open(self) -> Backend:
        """A dict has no sides: everybody sees the same one."""
        return self.kernel

    def now(self) -> Millis:
        """Read our own clock."""
        return self.time

    def sleep(self, span: Millis) -> None:
        """Turn the clock."""
        self.time += span

    def left(self, address: str) -> Millis | None:
        """Ask the dict."""
        found = self.kernel.bans(ipaddress.ip_address(address).packed)
        return max(found.values()) - self.time if found else None

    def passing(self, *sources: str) -> set[str]:
        """Let the dict judge."""
        return {source for source in sources if self.kernel.meet(ipaddress.ip_address(source).packed)}

    def generation(self) -> int:
        """Count changes."""
        return self.kernel.generation

    def flush(self) -> None:
        """Empty the dict."""
        self.kernel.flush()

    def others(self) -> object:
        """Nobody else is there."""
        return None

    def empty(self) -> bool:
        """Look into the dict."""
        return not self.kernel._sets

    def give(self, *, interval: bool = False, timed: bool = True, size: int = 0) -> None:
        """Lay the dict out as that set would be."""
        target = SetKey(ONE_GROUP, Family.V4, Kind.HOSTS)
        layout = Layout(
            flatten=True,
            mixed=frozenset({(ONE_GROUP, Family.V4)} if interval else ()),
            timeless=frozenset(() if timed else {target}),
            sizes=((target, size),) if size else (),
        )
        self.kernel.change_layout(layout)
        self.kernel.disturbed()


@dataclass
class NftSubject(Subject):
    """A namespace's own nftables, owned or not; this thread must be inside."""

    net: Network = field(kw_only=True)
    probe: Probe = field(kw_only=True)
    owned: bool = field(kw_only=True)
    config: Config = CONFIG
    sockets: list[NetlinkSocket] = field(default_factory=list)

    def __post_init__(self) -> None:
        """Open the socket that outlives a backend."""
        self.sock = NetlinkSocket.open()

    def open(self) -> Backend:
        """Use the one socket, as after a restart under systemd; where nothing is owned, a new one."""
        sock = self.sock if self.owned else NetlinkSocket.open()
        self.sockets.append(sock)
        return Nftables(self.config, self.now, sock, owned=self.owned)

    def now(self) -> Millis:
        """Read the kernel's clock."""
        return time.clock_gettime_ns(time.CLOCK_BOOTTIME) // 1_000_000

    def sleep(self, span: Millis) -> None:
        """Wait."""
        time.sleep(span / 1000)

    def left(self, address: str) -> Millis | None:
        """Read nft's listing: whole seconds."""
        asked = ipaddress.ip_address(address)
        spans = [seconds for low, high, seconds in self._listed(asked.version) if low <= int(asked) <= high]
        return max(spans) * 1000 if spans else None

    def _listed(self, version: int) -> Iterator[tuple[int, int, int]]:
        family = PLACES[Family(version)]
        words = ("nft", "-j", "list", "table", "ip" if version == 4 else "ip6", family.table)
        for entry in json.loads(run(*words, check=False) or '{"nftables": []}')["nftables"]:
            for told in entry.get("set", {}).get("elem", []):
                value, seconds = told, FOREVER // 1000
                if isinstance(told, dict) and "elem" in told:
                    value, seconds = told["elem"]["val"], told["elem"].get("expires", seconds)
                yield *_span(value), seconds

    def passing(self, *sources: str) -> set[str]:
        """Send real packets."""
        return self.probe.arriving(sources)

    def generation(self) -> int:
        """Ask the kernel."""
        return generation(self.net.mail)

    def flush(self) -> None:
        """Flush the ruleset; an owned table withstands that."""
        run("nft", "flush", "ruleset")

    def others(self) -> object:
        """List every other table."""
        ours = {item.table for item in PLACES.values()}
        listing = json.loads(run("nft", "-j", "list", "ruleset"))["nftables"]
        return [e for e in listing if not any(_table(e, kind) in ours for kind in e) and "metainfo" not in e]

    def empty(self) -> bool:
        """List everything."""
        return not run("nft", "list", "ruleset").strip()

    def give(self, *, interval: bool = False, timed: bool = True, size: int = 0) -> None:
        """Type what the administrator would."""
        flags = ",".join(["interval"] * interval + ["timeout"] * timed)
        told = f"flags {flags}; " * bool(flags) + f"size {size}; " * bool(size)
        run("nft", "add", "table", "ip", "crowdsec")
        run("nft", f"add set ip crowdsec crowdsec-blacklists {{ type ipv4_addr; {told}}}")
        places = {Family.V4: replace(PLACES[Family.V4], set_only=True)}
        self.config = replace(CONFIG, families=(Family.V4,), nft=places)

    def close(self) -> None:
        """Let go of everything; what is owned goes with its socket."""
        for backend in self.opened:
            backend.close()
        for sock in (self.sock, *self.sockets):
            sock.close()


def _span(value: Any) -> tuple[int, int]:
    if isinstance(value, dict) and "prefix" in value:
        network = ipaddress.ip_network(f"{value['prefix']['addr']}/{value['prefix']['len']}")
        return int(network[0]), int(network[-1])
    first, last = value["range"] if isinstance(value, dict) else (value, value)
    return int(ipaddress.ip_address(first)), int(ipaddress.ip_address(last))


def _table(entry: dict[str, Any], kind: str) -> str:
    return str(entry[kind]["name"] if kind == "table" else entry[kind].get("table"))
