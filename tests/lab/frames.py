"""Ethernet frames by the hundred, made once and sent many times: one call of the kernel for all of them."""

from __future__ import annotations

import ctypes
import ipaddress
import socket
import struct
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

    from tests.lab.net import Host

_libc = ctypes.CDLL(None, use_errno=True)
_ETHERNET = {4: 0x0800, 6: 0x86DD}
_TCP, _UDP = 6, 17
_ICMP = {4: (1, 8, 0), 6: (58, 128, 129)}  # protocol, types of an echo's request and of its reply
_SYN, _ACK, _PUSH = 0x02, 0x10, 0x08
KINDS = ("TCP SYN", "TCP data", "UDP", "ICMP echo")
PEERS_PORTS = {"TCP SYN": 40_001}  # whoever sends that has no connection yet
_PEERS_PORT = 40_000
_BODY = b"x" * 18  # so that the smallest frame has the 60 bytes of Ethernet's smallest


class _Vector(ctypes.Structure):
    _fields_ = (("base", ctypes.c_void_p), ("length", ctypes.c_size_t))


class _Header(ctypes.Structure):
    """struct msghdr."""

    _fields_ = (
        ("name", ctypes.c_void_p),
        ("name_length", ctypes.c_uint),
        ("vectors", ctypes.POINTER(_Vector)),
        ("count", ctypes.c_size_t),
        ("control", ctypes.c_void_p),
        ("control_length", ctypes.c_size_t),
        ("flags", ctypes.c_int),
    )


class _Message(ctypes.Structure):
    """struct mmsghdr."""

    _fields_ = (("header", _Header), ("sent", ctypes.c_uint))


@dataclass(frozen=True, slots=True)
class Wire:
    """Two ends of a cable, by their addresses on it."""

    sender: bytes
    receiver: bytes


class Volley:
    """Frames in memory as sendmmsg takes them."""

    def __init__(self, frames: Sequence[bytes]) -> None:
        count = len(frames)
        self._kept = [ctypes.create_string_buffer(frame, len(frame)) for frame in frames]
        self._vectors = (_Vector * count)(*(_Vector(ctypes.addressof(b), len(b)) for b in self._kept))
        self._messages = (_Message * count)()
        for at, message in enumerate(self._messages):
            message.header.vectors, message.header.count = ctypes.pointer(self._vectors[at]), 1
        self._count = count

    def __len__(self) -> int:
        return self._count

    def send(self, out: int) -> None:
        """Send all of them by a socket's descriptor."""
        if _libc.sendmmsg(out, self._messages, self._count, 0) != self._count:
            raise OSError(ctypes.get_errno(), "sendmmsg")


def door(host: Host, device: str) -> socket.socket:
    """Open a socket that sends whole frames by a device."""
    with host.inside():
        opened = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, 0)  # 0: it receives nothing
    opened.bind((device, 0))
    return opened


def frame(kind: str, wire: Wire, source: str, target: str, port: int) -> bytes:
    """Make one frame from a peer to a service."""
    return _frame(kind, wire, source, target, (PEERS_PORTS.get(kind, _PEERS_PORT), port))


def answer(kind: str, wire: Wire, source: str, target: str, port: int) -> bytes:
    """Make the frame with which a service (at `source`) would answer."""
    return _frame(kind, wire, source, target, (port, _PEERS_PORT), answers=True)


def _frame(  # noqa: PLR0913 - all that stands in it
    kind: str, wire: Wire, source: str, target: str, ports: tuple[int, int], *, answers: bool = False
) -> bytes:
    version = 6 if ":" in source else 4
    addresses = b"".join(ipaddress.ip_address(each).packed for each in (source, target))
    protocol, body = _transport(kind, version, addresses, ports, answers=answers)
    header = wire.receiver + wire.sender + _ETHERNET[version].to_bytes(2, "big")
    if version == 6:
        return header + struct.pack("!IHBB", 6 << 28, len(body), protocol, 64) + addresses + body
    fixed = struct.pack("!BBHHHBB", 0x45, 0, 20 + len(body), 1, 0x4000, 64, protocol)
    total = _sum(fixed + b"\0\0" + addresses)
    return header + fixed + total.to_bytes(2, "big") + addresses + body


def _transport(
    kind: str, version: int, addresses: bytes, ports: tuple[int, int], *, answers: bool
) -> tuple[int, bytes]:
    if kind.startswith("TCP"):
        flags, data = (_SYN, b"") if kind == "TCP SYN" else (_ACK | _PUSH, _BODY)
        body = struct.pack("!HHIIBBHHH", *ports, 1000, 1, 5 << 4, flags, 64240, 0, 0) + data
        return _TCP, _summed(_TCP, 16, addresses, body)
    if kind == "UDP":
        body = struct.pack("!HHHH", *ports, 8 + len(_BODY), 0) + _BODY
        return _UDP, _summed(_UDP, 6, addresses, body)
    protocol, request, reply = _ICMP[version]
    body = struct.pack("!BBHHH", reply if answers else request, 0, 0, _PEERS_PORT, 1) + _BODY
    return protocol, _summed(protocol, 2, b"" if version == 4 else addresses, body)


def _summed(protocol: int, at: int, addresses: bytes, body: bytes) -> bytes:
    """Put the checksum in: over the addresses, too, but for ICMP of version 4."""
    pseudo = addresses + struct.pack("!II", len(body), protocol) if addresses else b""
    return body[:at] + _sum(pseudo + body).to_bytes(2, "big") + body[at + 2 :]


def _sum(data: bytes) -> int:
    total: int = sum(struct.unpack(f"!{len(data + b'x') // 2}H", data + b"\0" * (len(data) & 1)))
    while total >> 16:
        total = (total & 0xFFFF) + (total >> 16)
    return 0xFFFF - total
