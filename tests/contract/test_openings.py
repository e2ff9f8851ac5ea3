"""What opens a connection is judged before tracking; what may be an answer is judged where tracking tells it apart."""

from __future__ import annotations

import contextlib
import json
import socket
import time
from dataclasses import replace
from typing import TYPE_CHECKING

import pytest

from fwbouncer.config.schema import Deny, Replies
from fwbouncer.core.model import NEVER_BLOCK, PROCESSED, Family, Kind, SetChange, SetKey
from fwbouncer.core.policy import Action, Policies, Policy
from fwbouncer.core.ports import Ports
from tests.contract.nft_subject import NftSubject
from tests.contract.subjects import MINUTE
from tests.lab.frames import Volley, Wire, door, frame
from tests.lab.net import ATTACKER, HONEST, MAIL, family_of
from tests.lab.packets import Greeter, client, dial
from tests.lab.shell import run

if TYPE_CHECKING:
    from collections.abc import Iterator

    from fwbouncer.core.model import Change
    from fwbouncer.kernel.backend import Backend
    from tests.lab.net import Host, Network
    from tests.lab.packets import Probe

BANNED = {4: "198.18.0.1", 6: "2001:db8:ba0::1"}
RANGE = {4: "198.18.16.0/24", 6: "2001:db8:ba1::/64"}
IN_RANGE = {4: "198.18.16.9", 6: "2001:db8:ba1::9"}
FREE = {4: "198.18.0.9", 6: "2001:db8:ba0::9"}
OPENINGS = ("TCP SYN", "ICMP echo")
SERVICE = 25
versions = pytest.mark.parametrize("version", [4, 6])


@pytest.fixture
def subject(net: Network, probe: Probe) -> Iterator[NftSubject]:
    """Be on the mail host, which tracks connections as one with an administrator's own rules does."""
    with net.mail.inside(), contextlib.closing(NftSubject(net=net, probe=probe, owned=False)) as made:
        run("nft", "-f", "-", text=_ADMINS)
        yield made


_ADMINS = """table inet admin {
    chain input { type filter hook input priority 0; ct state established accept; }
    chain forward { type filter hook forward priority 0; ct state established accept; }
}
""".replace("; }", "\n}")


class Flood:
    """Sends frames from any address to any; tells what they left behind."""

    def __init__(self, net: Network) -> None:
        self._mail = net.mail
        self._wire = Wire(_mac(net.attacker, "eth0"), _mac(net.mail, f"to-{net.attacker.name[-4:]}"))
        self._door = door(net.attacker, "eth0")

    def send(self, kind: str, *sources: str, target: str = "", times: int = 1) -> None:
        """Send frames and wait until the kernel is done with them: a veth's other end works at once."""
        frames = [
            frame(kind, self._wire, source, target or MAIL[family_of(source)], SERVICE) for source in sources
        ]
        Volley(frames * times).send(self._door.fileno())
        time.sleep(0.05)

    def tracked(self, source: str) -> str:
        """List what tracking remembers of an address."""
        family = "ipv6" if ":" in source else "ipv4"
        return self._mail.run("conntrack", "-L", "-f", family, "--orig-src", source, check=False)

    def close(self) -> None:
        """Send no more."""
        self._door.close()


@pytest.fixture
def flood(net: Network) -> Iterator[Flood]:
    """Be on the attacker's wire."""
    with contextlib.closing(Flood(net)) as made:
        yield made


def _mac(host: Host, device: str) -> bytes:
    link = json.loads(host.run("ip", "-j", "link", "show", "dev", device))[0]
    return bytes.fromhex(link["address"].replace(":", ""))


def banning(subject: NftSubject, *more: str) -> Change:
    """Ban an address and a network of each family."""
    return subject.change(add=dict.fromkeys((*BANNED.values(), *RANGE.values(), *more), 9 * MINUTE))


def sparing(subject: NftSubject, version: int, address: str) -> Change:
    """Let an address pass."""
    family = Family(version)
    packed = socket.inet_pton(socket.AF_INET if version == 4 else socket.AF_INET6, address)
    change = SetChange(add=[(packed + packed, subject.now() + 9 * MINUTE)])
    return {SetKey(NEVER_BLOCK, family, Kind.RANGES): change}


