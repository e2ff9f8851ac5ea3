"""Sockets and tracking as bytes, and kernels that can't end sessions."""

from __future__ import annotations

import errno
import socket
import struct
from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fwbouncer.core.suspects import Suspects
from fwbouncer.errors import KernelError
from fwbouncer.kernel import sessions_flows as flows
from fwbouncer.kernel import sessions_tcp as tcp
from fwbouncer.kernel import wire
from fwbouncer.kernel.sessions import Session, Sessions
from fwbouncer.kernel.wire import Reply
from tests.unit.core_naive import thorough
from tests.unit.sessions_help import DESTROY, LIST, LOOK_UP, REMOVE, scripted

if TYPE_CHECKING:
    from collections.abc import Sequence

PEER, LOCAL = bytes([198, 51, 100, 66]), bytes([192, 0, 2, 25])
MAPPED = bytes(10) + b"\xff\xff"
THEIRS = tcp.Connection(socket.AF_INET, tcp.ESTABLISHED, bytes(range(48)), LOCAL, 25, PEER, 40000)


def listed(family: int, state: int, local: bytes, peer: bytes, timer: int = 0) -> Reply:
    """Return a socket as the kernel lists it."""
    identity = struct.pack("!HH16s16s", 25, 40000, local, peer) + bytes(range(12))
    payload = struct.pack("=BBBB", family, state, timer, 0) + identity + bytes(20)
    return Reply(20, 0, 1, 1, memoryview(payload))


def entry(source: bytes, ports: tuple[int, int], target: bytes, flags: int = 0) -> Reply:
    """Return a connection's entry as tracking tells it."""
    first, second = (1, 2) if len(source) == 4 else (3, 4)
    addresses = wire.nested(1, wire.attribute(first, source), wire.attribute(second, target))
    protocol = wire.nested(2, wire.u8(1, 6), wire.u16(2, ports[0]), wire.u16(3, ports[1]))
    state = wire.nested(4, wire.nested(1, wire.u8(1, 3), wire.attribute(4, bytes([flags, 0xFF]))))
    return Reply(0x100, 0, 1, 1, memoryview(bytes(4) + wire.nested(1, addresses, protocol) + state))


class TestSockets:
    """What sock_diag lists."""

    def test_ipv4_in_ipv6s_form(self) -> None:
        """The peer of a socket for both families is an IPv4 address where it speaks IPv4."""
        found = tcp.read(listed(socket.AF_INET6, 1, MAPPED + LOCAL, MAPPED + PEER))
        assert found is not None
        assert (found.peer, found.local, found.family) == (PEER, LOCAL, socket.AF_INET6)
        assert (found.local_port, found.peer_port, found.state) == (25, 40000, tcp.ESTABLISHED)

    def test_what_is_over(self) -> None:
        """What only waits for stray packets is no session."""
        assert tcp.read(listed(socket.AF_INET, 5, LOCAL, PEER, timer=3)) is None
        assert tcp.read(listed(socket.AF_INET, 5, LOCAL, PEER)) is not None

    def test_destroyed_is_what_was_listed(self) -> None:
        """A socket is named to the kernel with the bytes, cookie included, that the kernel named it with."""
        reply = listed(socket.AF_INET, 1, LOCAL, PEER)
        found = tcp.read(reply)
        assert found is not None
        assert tcp.destruction(found).payload[8:] == bytes(reply.payload[4:52])

    def test_cut_short(self) -> None:
        """A list that breaks off is the kernel's error."""
        with pytest.raises(KernelError, match="cut short"):
            tcp.read(Reply(20, 0, 1, 1, memoryview(bytes(51))))

    @thorough
    @given(
        st.lists(
            st.one_of(st.binary(min_size=4, max_size=4), st.binary(min_size=16, max_size=16)), min_size=1
        ),
        st.one_of(st.binary(min_size=4, max_size=4), st.binary(min_size=16, max_size=16)),
        st.data(),
    )
    def test_the_filter(self, hosts: list[bytes], peer: bytes, data: st.DataObject) -> None:
        """Run as the kernel does, the filter accepts a peer exactly if it is in one of the networks."""
        networks = [
            host + bytes([data.draw(st.integers(0, len(host) * 8 - 1))]) if data.draw(st.booleans()) else host
            for host in hosts
        ]
        code = tcp.listing(tcp.Family.V6, tcp.OPEN, networks).payload[56 + 4 :]
        assert accepts(code, peer) is any(holds(network, peer) for network in networks)


def accepts(code: bytes, peer: bytes) -> bool:
    """Run bytecode as inet_diag_bc_run does."""
    left = len(code)
    while left > 0:
        at = len(code) - left
        operation, yes, no = struct.unpack_from("=BBH", code, at)
        true = False
        if operation == 8:
            family, prefix, port = struct.unpack_from("=BBxxi", code, at + 4)
            size = 4 if family == socket.AF_INET else 16
            address = code[at + 12 : at + 12 + size]
            assert port == -1
            true = size == len(peer) and bits(address, prefix) == bits(peer, prefix)
        left -= yes if true else no
    return left == 0


