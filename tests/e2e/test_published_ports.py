"""Published ports and odd packets: containers behind translation, fragments, extension headers."""

from __future__ import annotations

import contextlib
import secrets
import socket
import struct
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from tests.lab.net import HONEST, MAIL, Host
from tests.lab.packets import Greeter, dial
from tests.lab.shell import run
from tests.lab.xtables import bench

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.conftest import MakeBouncer
    from tests.fake_lapi import FakeLapi
    from tests.lab.net import Network

GREETING = "220 mail.example.net"
PEER = {4: "198.18.1.1", 6: "2001:db8:bad::1"}
INSIDE = {4: "172.18.0.2", 6: "2001:db8:c::2"}
GATE = {4: "172.18.0.1", 6: "2001:db8:c::1"}
# Published port -> the container's own.
PUBLISHED = {2525: 25, 2143: 143}
PLACES: dict[str, dict[str, Any]] = {
    "early": {"mode": "nftables"},
    "hooks": {"mode": "nftables", "nftables_hooks": ["input", "forward"]},
    "late-prerouting": {
        "mode": "nftables",
        "nftables_hooks": ["prerouting"],
        "nftables": {"ipv4": {"priority": -50}, "ipv6": {"priority": -50}},
    },
    "iptables-early": {"mode": "iptables"},
    "iptables-docker": {"mode": "iptables", "iptables_chains": ["INPUT", "DOCKER-USER"]},
}
places = pytest.mark.parametrize("place", PLACES)
IPV6_DSTOPTS, IPV6_HOPOPTS = 59, 54


@pytest.fixture(autouse=True)
def _tidy(net: Network) -> Iterator[None]:
    """Leave no rule of iptables and no set behind."""
    yield
    with bench(net, "nft"):
        pass  # it cleans up as it ends


@pytest.fixture
def container(net: Network) -> Iterator[Host]:
    """Run a container as Docker does: behind translation of its published ports, with two services in it."""
    host = Host(f"fwb-{secrets.token_hex(3)}-ctnr")
    run("ip", "netns", "add", host.name)
    try:
        host.ip("link", "set", "lo", "up")
        net.mail.ip("link", "add", "docker0", "type", "veth", "peer", "name", "eth0", "netns", host.name)
        for there, device, addresses in ((net.mail, "docker0", GATE), (host, "eth0", INSIDE)):
            there.ip("link", "set", device, "up")
            there.ip("address", "add", f"{addresses[4]}/24", "dev", device)
            there.ip("address", "add", f"{addresses[6]}/64", "dev", device, "nodad")
        host.ip("route", "add", "default", "via", GATE[4])
        host.ip("-6", "route", "add", "default", "via", GATE[6])
        with net.mail.inside():
            Path("/proc/sys/net/ipv4/ip_forward").write_text("1")
            Path("/proc/sys/net/ipv6/conf/all/forwarding").write_text("1")
        for program, inside in (("iptables", INSIDE[4]), ("ip6tables", f"[{INSIDE[6]}]")):
            net.mail.run(program, "-N", "DOCKER-USER")
            net.mail.run(program, "-A", "FORWARD", "-j", "DOCKER-USER")
            for outer, inner in PUBLISHED.items():
                words = (
                    "-p",
                    "tcp",
                    "--dport",
                    f"{outer}",
                    "-j",
                    "DNAT",
                    "--to-destination",
                    f"{inside}:{inner}",
                )
                net.mail.run(program, "-t", "nat", "-A", "PREROUTING", *words)
        with contextlib.ExitStack() as stack:
            for port in PUBLISHED.values():
                stack.enter_context(contextlib.closing(Greeter(host, port)))
            yield host
    finally:
        run("ip", "netns", "delete", host.name)
        net.mail.run("ip", "link", "delete", "docker0", check=False)