def packets(backend: Backend, group: str, version: int) -> int:
    """Read a counter."""
    return sum(c.packets for c in backend.counters() if (c.group, c.family) == (group, Family(version)))


@versions
@pytest.mark.parametrize("kind", OPENINGS)
def test_a_flood_leaves_no_entry(
    subject: NftSubject, flood: Flood, greeter: Greeter, kind: str, version: int
) -> None:
    """Banned openings are dropped and counted once each, and tracking hears of none; a free peer's is tracked."""
    backend = subject.backend()
    backend.apply(banning(subject))
    flood.send(kind, BANNED[version], IN_RANGE[version], times=50)
    assert packets(backend, "crowdsec", version) == 100
    assert packets(backend, PROCESSED, version) >= 100
    assert not flood.tracked(BANNED[version]).strip()
    assert not flood.tracked(IN_RANGE[version]).strip()
    flood.send(kind, FREE[version])
    assert FREE[version] in flood.tracked(FREE[version])
    assert packets(backend, "crowdsec", version) == 100


@versions
@pytest.mark.parametrize("kind", ["TCP data", "UDP"])
def test_what_may_be_an_answer_is_dropped_later(
    subject: NftSubject, flood: Flood, kind: str, version: int
) -> None:
    """Other packets of banned peers are dropped and counted once, too, and leave no entry either."""
    backend = subject.backend()
    backend.apply(banning(subject))
    flood.send(kind, BANNED[version], times=50)
    assert packets(backend, "crowdsec", version) == 50
    assert not flood.tracked(BANNED[version]).strip()


@versions
def test_answers_of_the_banned_pass(subject: NftSubject, net: Network, version: int) -> None:
    """What this host begins is answered by a banned peer: TCP, UDP and an echo; the neighbour is found anew."""
    subject.backend().apply(banning(subject, ATTACKER[version]))
    net.mail.ip("neigh", "flush", "all")
    with contextlib.closing(Greeter(net.attacker)):
        assert dial(net.mail, _ours(version), ATTACKER[version]) == "220 mail.example.net"
    assert _echoed(version)
    family = socket.AF_INET if version == 4 else socket.AF_INET6
    with net.attacker.inside():
        server = socket.socket(family, socket.SOCK_DGRAM)
    with server, socket.socket(family, socket.SOCK_DGRAM) as asking:
        for each, address in ((server, ATTACKER[version]), (asking, _ours(version))):
            each.settimeout(5)
            each.bind((address, 123))  # as an NTP client may, which asks from the port that it serves
        asking.sendto(b"?", (ATTACKER[version], 123))
        server.sendto(b"!", server.recvfrom(10)[1])
        assert asking.recv(10) == b"!"


@versions
@pytest.mark.parametrize("kind", [*OPENINGS, "TCP data", "UDP"])
def test_who_is_spared_passes_and_is_counted_once(
    subject: NftSubject, flood: Flood, kind: str, version: int
) -> None:
    """A never-blocked address in a banned network gets everything through, and each packet counts once as spared."""
    backend = subject.backend()
    backend.apply({**banning(subject), **sparing(subject, version, IN_RANGE[version])})
    run("nft", "add table inet seen { chain input { type filter hook input priority 10; } ; }")
    run("nft", "add", "rule", "inet", "seen", "input", "ip", "saddr", IN_RANGE[4], "counter")
    run("nft", "add", "rule", "inet", "seen", "input", "ip6", "saddr", IN_RANGE[6], "counter")
    flood.send(kind, IN_RANGE[version], times=20)
    assert "counter packets 20 " in run("nft", "list", "table", "inet", "seen")
    assert packets(backend, NEVER_BLOCK, version) == 20
    assert packets(backend, "crowdsec", version) == 0
    flood.send(kind, FREE[version], times=5)
    assert packets(backend, NEVER_BLOCK, version) == 20


