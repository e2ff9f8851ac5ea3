"""Mode nftables under the contract, its tables owned or not; the witness is nft."""

from __future__ import annotations

import ipaddress
import json
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from fwbouncer.config.schema import Config, Lapi, Mode, Nft
from fwbouncer.core.model import FOREVER, Family
from fwbouncer.kernel.nftables import Nftables
from fwbouncer.kernel.socket import NetlinkSocket
from tests.contract.subjects import RealSubject
from tests.lab.shell import run
from tests.lab.witness import generation

if TYPE_CHECKING:
    from collections.abc import Iterator

    from fwbouncer.core.model import Millis
    from fwbouncer.kernel.backend import Backend

PLACES = {
    Family.V4: Nft(Family.V4, "crowdsec", "crowdsec-chain", "crowdsec-blacklists"),
    Family.V6: Nft(Family.V6, "crowdsec6", "crowdsec6-chain", "crowdsec6-blacklists"),
}
CONFIG = Config(Path("/nonexistent"), Mode.NFTABLES, Lapi(urls=()), tuple(Family), PLACES)


@dataclass
class NftSubject(RealSubject):
    """A namespace's own nftables, owned or not; this thread must be inside."""

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

    def generation(self) -> int:
        """Ask the kernel."""
        return generation(self.net.mail)

    def flush(self) -> None:
        """Flush the ruleset; an owned table withstands that."""
        run("nft", "flush", "ruleset")

    def crowd(self) -> None:
        """Make tables."""
        sets = "set {} {} crowdsec-blacklists-x {{ type ipv4_addr; elements = {{ 192.0.2.1 }}; }}"
        names = (("inet", "crowdsec"), ("ip", "crowdsec-too"), ("ip", "crowdsec6"), ("ip6", "crowdsec"))
        for family, table in names:
            run("nft", f"add table {family} {table}")
            run("nft", "add " + sets.format(family, table))

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
