"""A TCP connection's entry in connection tracking (include/uapi/linux/netfilter/nfnetlink_conntrack.h): bytes only."""

from __future__ import annotations

import socket
from typing import TYPE_CHECKING, NamedTuple

from fwbouncer.kernel import wire
from fwbouncer.kernel.wire import NLM_F_ACK, Message

if TYPE_CHECKING:
    from fwbouncer.kernel.sessions_tcp import Connection
    from fwbouncer.kernel.wire import Reply

_SUBSYSTEM = 1
_GET, _DELETE = _SUBSYSTEM << 8 | 1, _SUBSYSTEM << 8 | 2
_ORIGINAL, _PROTOCOL_STATE = 1, 4
_TUPLE_ADDRESSES, _TUPLE_PROTOCOL = 1, 2
_SOURCE, _TARGET = {4: 1, 16: 3}, {4: 2, 16: 4}
_PROTOCOL, _SOURCE_PORT, _TARGET_PORT = 1, 2, 3
_TCP_STATE, _TCP_FLAGS = 1, 4
_LIBERAL = 0x08  # set where tracking began in the middle of a connection
_FAMILY = {4: int(socket.AF_INET), 16: int(socket.AF_INET6)}


class Origin(NamedTuple):
    """How a connection began."""

    ours: bool  # this host opened it
    port: int  # of this host: where the peer sends to, before any redirection


def question(connection: Connection) -> Message:
    """Ask for the entry of a connection."""
    return Message(_GET, 0, _key(connection), "look up a connection's tracking")


def removal(connection: Connection) -> Message:
    """Remove the entry of a connection."""
    return Message(_DELETE, NLM_F_ACK, _key(connection), "remove a connection's tracking")


def origin(reply: Reply, connection: Connection) -> Origin | None:
    """Read how a connection began; None where tracking began later and knows only who spoke next."""
    fields = wire.table(reply.payload[4:])
    tracked = wire.table(wire.table(fields.get(_PROTOCOL_STATE, b"")).get(_TCP_STATE, b""))
    flags = bytes(tracked.get(_TCP_FLAGS, b""))
    if not flags or flags[0] & _LIBERAL:
        return None
    first = wire.table(fields[_ORIGINAL])
    addresses, ports = wire.table(first[_TUPLE_ADDRESSES]), wire.table(first[_TUPLE_PROTOCOL])
    size = len(connection.local)
    came_from = (bytes(addresses[_SOURCE[size]]), wire.number(ports[_SOURCE_PORT]))
    ours = came_from == (connection.local, connection.local_port)
    return Origin(ours, connection.local_port if ours else wire.number(ports[_TARGET_PORT]))


def _key(connection: Connection) -> bytes:
    """Name an entry by the packets that our socket sends, before any translation: one entry has both directions."""
    size = len(connection.local)
    return bytes([_FAMILY[size], 0, 0, 0]) + wire.nested(
        _ORIGINAL,
        wire.nested(
            _TUPLE_ADDRESSES,
            wire.attribute(_SOURCE[size], connection.local),
            wire.attribute(_TARGET[size], connection.peer),
        ),
        wire.nested(
            _TUPLE_PROTOCOL,
            wire.u8(_PROTOCOL, socket.IPPROTO_TCP),
            wire.u16(_SOURCE_PORT, connection.local_port),
            wire.u16(_TARGET_PORT, connection.peer_port),
        ),
    )