@versions
def test_a_live_connection_of_a_newly_banned_peer_is_silenced(
    subject: NftSubject, net: Network, greeter: Greeter, version: int
) -> None:
    """A peer that was connected before its ban sends nothing more that is heard."""
    backend = subject.backend()
    backend.apply({})
    with client(net.attacker, ATTACKER[version]) as peer:
        peer.settimeout(5)
        peer.connect((MAIL[version], SERVICE))
        assert peer.recv(100)
        backend.apply(banning(subject, ATTACKER[version]))
        peer.sendall(b"NOOP\r\n")
        peer.settimeout(0.5)
        with pytest.raises(TimeoutError):
            peer.recv(100)


@versions
@pytest.mark.parametrize("kind", ["TCP SYN", "UDP"])
def test_what_is_forwarded_is_judged_likewise(
    subject: NftSubject, flood: Flood, net: Network, kind: str, version: int
) -> None:
    """A banned peer's packets to a host behind this one are dropped, counted once and not tracked."""
    net.mail.run("sysctl", "-qw", "net.ipv4.ip_forward=1", "net.ipv6.conf.all.forwarding=1")
    try:
        backend = subject.backend()
        backend.apply(banning(subject))
        flood.send(kind, BANNED[version], target=HONEST[version], times=10)
        assert packets(backend, "crowdsec", version) == 10
        assert not flood.tracked(BANNED[version]).strip()
        flood.send(kind, FREE[version], target=HONEST[version])
        assert FREE[version] in flood.tracked(FREE[version])
    finally:
        net.mail.run("sysctl", "-qw", "net.ipv4.ip_forward=0", "net.ipv6.conf.all.forwarding=0")


PORTS = Ports.of(4190)
SHAPES = {
    "reject": {"deny": Deny(action=Action.REJECT)},
    "log": {"deny": Deny(log=True)},
    "replies drop": {"replies": Replies.DROP},
    "place": {"given_place": True},
    "one rejects": {"policies": Policies(Policy(), (Policy("refuse", action=Action.REJECT),))},
    "one has ports": {"policies": Policies(Policy(), (Policy("some", listed=PORTS),))},
    "answers' ports": {"policies": Policies(Policy(), (Policy("some", listed=Ports.of((40000, 50000))),))},
}


@pytest.mark.parametrize("shape", SHAPES)
def test_every_shape_counts_each_packet_once(subject: NftSubject, flood: Flood, shape: str) -> None:
    """Whatever verdicts, policies and places there are: dropped, spared and passing packets are counted once."""
    subject.config = replace(subject.config, **SHAPES[shape])  # type: ignore[arg-type]
    backend = subject.backend()
    backend.apply({**banning(subject), **sparing(subject, 4, FREE[4])})
    backend.apply(subject.change(add={FREE[4]: MINUTE}))
    before = packets(backend, PROCESSED, 4)
    for kind in (*OPENINGS, "TCP data", "UDP"):
        flood.send(kind, BANNED[4], FREE[4], "198.18.0.10", times=10)
    assert packets(backend, "crowdsec", 4) == 40
    assert packets(backend, NEVER_BLOCK, 4) == 40
    assert packets(backend, PROCESSED, 4) - before >= 120
    assert packets(backend, PROCESSED, 4) - before < 150
    assert subject.backend().whole()


@pytest.mark.parametrize("first", ["", "reject", "replies drop", "place"])
def test_shapes_follow_each_other_without_a_gap(subject: NftSubject, net: Network, first: str) -> None:
    """While verdicts and places change, no packet of a banned peer gets through."""
    plain = subject.config
    shapes = {"": {}, **SHAPES}
    subject.config = replace(plain, **shapes[first])  # type: ignore[arg-type]
    subject.backend().apply(banning(subject))
    with subject.watched(BANNED[4]) as seen:
        for each in shapes.values():
            for config in (replace(plain, **each), replace(plain, **shapes[first])):  # type: ignore[arg-type]
                subject.config = config
                subject.backend().apply({})
    assert seen
    assert not any(seen)


