"""A wire from a sender to a host with somebody's rules: what a frame costs there, and what it leaves behind.

A veth's other end works on the core of who sends, before the sending returns. So the time of one call that sends some
hundred frames is the time of sending and receiving them all. What is sent to another host's address is thrown away
before the host's network layer hears of it: that is the sending alone.

What our rules let pass is dropped behind them, by a chain of its own: nothing else of what a host does with a packet
is measured, no socket, no answer, no second wire.
"""

from __future__ import annotations

import contextlib
import os
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from tests.lab.frames import KINDS, Volley, Wire, answer, door, frame
from tests.lab.net import family_of

if TYPE_CHECKING:
    import socket
    from collections.abc import Iterator, Sequence

    from tests.lab.net import Host

HERE = {4: "192.0.2.25", 6: "2001:db8:25::25"}
BEHIND = {4: "203.0.113.10", 6: "2001:db8:b::10"}  # a host to which this one forwards
PEERS = {  # who is banned by nobody
    4: [f"100.64.{at >> 8}.{at & 255}" for at in range(256)],
    6: [f"2001:db8:c::{at:x}" for at in range(256)],
}
_SERVICE = 25
_DEVICE = "eth0"
_STATEFUL = """table inet admin {
    chain input { type filter hook input priority 0
        ct state established accept
    }
    chain forward { type filter hook forward priority 0
        ct state established accept
    }
}
"""
_END = """table inet behind {
    chain input { type filter hook input priority 300
        drop
    }
    chain forward { type filter hook forward priority 300
        drop
    }
}
"""
# No reset may end the connections that frames of nobody's sockets opened.
_SILENCE = """table inet silence {
    chain output { type filter hook output priority -400
        drop
    }
}
"""
_COUNT = Path("/proc/sys/net/netfilter/nf_conntrack_count")


@dataclass
class Road:
    """One host, its wire, and the way to send."""

    host: Host
    number: int
    out: socket.socket

    def __post_init__(self) -> None:
        """Know both ends."""
        self._wire = Wire(_mac(self.number, 1), _mac(self.number, 2))

    def volley(self, kind: str, sources: Sequence[str], target: dict[int, str]) -> Volley:
        """Make the frames that these send there."""
        return self._volley(kind, sources, target, self._wire)

    def astray(self, kind: str, sources: Sequence[str], target: dict[int, str]) -> Volley:
        """Make the same frames, addressed to a host that isn't there."""
        return self._volley(kind, sources, target, Wire(self._wire.sender, _mac(self.number, 3)))

    def time(self, volley: Volley) -> float:
        """Send; returns nanoseconds a frame. The first time warms the caches up and counts for nothing."""
        out = self.out.fileno()
        volley.send(out)
        began = time.perf_counter_ns()
        volley.send(out)
        return (time.perf_counter_ns() - began) / len(volley)

    def track(self) -> None:
        """Track connections, as the rules of most hosts make the kernel do, and open some from every peer."""
        self.host.run("nft", "-f", "-", text=_STATEFUL + _SILENCE)
        for version, target in ((v, t) for v in HERE for t in (HERE, BEHIND)):
            for kind in KINDS[1:]:
                peers = PEERS[version]
                self.volley(kind, peers, target).send(self.out.fileno())
                back = [answer(kind, self._wire, target[version], peer, _SERVICE) for peer in peers]
                Volley(back).send(self.out.fileno())

    def end_here(self) -> None:
        """Drop from now on what passes all rules."""
        self.host.run("nft", "-f", "-", text=_END)

    def tracked(self) -> int:
        """Count the connections that are tracked."""
        with self.host.inside():
            return int(_COUNT.read_text()) if _COUNT.exists() else 0

    def clear(self) -> None:
        """Take away all rules and connections."""
        self.host.run("nft", "flush", "ruleset")
        self.host.run("conntrack", "-F", check=False)

    def _volley(self, kind: str, sources: Sequence[str], target: dict[int, str], wire: Wire) -> Volley:
        return Volley([frame(kind, wire, each, target[family_of(each)], _SERVICE) for each in sources])


@contextlib.contextmanager
def road(host: Host, sender: Host, number: int) -> Iterator[Road]:
    """Lay a wire between two hosts."""
    near, far = (_text(_mac(number, end)) for end in (1, 2))
    there = ("peer", "name", _DEVICE, "address", far, "netns", host.name)
    sender.ip("link", "add", f"to{number}", "address", near, "type", "veth", *there)
    sender.ip("link", "set", f"to{number}", "up")
    host.ip("link", "set", _DEVICE, "up")
    host.ip("link", "add", "out", "type", "veth", "peer", "name", "nowhere")
    for device in ("out", "nowhere"):
        host.ip("link", "set", device, "up")
    for version, length in ((4, 24), (6, 64)):
        host.ip("address", "add", f"{HERE[version]}/{32 if version == 4 else 128}", "dev", "lo")
        host.ip(f"-{version}", "route", "add", "default", "dev", _DEVICE)
        host.ip(f"-{version}", "route", "add", f"{_network(BEHIND[version])}/{length}", "dev", "out")
    with host.inside():
        for key, value in _SETTINGS.items():
            Path("/proc/sys/net", key).write_text(value)
    with contextlib.closing(door(sender, f"to{number}")) as out:
        yield Road(host, number, out)


# Tracking looks at no sequence numbers, since every frame is sent many times.
_SETTINGS = {
    "ipv4/ip_forward": "1",
    "ipv6/conf/all/forwarding": "1",
    "netfilter/nf_conntrack_tcp_be_liberal": "1",
}


@contextlib.contextmanager
def pinned() -> Iterator[None]:
    """Keep this thread on one core, the last that it may use."""
    before = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {max(before)})
    try:
        yield
    finally:
        os.sched_setaffinity(0, before)


def _mac(number: int, end: int) -> bytes:
    return bytes((2, 0, 0, end, number >> 8, number & 255))


def _text(mac: bytes) -> str:
    return ":".join(f"{each:02x}" for each in mac)


def _network(address: str) -> str:
    return address.rpartition(".")[0] + ".0" if "." in address else address.rpartition("::")[0] + "::"
