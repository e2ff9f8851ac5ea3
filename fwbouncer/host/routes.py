"""This host's place in the network: its own addresses, its default gateways, and word of it when they change.

Asked of rtnetlink in a few messages of our own: a library for all of it takes a fifth of a second to load.
"""

from __future__ import annotations

import socket
import struct
from typing import TYPE_CHECKING

from fwbouncer.errors import KernelBusy
from fwbouncer.kernel import wire
from fwbouncer.kernel.socket import NetlinkSocket
from fwbouncer.kernel.wire import NLM_F_DUMP, Message

if TYPE_CHECKING:
    from collections.abc import Iterator

    from fwbouncer.core.model import AddressKey
    from fwbouncer.kernel.wire import Reply

# include/uapi/linux/rtnetlink.h, if_addr.h
_NETLINK_ROUTE = 0
_NEW_LINK, _DEL_LINK = 16, 17
_NEW_ADDRESS, _GET_ADDRESS = 20, 22
_NEW_ROUTE, _DEL_ROUTE, _GET_ROUTE = 24, 25, 26
# Links, because the routes of one that goes down go without a word; addresses and routes of both families.
_GROUPS = (1, 5, 7, 9, 11)
_IFA_ADDRESS, _IFA_LOCAL = 1, 2
_RTA_GATEWAY, _RTA_MULTIPATH, _RTA_VIA = 5, 9, 18
_UNICAST = 1
_TRIES = 3

_ADDRESS = struct.Struct("=BBBBi")  # family, prefix length, flags, scope, interface
_ROUTE = struct.Struct(
    "=BBBBBBBBI"
)  # family, destination's and source's length, TOS, table, protocol, scope, type …
_HOP = struct.Struct("=HBBi")  # length, flags, hops, interface


def own_addresses() -> set[AddressKey]:
    """Return every address of every interface of this host."""
    found = set()
    for reply in _dump(Message(_GET_ADDRESS, NLM_F_DUMP, _ADDRESS.pack(0, 0, 0, 0, 0), "list addresses")):
        fields = wire.table(reply.payload[_ADDRESS.size :])
        # Where both are there, the other one is the far end's.
        own = fields.get(_IFA_LOCAL, fields.get(_IFA_ADDRESS))
        if reply.kind == _NEW_ADDRESS and own is not None and len(own) in {4, 16}:
            found.add(bytes(own))
    return found


def gateways() -> set[AddressKey]:
    """Return the gateways of all default routes, in whatever table they stand."""
    found: set[AddressKey] = set()
    for reply in _dump(Message(_GET_ROUTE, NLM_F_DUMP, bytes(_ROUTE.size), "list routes")):
        if _is_default(reply):
            found.update(_gateways(wire.table(reply.payload[_ROUTE.size :])))
    return found


class Changes:
    """Tells when addresses, links or default routes may have changed."""

    def __init__(self) -> None:
        self._sock = _socket()
        for group in _GROUPS:
            self._sock.join(group)

    def fileno(self) -> int:
        """Return the descriptor that is readable when there is news."""
        return self._sock.fileno()

    def seen(self) -> bool:
        """Read the news; tell whether any of it matters."""
        try:
            # On a router other routes come and go all the time.
            return any(
                r.kind not in {_NEW_ROUTE, _DEL_ROUTE} or _is_default(r) for r in self._sock.notifications()
            )
        except KernelBusy:
            return True  # some was lost

    def close(self) -> None:
        """Listen no longer."""
        self._sock.close()


def _socket() -> NetlinkSocket:
    kind = socket.SOCK_RAW | socket.SOCK_CLOEXEC
    return NetlinkSocket(socket.socket(socket.AF_NETLINK, kind, _NETLINK_ROUTE))


def _dump(message: Message) -> list[Reply]:
    """Ask for a list; one that kept changing while it was read is taken as it is."""
    sock = _socket()
    try:
        for attempt in range(_TRIES):
            try:
                return list(sock.dump(message, tolerant=attempt == _TRIES - 1))
            except KernelBusy:
                if attempt == _TRIES - 1:
                    raise
    finally:
        sock.close()
    raise AssertionError("unreachable")


def _is_default(reply: Reply) -> bool:
    """Tell a default route. VPNs write it in two halves, 0.0.0.0/1 and 128.0.0.0/1, to go ahead of the real one."""
    if reply.kind not in {_NEW_ROUTE, _DEL_ROUTE} or len(reply.payload) < _ROUTE.size:
        return False
    length, kind = reply.payload[1], reply.payload[7]
    return length <= 1 and kind == _UNICAST


def _gateways(fields: dict[int, memoryview]) -> Iterator[AddressKey]:
    """Yield the gateways of one route; it can have several next hops, and IPv4 ones can be reached over IPv6."""
    if _RTA_GATEWAY in fields:
        yield bytes(fields[_RTA_GATEWAY])
    if _RTA_VIA in fields:
        yield bytes(fields[_RTA_VIA][2:])  # behind its family
    hops = fields.get(_RTA_MULTIPATH, memoryview(b""))
    at = 0
    while at + _HOP.size <= len(hops):
        length = _HOP.unpack_from(hops, at)[0]
        if length < _HOP.size or at + length > len(hops):
            return
        yield from _gateways(wire.table(hops[at + _HOP.size : at + length]))
        at += (length + 3) & ~3