EARLIER = """
table ip crowdsec {
    counter processed { }
    counter crowdsec-never-block { }
    counter crowdsec-blacklists-crowdsec { }
    set crowdsec-never-block { type ipv4_addr; flags interval,timeout; elements = { 192.0.2.25 }; }
    set crowdsec-blacklists-crowdsec { type ipv4_addr; flags timeout; elements = { 198.18.0.1 timeout 9m }; }
    chain crowdsec-chain-input {
        type filter hook input priority -10; policy accept;
        counter name "processed" comment "packets seen [d534f4ab]"
        ct direction reply return comment "replies pass [ccad65d6]"
        ip saddr @crowdsec-never-block counter name "crowdsec-never-block" return comment "never blocked [05c08725]"
        ip saddr @crowdsec-blacklists-crowdsec counter name "crowdsec-blacklists-crowdsec" drop comment "banned [1]"
    }
}
"""


def test_rules_of_an_earlier_release_are_taken_over(subject: NftSubject) -> None:
    """Rules that judge everything at one hook become ours, with their bans, and no packet slips through meanwhile."""
    for _ in range(3):
        run("nft", "-f", "-", text=EARLIER)
        with subject.watched(BANNED[4]) as seen:
            backend = subject.backend()
            backend.apply({})
            assert backend.whole()
        assert seen
        assert not any(seen)
        assert "crowdsec-chain-opening" in run("nft", "list", "table", "ip", "crowdsec")
        run("nft", "delete", "table", "ip", "crowdsec")
        subject.opened.pop().close()


def _echoed(version: int) -> bool:
    """Ask the banned peer for an echo, from the mail host where this runs."""
    family, protocol, request, answer = (
        (socket.AF_INET, socket.IPPROTO_ICMP, 8, 0) if version == 4 else (socket.AF_INET6, 58, 128, 129)
    )
    body = b"\x12\x34\x00\x01"
    total = 0xFFFF - (request << 8) - 0x1234 - 1  # the kernel does it for version 6
    with socket.socket(family, socket.SOCK_RAW, protocol) as raw:
        raw.settimeout(5)
        raw.sendto(bytes([request, 0]) + total.to_bytes(2, "big") + body, (ATTACKER[version], 0))
        while True:
            heard = raw.recv(200)[20 if version == 4 else 0 :]
            if heard[0] == answer and heard[4:8] == body:
                return True


def _ours(version: int) -> str:
    return {4: "198.51.100.1", 6: "2001:db8:a::1"}[version]


def test_networks_are_looked_up_only_where_some_are(subject: NftSubject) -> None:
    """Networks bite at once wherever they come, far from others, in one block with them, huge, or by the thousand."""
    backend = subject.backend()
    apart = [f"198.18.{at}.0/24" for at in (0, 64, 255)] + ["198.19.7.0/30"]
    for network in apart:
        backend.apply(subject.change(add={network: 9 * MINUTE}))
        assert backend.whole()
        assert not subject.passing(network.replace(".0/", ".1/").partition("/")[0])
    assert subject.passing("198.18.1.1", "198.19.7.9") == {"198.18.1.1", "198.19.7.9"}
    backend.apply(subject.change(remove=(apart[0],), add={"2001:db8:ba0::/44": 9 * MINUTE}))
    assert subject.passing("198.18.0.1", "2001:db8:baf::1") == {"198.18.0.1"}
    many = [f"{first}.{second}.0.0/24" for first in range(20, 40) for second in range(0, 256, 2)]
    backend.apply(subject.change(add=dict.fromkeys((*many, "2400::/12"), 9 * MINUTE)))
    assert backend.whole()
    assert subject.passing("198.18.64.1", "198.18.1.1", "2001:db8:baf::1") == {"198.18.1.1"}
    assert subject.backend().whole()
    backend.apply(subject.change(add={"198.18.1.0/24": 9 * MINUTE}))
    assert not subject.passing("198.18.1.1")


def test_a_network_in_a_new_place_is_banned_without_a_pause(subject: NftSubject) -> None:
    """A network far from all others is banned in one transaction, and what was banned stays so."""
    backend = subject.backend()
    backend.apply(banning(subject))
    with subject.watched(IN_RANGE[4]) as seen:
        for at in range(15):
            before = subject.generation()
            backend.apply(subject.change(add={f"{20 + at}.7.0.0/16": 9 * MINUTE}))
            assert subject.generation() == before + 1
    assert seen
    assert not any(seen)
