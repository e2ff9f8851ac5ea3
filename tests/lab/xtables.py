"""The mail host with iptables: backends on it, changes in short, what iptables and ipset show."""

from __future__ import annotations

import contextlib
import ipaddress
import time
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from fwbouncer.config.schema import Config, Iptables, Lapi, Mode
from fwbouncer.core.model import AddressKey, Change, Family, Kind, SetChange, SetKey, family_of
from fwbouncer.kernel.ipset_backend import IpsetBackend
from fwbouncer.kernel.xtables_backend import IptablesBackend
from tests.lab.shell import run

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.lab.net import Network

VARIANTS = ("legacy", "nft")
CONFIG = Config(
    path=Path("/nonexistent"),
    mode=Mode.IPTABLES,
    lapi=Lapi(urls=()),
    families=(Family.V4, Family.V6),
    nft={},
    iptables=Iptables(v4_chains=("INPUT",), v6_chains=("INPUT",)),
)


def now() -> int:
    """Read the clock that deadlines are on."""
    return time.clock_gettime_ns(time.CLOCK_BOOTTIME) // 1_000_000


def key(text: str) -> AddressKey:
    """Turn an address or network into its key."""
    network = ipaddress.ip_network(text)
    packed = network.network_address.packed
    return packed if network.prefixlen == len(packed) * 8 else packed + bytes((network.prefixlen,))


def bans(*texts: str, group: str = "crowdsec", seconds: float = 600) -> Change:
    """Make the change that bans addresses and networks."""
    change: Change = {}
    deadline = now() + int(seconds * 1000)
    for text in texts:
        place = SetKey(group, family_of(key(text)), Kind.HOSTS)
        change.setdefault(place, SetChange()).add.append((key(text), deadline))
    return change


def unbans(*texts: str, group: str = "crowdsec") -> Change:
    """Make the change that ends bans."""
    change: Change = {}
    for text in texts:
        place = SetKey(group, family_of(key(text)), Kind.HOSTS)
        change.setdefault(place, SetChange()).remove.append(key(text))
    return change


@dataclass
class Bench:
    """The inside of the mail host, with one kind of iptables."""

    variant: str
    opened: list[IptablesBackend | IpsetBackend] = field(default_factory=list)

    def backend(self, longest: int = 2_147_483, **changes: Any) -> IptablesBackend:
        """Start a backend in mode iptables."""
        ours = replace(CONFIG, **changes)
        backend = IptablesBackend.open(ours, now, variant=self.variant, longest=longest)
        self.opened.append(backend)
        backend.dump()
        return backend

    def contents(self, longest: int = 2_147_483, **changes: Any) -> IpsetBackend:
        """Start a backend in mode ipset, on sets named `mine` and `mine6`."""
        names = {Family.V4: "mine", Family.V6: "mine6"}
        ours = replace(CONFIG, mode=Mode.IPSET, blacklists=names, **changes)
        backend = IpsetBackend.open(ours, now, variant=self.variant, longest=longest)
        self.opened.append(backend)
        backend.dump()
        return backend

    def iptables(self, *words: str, family: int = 4) -> str:
        """Run iptables or ip6tables."""
        return run(f"ip{'6' if family == 6 else ''}tables-{self.variant}", *words)

    def rules(self, chain: str, family: int = 4) -> list[str]:
        """Return a chain's rules, without the "-A CHAIN"."""
        lines = self.iptables("-S", chain, family=family).splitlines()
        return [line.split(" ", 2)[2] for line in lines if line.startswith("-A ")]

    def chains(self, family: int = 4) -> set[str]:
        """Return the names of the chains."""
        lines = self.iptables("-S", family=family).splitlines()
        return {line.split(" ")[1] for line in lines if line.startswith(("-N ", "-P "))}

    def members(self, name: str) -> dict[str, int | None]:
        """Return what a set holds, with what is left of the timeouts."""
        words = [line.split() for line in run("ipset", "save", name).splitlines() if line.startswith("add")]
        return {w[2]: int(w[4]) if w[3:4] == ["timeout"] else None for w in words}

    def sets(self) -> set[str]:
        """Return the names of all sets."""
        return set(run("ipset", "list", "-name").split())

    def make_set(self, name: str, *words: str) -> None:
        """Make a set as an administrator does."""
        run("ipset", "create", name, *words)

    def flush_sets(self) -> None:
        """Empty all sets as an administrator does."""
        run("ipset", "flush")

    def destroy_sets(self) -> None:
        """Destroy all sets; the kernel lets go of one a moment after the last rule that used it."""
        deadline = time.monotonic() + 5
        while self.sets():
            assert time.monotonic() < deadline, self.sets()
            for name in self.sets():
                run("ipset", "destroy", name, check=False)

    def count(self, name: str) -> int:
        """Return how many elements a set holds."""
        lines = run("ipset", "list", "-t", name).splitlines()
        return next(int(line.split(": ")[1]) for line in lines if line.startswith("Number of entries"))

    def settle(self, backend: IptablesBackend | IpsetBackend, within: float = 2) -> str:
        """Wait until the backend notices something, then repair as the daemon does; returns what it was."""
        deadline = time.monotonic() + within
        while (noticed := backend.disturbed()) is None:
            assert time.monotonic() < deadline, "nothing was noticed"
            time.sleep(0.05)
        backend.dump()
        backend.apply({})
        return noticed

    def clean(self) -> None:
        """Leave no rule and no set."""
        for backend in self.opened:
            with contextlib.suppress(OSError):
                backend.close()
        for program in ("iptables", "ip6tables"):
            for table in ("filter", "raw"):
                run(f"{program}-legacy", "-t", table, "-F")
                run(f"{program}-legacy", "-t", table, "-X")
        run("nft", "flush", "ruleset")
        self.destroy_sets()


@contextlib.contextmanager
def bench(net: Network, variant: str) -> Iterator[Bench]:
    """Be on the mail host until the block ends: everything that this thread starts and opens is there."""
    with net.mail.inside():
        inside = Bench(variant)
        try:
            yield inside
        finally:
            inside.clean()
