"""A small internet of network namespaces: a mail host, an attacker's network and an honest client.

    attacker 198.51.100.66 ──── mail host 192.0.2.25 ──── honest 203.0.113.10
             2001:db8:a::66               2001:db8:25::25         2001:db8:b::10
             and every address of
             198.18.0.0/15 and
             2001:db8:ba0::/44

No packet leaves the namespaces, and none of the machine's own enters.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import secrets
import subprocess
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tests.lab.shell import run

if TYPE_CHECKING:
    from collections.abc import Iterator

CLONE_NEWNET = 0x40000000
MAIL = {4: "192.0.2.25", 6: "2001:db8:25::25"}
ATTACKER = {4: "198.51.100.66", 6: "2001:db8:a::66"}
HONEST = {4: "203.0.113.10", 6: "2001:db8:b::10"}
ATTACKER_NETWORKS = {4: "198.18.0.0/15", 6: "2001:db8:ba0::/44"}

_libc = ctypes.CDLL(None, use_errno=True)


def _enter(descriptor: int) -> None:
    if _libc.setns(descriptor, CLONE_NEWNET) != 0:
        raise OSError(ctypes.get_errno(), "setns")


def family_of(address: str) -> int:
    """Return 4 or 6."""
    return 6 if ":" in address else 4


@dataclass(frozen=True, slots=True)
class Host:
    """One network namespace."""

    name: str

    @contextlib.contextmanager
    def inside(self) -> Iterator[None]:
        """Put this thread into the namespace: a socket made meanwhile stays there for its life."""
        home = os.open("/proc/thread-self/ns/net", os.O_RDONLY)
        there = os.open(f"/run/netns/{self.name}", os.O_RDONLY)
        try:
            _enter(there)
            yield
        finally:
            _enter(home)
            os.close(there)
            os.close(home)

    def run(self, *words: str, check: bool = True, text: str | None = None, timeout: float = 60) -> str:
        """Run a command here."""
        return run("ip", "netns", "exec", self.name, *words, check=check, text=text, timeout=timeout)

    def start(self, *words: str, **popen: Any) -> subprocess.Popen[bytes]:
        """Start a program here; its pid is the program's own, since `ip` becomes it."""
        return subprocess.Popen(("ip", "netns", "exec", self.name, *words), **popen)

    def ip(self, *words: str) -> None:
        """Change this host's network."""
        run("ip", "-n", self.name, *words)

    def pids(self) -> list[int]:
        """Return the processes that live here."""
        return [int(pid) for pid in run("ip", "netns", "pids", self.name, check=False).split()]


@dataclass(frozen=True, slots=True)
class Network:
    """The three hosts, connected."""

    mail: Host
    attacker: Host
    honest: Host

    @property
    def hosts(self) -> tuple[Host, Host, Host]:
        """All of them."""
        return self.mail, self.attacker, self.honest


def _add_host(name: str) -> Host:
    run("ip", "netns", "add", name)
    host = Host(name)
    # Addresses are usable at once, and any source may come in by any door.
    settings = {
        "ipv6/conf/all/accept_dad": "0",
        "ipv6/conf/default/accept_dad": "0",
        "ipv4/conf/all/rp_filter": "0",
        "ipv4/conf/default/rp_filter": "0",
        # A test that counts refusals must not wait for the kernel's own limit on them.
        "ipv4/icmp_ratelimit": "0",
        "ipv6/icmp/ratelimit": "0",
    }
    with host.inside():
        for key, value in settings.items():
            Path("/proc/sys/net", key).write_text(value)
    host.ip("link", "set", "lo", "up")
    return host


def _connect(mail: Host, peer: Host, peers: dict[int, str], gateways: dict[int, str]) -> None:
    door = f"to-{peer.name[-4:]}"
    mail.ip("link", "add", door, "type", "veth", "peer", "name", "eth0", "netns", peer.name)
    for host, device, addresses in ((mail, door, gateways), (peer, "eth0", peers)):
        host.ip("link", "set", device, "up")
        host.ip("address", "add", f"{addresses[4]}/24", "dev", device)
        host.ip("address", "add", f"{addresses[6]}/64", "dev", device, "nodad")
    peer.ip("route", "add", "default", "via", gateways[4])
    peer.ip("-6", "route", "add", "default", "via", gateways[6])


def _remove_host(name: str) -> None:
    for pid in Host(name).pids():
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, 9)
    run("ip", "netns", "delete", name, check=False)


@contextlib.contextmanager
def network() -> Iterator[Network]:
    """Build the three hosts; take them down whatever happens."""
    tag = secrets.token_hex(3)
    names = [f"fwb-{tag}-{role}" for role in ("mail", "attk", "hone")]
    try:
        mail, attacker, honest = (_add_host(name) for name in names)
        _connect(mail, attacker, ATTACKER, {4: "198.51.100.1", 6: "2001:db8:a::1"})
        _connect(mail, honest, HONEST, {4: "203.0.113.1", 6: "2001:db8:b::1"})
        mail.ip("address", "add", f"{MAIL[4]}/32", "dev", "lo")
        mail.ip("address", "add", f"{MAIL[6]}/128", "dev", "lo", "nodad")
        for number, prefix in ATTACKER_NETWORKS.items():
            mail.ip(f"-{number}", "route", "add", prefix, "via", ATTACKER[number])
            attacker.ip(f"-{number}", "route", "add", "local", prefix, "dev", "lo")
        yield Network(mail, attacker, honest)
    finally:
        for name in names:
            _remove_host(name)


@contextlib.contextmanager
def lone_host(role: str) -> Iterator[Host]:
    """Build a host that is connected to nobody; take it down whatever happens."""
    name = f"fwb-{secrets.token_hex(3)}-{role}"
    try:
        yield _add_host(name)
    finally:
        _remove_host(name)


@contextlib.contextmanager
def one_more(net: Network, role: str, addresses: dict[int, str], gateways: dict[int, str]) -> Iterator[Host]:
    """Connect one more host to the mail host; its role is told by four letters."""
    name = f"{net.mail.name.removesuffix('mail')}{role}"
    try:
        host = _add_host(name)
        _connect(net.mail, host, addresses, gateways)
        yield host
    finally:
        _remove_host(name)
