"""Finds the TCP sessions of peers that are shut out, and ends them: the socket first, then its tracking.

The order matters. As long as the socket lives it sends again what the peer has not acknowledged; without an entry
connection tracking would take that for a connection that this host opens, and the peer's packets for replies to it.
For the same reason only entries of sockets that are gone are removed. An entry that stays lets nobody in: it says
that the peer began, so that the peer's packets are no replies, and the bans drop them.
"""

from __future__ import annotations

import errno
import socket
from contextlib import closing
from typing import TYPE_CHECKING, NamedTuple

from fwbouncer.core.model import Family
from fwbouncer.errors import KernelBusy, KernelError
from fwbouncer.kernel import sessions_flows as flows
from fwbouncer.kernel import sessions_tcp as tcp
from fwbouncer.kernel import wire
from fwbouncer.kernel.socket import NetlinkSocket

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from fwbouncer.core.model import AddressKey
    from fwbouncer.core.suspects import Suspects
    from fwbouncer.kernel.sessions_tcp import Connection
    from fwbouncer.kernel.wire import Reply

# So many networks the kernel can be told to look for; of more, all sockets are listed and compared here.
_FEW = 64
_WILDCARDS = {bytes(4), bytes(16)}
# What a kernel says that can't end sockets, and one whose connection tracking can't be asked.
_REASONS = {
    errno.EOPNOTSUPP: "this kernel is built without CONFIG_INET_DIAG_DESTROY",
    errno.EINVAL: "this kernel has no nf_conntrack_netlink",
    errno.EPERM: "this needs CAP_NET_ADMIN",
}
_SAMPLE = tcp.Connection(int(socket.AF_INET), 0, bytes(48), bytes(4), 0, bytes(4), 0)  # no socket is like it


class Session(NamedTuple):
    """A connection of a peer that may be shut out."""

    connection: Connection
    ours: bool  # this host opened it
    port: int  # of this host: where the peer sends to, before any redirection

    @property
    def peer(self) -> AddressKey:
        """Return the other end's address."""
        return self.connection.peer


class Sessions:
    """The TCP sessions of this network namespace. Every method blocks; one thread at a time calls them."""

    def __init__(self) -> None:
        self.unsupported: tuple[str, ...] = ()  # what this kernel can't do, in words
        self._cuts = True

    def probe(self) -> None:
        """Find out what this kernel can do, by asking for what is never there."""
        sockets, tracking = _sockets_lack(), _tracking_lacks()
        self._cuts = sockets is None
        lacks = []
        if sockets:
            lacks.append(f"open sessions of newly banned peers can't be cut: {sockets}")
        elif tracking:
            lacks.append(f"who opened a session is judged by listening ports alone: {tracking}")
        self.unsupported = tuple(lacks)

    def find(self, suspects: Suspects) -> list[Session]:
        """List the sessions whose peers are among the suspects, each with who opened it."""
        found = self._connections(suspects) if self._cuts else []
        return list(_with_origins(found)) if found else []

    def cut(self, sessions: Sequence[Session]) -> list[Session]:
        """End sessions; returns those that were still there. Nothing to end is no error."""
        with closing(_diagnosis()) as sock:
            said = [*map(_error, sock.each([tcp.destruction(s.connection) for s in sessions]))]
        gone = [s.connection for s, error in zip(sessions, said, strict=True) if error in (0, errno.ENOENT)]
        if gone:
            with closing(NetlinkSocket.open()) as sock:
                for _ in sock.each([*map(flows.removal, gone)]):
                    pass  # an entry that isn't there, or can't be reached, ends by itself in seconds
        if len(gone) < len(sessions):
            self.probe()
        return [session for session, error in zip(sessions, said, strict=True) if error == 0]

    @staticmethod
    def _connections(suspects: Suspects) -> list[Connection]:
        few = suspects.few(_FEW)
        by_peer: dict[AddressKey, list[Connection]] = {}
        with closing(_diagnosis()) as sock:
            for family in Family:
                # A socket of IPv4 has no IPv6 peers; one of IPv6 can have both.
                asked = [key for key in few or () if family is Family.V6 or len(key) < 8]
                if asked or few is None:
                    for connection in _listed(sock, family, tcp.OPEN, asked):
                        by_peer.setdefault(connection.peer, []).append(connection)
        return [each for peer in suspects.among(by_peer) for each in by_peer[peer]]


