"""The kernel's TCP sockets as sock_diag shows and ends them (include/uapi/linux/inet_diag.h): bytes only."""

from __future__ import annotations

import socket
import struct
from typing import TYPE_CHECKING, NamedTuple

from fwbouncer.core.model import AddressKey, Family, is_range
from fwbouncer.errors import KernelError
from fwbouncer.kernel import wire
from fwbouncer.kernel.wire import NLM_F_ACK, NLM_F_DUMP, Message

if TYPE_CHECKING:
    from collections.abc import Sequence

    from fwbouncer.kernel.wire import Reply

NETLINK_SOCK_DIAG = 4
_BY_FAMILY, _DESTROY = 20, 21
_TCP = socket.IPPROTO_TCP

# States as bits. Of a connection that is being made the kernel keeps a *request*, whose state has its own number.
ESTABLISHED, SYN_SENT, SYN_RECEIVED, LISTEN = 1 << 1, 1 << 2, 1 << 3, 1 << 10
_FIN_WAIT_1, _FIN_WAIT_2, _CLOSE_WAIT, _LAST_ACK, _CLOSING = 1 << 4, 1 << 5, 1 << 8, 1 << 9, 1 << 11
_REQUEST = 1 << 12
OPEN = ESTABLISHED | SYN_SENT | SYN_RECEIVED | _REQUEST | _FIN_WAIT_1 | _FIN_WAIT_2
OPEN |= _CLOSE_WAIT | _LAST_ACK | _CLOSING

NUMBER = {Family.V4: int(socket.AF_INET), Family.V6: int(socket.AF_INET6)}
_ASK = struct.Struct("=BBBxI")  # family, protocol, extensions, states
_FOUND = struct.Struct("=BBBx")  # family, state, timer
_ID = struct.Struct("!HH16s16s")  # ports and addresses, ours first; then 12 bytes of interface and cookie
_ID_LENGTH = 48
_TIME_WAIT_TIMER = 3  # what is left of a connection that both sides have closed; there is no socket any more
_MAPPED = b"\0" * 10 + b"\xff\xff"

# Bytecode: each operation says how many bytes to go on if it holds, and if it doesn't. What ends exactly behind the
# last operation is listed, what goes beyond is not.
_FILTER = 1
_JUMP, _PEER_IN = 1, 8
_OPERATION = struct.Struct("=BBH")
_CONDITION = struct.Struct("=BBxxi")  # family, prefix length, port; then the address
_ANY_PORT = -1


class Connection(NamedTuple):
    """One TCP connection of this host. IPv4 is IPv4 here, also where its socket takes both families."""

    family: int  # the socket's
    state: int  # as a bit
    identity: bytes  # as the kernel wants it back: no other socket has it, not even one of the same ports
    local: AddressKey
    local_port: int
    peer: AddressKey
    peer_port: int


def listing(family: Family, states: int, peers: Sequence[AddressKey] = (), port: int = 0) -> Message:
    """Ask for the sockets of a family; only for those of certain peers and of one local port, where they are given.

    IPv6's are asked for IPv4 peers, too: a socket for both families has them in IPv6's form.
    """
    ask = _ASK.pack(NUMBER[family], _TCP, 0, states) + _ID.pack(port, 0, b"", b"") + bytes(12)
    if peers:
        ask += wire.attribute(_FILTER, _any_of(peers))
    return Message(_BY_FAMILY, NLM_F_DUMP, ask, "list TCP sockets")


def read(reply: Reply) -> Connection | None:
    """Read one socket of the list; None for what is none any more."""
    if len(reply.payload) < _FOUND.size + _ID_LENGTH:
        raise KernelError("the kernel's list of sockets is cut short")
    family, state, timer = _FOUND.unpack_from(reply.payload)
    if timer == _TIME_WAIT_TIMER or family not in NUMBER.values():
        return None
    identity = bytes(reply.payload[_FOUND.size : _FOUND.size + _ID_LENGTH])
    local_port, peer_port, local, peer = _ID.unpack_from(identity)
    size = 4 if family == socket.AF_INET else 16
    return Connection(
        family, 1 << state, identity, plain(local[:size]), local_port, plain(peer[:size]), peer_port
    )


def destruction(connection: Connection) -> Message:
    """End a socket: its owner's calls fail with ECONNABORTED, the peer gets a reset."""
    payload = _ASK.pack(connection.family, _TCP, 0, 0xFFFFFFFF) + connection.identity
    return Message(_DESTROY, NLM_F_ACK, payload, "close a TCP socket")


def plain(address: bytes) -> AddressKey:
    """Return IPv4 as IPv4: a socket for both families has its peers in IPv6's form."""
    return address[12:] if len(address) == 16 and address.startswith(_MAPPED) else address


def _any_of(peers: Sequence[AddressKey]) -> bytes:
    conditions = [_condition(peer) for peer in peers]
    left = sum(map(len, conditions)) + _OPERATION.size * (2 * len(peers) - 1)
    code = b""
    for number, condition in enumerate(conditions, 1):
        length = _OPERATION.size + len(condition)
        last = number == len(conditions)
        # Past the jump behind it, to the next one; of the last one, beyond the end.
        other = left + 4 if last else length + _OPERATION.size
        code += _OPERATION.pack(_PEER_IN, length, other) + condition
        left -= length
        if not last:
            code += _OPERATION.pack(_JUMP, _OPERATION.size, left)
            left -= _OPERATION.size
    return code


def _condition(peer: AddressKey) -> bytes:
    family = Family.V4 if len(peer) < 8 else Family.V6
    address, prefix = (peer[:-1], peer[-1]) if is_range(peer) else (peer, family.size * 8)
    return _CONDITION.pack(NUMBER[family], prefix, _ANY_PORT) + address