def bits(address: bytes, prefix: int) -> int:
    """Return an address's first bits."""
    return int.from_bytes(address, "big") >> (len(address) * 8 - prefix)


def holds(network: bytes, peer: bytes) -> bool:
    """Say whether a network, or an address, has a peer in it."""
    address, prefix = (network[:-1], network[-1]) if len(network) & 1 else (network, len(network) * 8)
    return len(address) == len(peer) and bits(address, prefix) == bits(peer, prefix)


class TestTracking:
    """What tracking tells of who began."""

    def test_theirs(self) -> None:
        """A peer that called us is the origin."""
        assert flows.origin(entry(PEER, (40000, 25), LOCAL), THEIRS) == flows.Origin(ours=False, port=25)

    def test_redirected(self) -> None:
        """The port that was called is the one before a redirection."""
        behind = THEIRS._replace(local_port=1025)
        assert flows.origin(entry(PEER, (40000, 25), LOCAL), behind) == flows.Origin(ours=False, port=25)

    def test_ours(self) -> None:
        """A connection that begins with our own address and port is ours."""
        ours = THEIRS._replace(local_port=50000, peer_port=25)
        assert flows.origin(entry(LOCAL, (50000, 25), PEER), ours) == flows.Origin(ours=True, port=50000)

    @pytest.mark.parametrize("source", [PEER, LOCAL])
    def test_met_halfway(self, source: bytes) -> None:
        """What tracking met in the middle has no known origin."""
        assert flows.origin(entry(source, (40000, 25), LOCAL, flags=0x0A), THEIRS) is None


class TestKernelsThatLackIt:
    """Said in words, and no error."""

    @pytest.mark.parametrize(
        ("error", "words"), [(errno.EOPNOTSUPP, "CONFIG_INET_DIAG_DESTROY"), (errno.EPERM, "CAP_NET_ADMIN")]
    )
    def test_no_destruction(self, monkeypatch: pytest.MonkeyPatch, error: int, words: str) -> None:
        """A kernel that can't end sockets, or won't, is told apart; then no socket is even looked for."""
        asked = scripted(monkeypatch, destroy=error)
        sessions = Sessions()
        sessions.probe()
        (text,) = sessions.unsupported
        assert "can't be cut" in text
        assert words in text
        asked.clear()
        assert sessions.find(Suspects(keys=[[PEER]])) == []
        assert asked == []

    def test_no_list(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """So is a kernel without tcp_diag."""
        scripted(monkeypatch, list=errno.ENOENT, destroy=errno.ENOENT)
        sessions = Sessions()
        sessions.probe()
        assert len(sessions.unsupported) == 1

    def test_no_tracking(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """Without connection tracking sessions are still ended."""
        asked = scripted(monkeypatch, destroy=errno.ENOENT, look_up=errno.EINVAL)
        sessions = Sessions()
        sessions.probe()
        (text,) = sessions.unsupported
        assert "nf_conntrack_netlink" in text
        asked.clear()
        sessions.find(Suspects(keys=[[PEER]]))
        assert LIST in asked

    def test_a_whole_kernel(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """Where what is never there is said not to be there, nothing lacks."""
        asked = scripted(monkeypatch, destroy=errno.ENOENT, look_up=errno.ENOENT)
        sessions = Sessions()
        sessions.probe()
        assert sessions.unsupported == ()
        assert {DESTROY, LOOK_UP} <= set(asked)

    def test_nothing_to_end_is_success(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """A session that has ended meanwhile is not counted, and its tracking goes, too."""
        asked = scripted(monkeypatch, destroy=errno.ENOENT)
        sessions = Sessions()
        assert sessions.cut([Session(THEIRS, ours=False, port=25)]) == []
        assert sessions.unsupported == ()
        assert asked == [DESTROY, REMOVE]

    def test_the_tracking_of_what_lives_stays(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """While a socket lives its entry isn't touched: without it the peer's packets could pass as replies."""
        asked = scripted(monkeypatch, destroy=errno.EPERM)
        sessions = Sessions()
        assert sessions.cut([Session(THEIRS, ours=False, port=25)]) == []
        assert REMOVE not in asked
        assert "CAP_NET_ADMIN" in sessions.unsupported[0]


def test_sockets_before_tracking(monkeypatch: pytest.MonkeyPatch) -> None:
    """All sockets end before the first entry goes."""
    asked = scripted(monkeypatch)
    sessions: Sequence[Session] = [Session(THEIRS, ours=False, port=25)] * 250
    assert len(Sessions().cut(sessions)) == 250
    assert asked == [DESTROY] * 250 + [REMOVE] * 250