def count_with(peer: AddressKey) -> int:
    """Count the open sessions with an address, or with those of a network, whoever opened them."""
    families = [family for family in Family if family is Family.V6 or len(peer) < 8]
    with closing(_diagnosis()) as sock:
        return sum(1 for family in families for _ in _listed(sock, family, tcp.OPEN, [peer]))


def established(port: int) -> Iterator[Connection]:
    """Yield the established connections to a port of this host."""
    with closing(_diagnosis()) as sock:
        for family in Family:
            yield from _listed(sock, family, tcp.ESTABLISHED, port=port)


def _with_origins(connections: Sequence[Connection]) -> Iterator[Session]:
    """Tell who opened each: tracking knows it; else it was the peer if somebody listens where it is connected to."""
    listeners: set[tuple[AddressKey, int]] | None = None
    with closing(NetlinkSocket.open()) as sock:
        for connection, answer in zip(
            connections, sock.each([*map(flows.question, connections)]), strict=True
        ):
            origin = flows.origin(answer, connection) if answer and not _error(answer) else None
            if origin is None:
                listeners = _listeners() if listeners is None else listeners
                origin = _guess(connection, listeners)
            yield Session(connection, *origin)


def _guess(connection: Connection, listeners: set[tuple[AddressKey, int]]) -> flows.Origin:
    port = connection.local_port
    listened = any((address, port) in listeners for address in (connection.local, *_WILDCARDS))
    if listened and connection.state != tcp.SYN_SENT:
        return flows.Origin(ours=False, port=port)
    return flows.Origin(ours=True, port=port)


def _listeners() -> set[tuple[AddressKey, int]]:
    with closing(_diagnosis()) as sock:
        return {(c.local, c.local_port) for family in Family for c in _listed(sock, family, tcp.LISTEN)}


def _listed(
    sock: NetlinkSocket, family: Family, states: int, peers: Sequence[AddressKey] = (), port: int = 0
) -> Iterable[Connection]:
    for reply in sock.dump(tcp.listing(family, states, peers, port), tolerant=True):
        connection = tcp.read(reply)
        if connection is not None:
            yield connection


def _diagnosis() -> NetlinkSocket:
    try:
        raw = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW | socket.SOCK_CLOEXEC, tcp.NETLINK_SOCK_DIAG)
    except OSError as error:
        raise KernelError(f"sockets can't be listed: {error.strerror}") from error
    return NetlinkSocket(raw)


def _sockets_lack() -> str | None:
    try:
        with closing(_diagnosis()) as sock:
            for _ in _listed(sock, Family.V4, tcp.LISTEN):
                pass
            (answer,) = sock.each([tcp.destruction(_SAMPLE)])
    except KernelBusy:
        return None
    except KernelError as error:  # no tcp_diag
        return str(error)
    return _reason(answer)


def _tracking_lacks() -> str | None:
    try:
        with closing(NetlinkSocket.open()) as sock:
            (answer,) = sock.each([flows.question(_SAMPLE)])
    except KernelError as error:
        return str(error)
    return _reason(answer)


def _reason(answer: Reply | None) -> str | None:
    error = _error(answer)
    return None if error in (0, errno.ENOENT) else _REASONS.get(error, f"errno {error}")


def _error(answer: Reply | None) -> int:
    """Return the errno that an answer tells; 0 where it is what was asked for, or an acknowledgement."""
    if answer is None:  # where the right is missing, only the first request of a datagram is answered
        return errno.EPERM
    return wire.acknowledgement(answer).error if answer.kind == wire.NLMSG_ERROR else 0
