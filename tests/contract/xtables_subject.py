"""Modes iptables and ipset under the contract; the witnesses are iptables and ipset themselves."""

from __future__ import annotations

import ipaddress
import re
import socket
import zlib
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, ClassVar

from fwbouncer.config.schema import Mode
from fwbouncer.core.model import FOREVER, ONE_GROUP, Family
from fwbouncer.kernel.ipset_backend import IpsetBackend
from fwbouncer.kernel.xtables_backend import IptablesBackend
from tests.contract.subjects import RealSubject
from tests.lab.shell import run
from tests.lab.witness import generation
from tests.lab.xtables import CONFIG, Bench

if TYPE_CHECKING:
    from fwbouncer.config.schema import Config
    from fwbouncer.core.model import Millis
    from fwbouncer.kernel.backend import Backend

FAMILIES = {4: socket.AF_INET, 6: socket.AF_INET6}
MINE = {Family.V4: "mine", Family.V6: "mine6"}


@dataclass
class XtablesSubject(RealSubject):
    """A namespace with one kind of iptables."""

    flat: ClassVar[bool] = False
    atomic: ClassVar[bool] = False
    tight: ClassVar[bool] = False
    late: ClassVar[Millis] = 1000

    variant: str = field(kw_only=True)
    config: Config = CONFIG

    def __post_init__(self) -> None:
        """Take iptables by its variant's name."""
        self.bench = Bench(self.variant)

    def left(self, address: str) -> Millis | None:
        """Read ipset's listing: whole seconds."""
        asked = int(ipaddress.ip_address(address))
        version = 6 if ":" in address else 4
        spans: list[int] = []
        for line in run("ipset", "save").splitlines():
            verb, _, value, *more = line.split()
            if verb == "add" and (":" in value) == (version == 6) and _holds(value, asked, version):
                spans.append(int(more[1]) if more[:1] == ["timeout"] and more[1] != "0" else FOREVER // 1000)
        return max(spans) * 1000 if spans else None

    def generation(self) -> int:
        """Digest all that the tools show, and for one kind of iptables what the kernel counts."""
        count = generation(self.net.mail) if self.variant == "nft" else 0
        shown = [*self._rules(), run("ipset", "list", "-t")]
        return zlib.crc32(repr((count, shown)).encode())

    def flush(self) -> None:
        """Flush and delete every chain, then every set."""
        for family in (4, 6):
            self.bench.iptables("-F", family=family)
            self.bench.iptables("-X", family=family)
        self.bench.destroy_sets()

    def crowd(self) -> None:
        """Make chains, rules and sets."""
        for name in ("crowdsec-blacklists-x", "crowdsec-blacklists-01", "crowdsec-blacklist-0", "mine-0"):
            run("ipset", "create", name, "hash:net")
            run("ipset", "add", name, "192.0.2.1")
        for family in (4, 6):
            self.bench.iptables("-N", "CROWDSEC_CHAIN2", family=family)
            self.bench.iptables("-A", "CROWDSEC_CHAIN2", "-j", "DROP", family=family)
            self.bench.iptables("-A", "INPUT", "-p", "tcp", "-j", "CROWDSEC_CHAIN2", family=family)
        used = ("-m", "set", "--match-set", "crowdsec-blacklists-x", "src", "-j", "DROP")
        self.bench.iptables("-A", "FORWARD", *used)

    def others(self) -> object:
        """List the rules and the sets that have other names."""
        rules = [line for line in self._rules() if not re.search(r"CROWDSEC_CHAIN\b", line)]
        return rules, [line for line in _saved() if not self._ours(line.split()[1])]

    def close(self) -> None:
        """Let go of everything, and leave no rule and no set."""
        for backend in self.opened:
            backend.close()
        self.bench.clean()

    def _rules(self) -> list[str]:
        return [line for family in (4, 6) for line in self.bench.iptables("-S", family=family).splitlines()]

    def _ours(self, name: str) -> bool:
        return re.fullmatch(r"crowdsec6?-blacklists-(0|[1-9]\d*|ok)", name) is not None


@dataclass
class IptablesSubject(XtablesSubject):
    """Mode iptables, for which nobody makes sets beforehand."""

    given: ClassVar[bool] = False

    def open(self) -> Backend:
        """Start another process's backend."""
        return IptablesBackend.open(self.config, self.now, variant=self.variant)

    def empty(self) -> bool:
        """List everything."""
        return not self.bench.sets() and all(line.startswith("-P") for line in self._rules())

    def give(self, *, interval: bool = False, timed: bool = True, size: int = 0) -> None:
        """No mode of iptables but ipset takes a set."""
        raise NotImplementedError


@dataclass
class IpsetSubject(XtablesSubject):
    """Mode ipset: the administrator has made a set for each family, and a rule that drops what is in it."""

    builds: ClassVar[bool] = False
    group: ClassVar[str] = ONE_GROUP

    config: Config = field(default_factory=lambda: replace(CONFIG, mode=Mode.IPSET, blacklists=MINE))

    def __post_init__(self) -> None:
        """Be that administrator."""
        super().__post_init__()
        self._make(Family.V4, "family", "inet", "timeout", "300")
        self._make(Family.V6, "family", "inet6", "timeout", "300")

    def _make(self, family: Family, *options: str) -> None:
        self.bench.make_set(MINE[family], "hash:net", *options)
        rule = ("-m", "set", "--match-set", MINE[family], "src", "-j", "DROP")
        self.bench.iptables("-A", "INPUT", *rule, family=family.value)

    def open(self) -> Backend:
        """Start another process's backend."""
        return IpsetBackend.open(self.config, self.now, variant=self.variant)

    def flush(self) -> None:
        """Empty every set; who removes sets and rules here removes the administrator's."""
        self.bench.flush_sets()

    def empty(self) -> bool:
        """List the sets."""
        return not any(line.startswith("add") for line in _saved())

    def give(self, *, interval: bool = False, timed: bool = True, size: int = 0) -> None:
        """Make the IPv4 set anew, in another way."""
        assert not interval
        assert not size
        super().flush()
        self._make(Family.V4, *["timeout", "300"] * timed)
        self.config = replace(self.config, families=(Family.V4,))

    def _ours(self, name: str) -> bool:
        return name in MINE.values()


def _saved() -> list[str]:
    return run("ipset", "save").splitlines()


def _holds(value: str, asked: int, version: int) -> bool:
    text, _, length = value.partition("/")
    first = int.from_bytes(socket.inet_pton(FAMILIES[version], text), "big")
    bits = 32 if version == 4 else 128
    shift = bits - int(length or bits)
    return first >> shift == asked >> shift