def seen(net: Network, source: str, *ports: int) -> list[str]:
    """Return what a peer sees of some ports."""
    host = net.honest if source in HONEST.values() else net.attacker
    answers = [dial(host, source, port=port, timeout=0.4) for port in ports]
    return ["open" if answer == GREETING else answer for answer in answers]


@places
def test_a_containers_published_port_closes(
    bouncer: MakeBouncer, fake_lapi: FakeLapi, net: Network, container: Host, place: str
) -> None:
    """A ban closes the published port that is named and no other container's; the container's own doesn't count."""
    for source in PEER.values():
        fake_lapi.ban(source)
    protect = {"ports": [2525, 143], "reset_ports": [2525]} if place == "hooks" else {"ports": [2525, 143]}
    bouncer(None, api_url=fake_lapi.url, protect=protect, **PLACES[place]).start()
    for source in PEER.values():
        assert seen(net, source, 2525, 2143) == ["refused" if place == "hooks" else "timeout", "open"]
    for source in HONEST.values():
        assert seen(net, source, 2525, 2143) == ["open", "open"]


def test_published_mail_servers_hear_a_reset(
    bouncer: MakeBouncer, fake_lapi: FakeLapi, net: Network, container: Host
) -> None:
    """A reset on a published port reaches the banned client."""
    fake_lapi.ban(PEER[4])
    protect = {"ports": [2525, 2143], "reset_ports": [2525]}
    for mode in ("nftables", "iptables"):
        running = bouncer(None, api_url=fake_lapi.url, protect=protect, mode=mode)
        running.start()
        assert seen(net, PEER[4], 2525, 2143) == ["refused", "timeout"]
        running.stop()


def test_a_container_gets_answers_to_its_own_calls(
    bouncer: MakeBouncer, fake_lapi: FakeLapi, net: Network, container: Host
) -> None:
    """What a container begins itself is answered by a banned host, with every port closed."""
    fake_lapi.ban("198.51.100.66")
    net.mail.run("iptables", "-t", "nat", "-A", "POSTROUTING", "-s", "172.18.0.0/24", "-j", "MASQUERADE")
    with contextlib.closing(Greeter(net.attacker)):
        bouncer(None, api_url=fake_lapi.url, protect={"ports": ["1-65535"]}).start()
        assert dial(container, INSIDE[4], "198.51.100.66") == GREETING


def udp(host: Host, source: str, options: tuple[tuple[int, bytes], ...] = ()) -> socket.socket:
    """Open a sender with an address and IPv6 headers of its own."""
    version = 6 if ":" in source else 4
    with host.inside():
        sender = socket.socket(socket.AF_INET6 if version == 6 else socket.AF_INET, socket.SOCK_DGRAM)
    sender.setsockopt(*((socket.IPPROTO_IPV6, 78) if version == 6 else (socket.IPPROTO_IP, 15)), 1)
    for option, value in options:
        sender.setsockopt(socket.IPPROTO_IPV6, option, value)
    sender.bind((source, 0))
    return sender


@contextlib.contextmanager
def listening(net: Network, port: int) -> Iterator[socket.socket]:
    """Listen for UDP on the mail host."""
    with net.mail.inside():
        server = socket.socket(socket.AF_INET6, socket.SOCK_DGRAM)
    with server:
        server.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0)
        server.bind(("::", port))
        server.settimeout(0.4)
        yield server


def arrives(server: socket.socket, sender: socket.socket, payload: bytes) -> bool:
    """Send something; tell whether it comes in whole."""
    port = server.getsockname()[1]
    version = 6 if sender.family == socket.AF_INET6 else 4
    with sender, contextlib.suppress(TimeoutError):
        sender.sendto(payload, (MAIL[version], port))
        return server.recv(65535) == payload
    return False


PADDING = bytes((0, 0, 1, 4, 0, 0, 0, 0))  # next header, length, and an option of six bytes that says nothing


