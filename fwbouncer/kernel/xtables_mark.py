"""A mark that changes when an iptables table changes: the cheap look that goes before the thorough one."""

from __future__ import annotations

import ctypes
import errno
import os
import socket
import struct
import sys
from hashlib import blake2b

from fwbouncer.core.model import Family
from fwbouncer.errors import KernelBusy, KernelError
from fwbouncer.kernel import wire
from fwbouncer.kernel.socket import NetlinkSocket
from fwbouncer.kernel.wire import Message

_NFT_GETGEN = 10 << 8 | 16  # NFNL_SUBSYS_NFTABLES, NFT_MSG_GETGEN
_GENERATION = 1  # NFTA_GEN_ID

# getsockopt(2) at level IP or IPV6 with a table's name in the buffer: what iptables-legacy itself reads by.
_GET_INFO, _GET_ENTRIES = 64, 65
_INFO = struct.Struct("=32sI5I5III")  # name, hooks, entries, underflows, number of entries, size
_ENTRIES = struct.Struct("=32sI4x")  # name, size; the entries follow, aligned to eight bytes
_TRIES = 5
_FAMILIES = {
    # address family, level, where an entry (struct ipt_entry, ip6t_entry) has its length and its counters
    Family.V4: (socket.AF_INET, socket.IPPROTO_IP, 90, 96),
    Family.V6: (socket.AF_INET6, socket.IPPROTO_IPV6, 142, 152),
}


class NftMark:
    """The generation number of nftables, which every change of any table moves."""

    def __init__(self) -> None:
        self._socket = NetlinkSocket.open()

    def read(self) -> bytes:
        """Return the generation."""
        ask = Message(
            _NFT_GETGEN,
            wire.NLM_F_ACK,
            struct.pack("=BBH", 0, 0, 0),
            "reading nftables' generation",
        )
        replies = list(self._socket.dump(ask))
        return bytes(wire.table(replies[0].payload[4:])[_GENERATION]) if replies else b""

    def close(self) -> None:
        """Let go of the kernel."""
        self._socket.close()


class LegacyMark:
    """A digest of the table as the kernel holds it, without its counters.

    The number of rules alone would miss a rule that moved; running iptables-save costs five times as much.
    """

    def __init__(self, family: Family, table: str = "filter") -> None:
        self._table = table
        self._named = table.encode().ljust(32, b"\0")
        kind, self._level, self._next, self._counters = _FAMILIES[family]
        self._socket = socket.socket(kind, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC)
        self._libc = ctypes.CDLL(None, use_errno=True)

    def read(self) -> bytes:
        """Return the digest; nothing where no module has made the table yet, which iptables-save will have done."""
        for _ in range(_TRIES):
            try:
                return self._digest()
            except OSError as error:
                if error.errno in (errno.ENOPROTOOPT, errno.ENOENT):
                    return b""
                if error.errno != errno.EAGAIN:  # which says that the table grew between our two questions
                    raise KernelError(f"reading the table {self._table}: {error.strerror}") from error
        raise KernelBusy(f"the table {self._table} changes all the time")

    def _digest(self) -> bytes:
        size = _INFO.unpack(self._get(_GET_INFO, self._named.ljust(_INFO.size, b"\0")))[-1]
        asked = _ENTRIES.pack(self._named, size).ljust(_ENTRIES.size + size, b"\0")
        entries = self._get(_GET_ENTRIES, asked)[_ENTRIES.size :]
        at = 0
        while at + self._counters + 16 <= size:
            entries[at + self._counters : at + self._counters + 16] = bytes(16)
            at += max(1, int.from_bytes(entries[at + self._next : at + self._next + 2], sys.byteorder))
        return blake2b(entries, digest_size=16).digest()

    def close(self) -> None:
        """Let go of the kernel."""
        self._socket.close()

    def _get(self, option: int, asked: bytes) -> bytearray:
        # Python's getsockopt passes no input, and the kernel wants to be told the table.
        buffer = ctypes.create_string_buffer(asked, len(asked))
        length = ctypes.c_uint32(len(asked))
        done = self._libc.getsockopt(self._socket.fileno(), self._level, option, buffer, ctypes.byref(length))
        if done != 0:
            raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))
        return bytearray(buffer.raw)