@pytest.mark.parametrize("tracked", [False, True])
def test_fragments_are_no_way_in(
    bouncer: MakeBouncer, fake_lapi: FakeLapi, net: Network, tracked: bool
) -> None:
    """What comes in pieces is stopped at closed ports and passes at others, with connection tracking and without."""
    for source in PEER.values():
        fake_lapi.ban(source)
    if tracked:
        net.mail.run("nft", "add table inet t; add chain inet t c { type filter hook input priority 0; }; "
                            "add rule inet t c ct state new counter")  # fmt: skip
    bouncer(None, api_url=fake_lapi.url, protect={"ports": [4191]}).start()
    large = secrets.token_bytes(5000)
    with listening(net, 4191) as closed, listening(net, 4192) as opened:
        for version in (4, 6):
            assert not arrives(closed, udp(net.attacker, PEER[version]), large)
            assert arrives(opened, udp(net.attacker, PEER[version]), large)
            assert arrives(closed, udp(net.honest, HONEST[version]), large)


def test_extension_headers_hide_no_port(bouncer: MakeBouncer, fake_lapi: FakeLapi, net: Network) -> None:
    """IPv6 headers in front of UDP don't hide which port it goes to."""
    fake_lapi.ban(PEER[6])
    bouncer(None, api_url=fake_lapi.url, protect={"ports": [4191]}).start()
    with listening(net, 4191) as closed, listening(net, 4192) as opened:
        for header in (IPV6_DSTOPTS, IPV6_HOPOPTS):
            options = ((header, PADDING),)
            assert not arrives(closed, udp(net.attacker, PEER[6], options), b"x")
            assert arrives(opened, udp(net.attacker, PEER[6], options), b"x")
            assert arrives(closed, udp(net.honest, HONEST[6], options), b"x")


@pytest.mark.parametrize("tracked", [False, True])
def test_a_first_fragment_without_a_port_gets_nowhere(
    bouncer: MakeBouncer, fake_lapi: FakeLapi, net: Network, tracked: bool
) -> None:
    """An IPv6 packet whose port comes in its second piece only is not put together."""
    fake_lapi.ban(PEER[6])
    if tracked:
        net.mail.run("nft", "add table inet t; add chain inet t c { type filter hook input priority 0; }; "
                            "add rule inet t c ct state new counter")  # fmt: skip
    bouncer(None, api_url=fake_lapi.url, protect={"ports": [4191]}).start()
    with listening(net, 4191) as closed:
        for piece in _hidden(PEER[6], MAIL[6], 4191):
            with net.attacker.inside():
                raw = socket.socket(socket.AF_INET6, socket.SOCK_RAW, socket.IPPROTO_RAW)
            with raw:
                raw.sendto(piece, (MAIL[6], 0))
        with pytest.raises(TimeoutError):
            closed.recv(100)


def _hidden(source: str, target: str, port: int) -> list[bytes]:
    """Write UDP behind destination options, cut so that the first piece ends before UDP begins."""
    ends = socket.inet_pton(socket.AF_INET6, source) + socket.inet_pton(socket.AF_INET6, target)
    payload = b"hidden!!"
    plain = struct.pack("!HHHH", 4000, port, 8 + len(payload), 0) + payload
    checked = ends + struct.pack("!IxxxB", len(plain), 17) + plain
    total = sum(struct.unpack(f"!{len(checked) // 2}H", checked))
    while total >> 16:
        total = (total & 0xFFFF) + (total >> 16)
    datagram = struct.pack("!HHHH", 4000, port, 8 + len(payload), ~total & 0xFFFF) + payload
    options = bytes((17, 0)) + PADDING[2:]
    pieces = []
    for offset, more, part in ((0, 1, options), (1, 0, datagram)):
        fragment = struct.pack("!BxHI", 60, offset << 3 | more, 7) + part
        pieces.append(struct.pack("!IHBB", 6 << 28, len(fragment), 44, 64) + ends + fragment)
    return pieces
