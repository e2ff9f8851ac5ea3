"""The netlink socket: sends batches and dump requests, drains every answer, turns errnos into our errors.

One such socket carries every write of a backend: a table that is *owned* belongs to the socket that made it.
"""

from __future__ import annotations

import errno
import socket
from typing import TYPE_CHECKING

from fwbouncer.errors import KernelBusy, KernelError, NoSuchObject, NotPermitted, SetFull
from fwbouncer.kernel import wire

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from fwbouncer.kernel.wire import Ack, Message, Reply

NETLINK_NETFILTER = 12

# Python has no names for these: include/uapi/linux/netlink.h, asm-generic/socket.h.
_SOL_NETLINK = 270
_NETLINK_ADD_MEMBERSHIP = 1
_NETLINK_DROP_MEMBERSHIP = 2
_NETLINK_CAP_ACK = 10
_NETLINK_EXT_ACK = 11
_SO_SNDBUFFORCE = 32
_SO_RCVBUFFORCE = 33

_RECEIVE_BUFFER = 8 << 20  # bytes; a burst of notifications or acknowledgements fits
_CHUNK = 1 << 17  # bytes a receive; the kernel fills at most 32 KiB of it a time
_ANSWER = 8192  # bytes of that buffer that an answer takes at most, however short it is
_AT_ONCE = 512
_BUSY = {errno.EINTR, errno.EAGAIN, errno.ENOBUFS, errno.ERESTART, errno.EBUSY, errno.ENOMEM}


class NetlinkSocket:
    """A socket to netfilter, of our own making or inherited."""

    def __init__(self, raw: socket.socket) -> None:
        """Take over a bound or unbound AF_NETLINK socket."""
        self._raw = raw
        self._sequence = 1
        raw.setblocking(True)
        for option in (_NETLINK_CAP_ACK, _NETLINK_EXT_ACK):
            raw.setsockopt(_SOL_NETLINK, option, 1)
        self._grow(_SO_RCVBUFFORCE, socket.SO_RCVBUF, _RECEIVE_BUFFER)
        if raw.getsockname()[0] == 0:
            raw.bind((0, 0))
        self.port: int = raw.getsockname()[0]

    @classmethod
    def open(cls) -> NetlinkSocket:
        """Make a new socket in the current network namespace."""
        return cls(socket.socket(socket.AF_NETLINK, socket.SOCK_RAW | socket.SOCK_CLOEXEC, NETLINK_NETFILTER))

    def fileno(self) -> int:
        """Return the descriptor."""
        return self._raw.fileno()

    def close(self) -> None:
        """Close it; a table that it owns goes with it once no copy of the descriptor is open anywhere."""
        self._raw.close()

    def join(self, group: int) -> None:
        """Ask for a multicast group's notifications."""
        self._raw.setsockopt(_SOL_NETLINK, _NETLINK_ADD_MEMBERSHIP, group)

    def leave(self, group: int) -> None:
        """Ask no longer for a multicast group's notifications."""
        self._raw.setsockopt(_SOL_NETLINK, _NETLINK_DROP_MEMBERSHIP, group)

    def send_all(self, messages: Sequence[Message], expected: int) -> None:
        """Send messages in one datagram and wait for `expected` (an index) to be acknowledged.

        The kernel works on a request while it is being sent, so every answer is there when the send returns.
        Raises a KernelError that names the first message that the kernel refused.
        """
        self._drain()
        first = self._sequence
        self._sequence = (first + len(messages)) & 0x7FFFFFFF
        self._send(wire.encode_all(messages, first))
        acks = [wire.acknowledgement(r) for r in self._pending() if r.kind == wire.NLMSG_ERROR]
        ours = [a for a in acks if first <= a.sequence < first + len(messages)]
        for ack in ours:
            if ack.error:
                raise refusal(ack, messages[ack.sequence - first])
        if not any(a.sequence == first + expected for a in ours):
            raise KernelBusy(f"no acknowledgement from the kernel: {messages[expected].about}")

    def dump(self, message: Message, *, tolerant: bool = False) -> Iterator[Reply]:
        """Send one request and yield its answers until the last; with NLM_F_DUMP in its flags, a whole list.

        Raises KernelBusy where anything in the subsystem changed while it was read, unless `tolerant`: what was
        yielded till then is void.
        """
        self._drain()
        sequence = self._sequence
        self._sequence = (sequence + 1) & 0x7FFFFFFF
        self._send(wire.encode(message, sequence))
        while True:
            for reply in wire.replies(self._receive(0)):
                if reply.sequence != sequence:
                    continue
                if reply.flags & wire.NLM_F_DUMP_INTR and not tolerant:
                    raise KernelBusy(f"changed while it was read: {message.about}")
                if reply.kind in (wire.NLMSG_ERROR, wire.NLMSG_DONE):
                    ack = wire.acknowledgement(reply)
                    if ack.error:
                        raise refusal(ack, message)
                    return
                yield reply

    def each(self, messages: Sequence[Message]) -> Iterator[Reply | None]:
        """Send messages and yield the kernel's first answer to each, in order; None where it gave none.

        A refusal is an answer, too. As many go in one datagram as the receive buffer holds answers.
        """
        at_once = self._answers_held()
        for start in range(0, len(messages), at_once):
            part = messages[start : start + at_once]
            self._drain()
            first = self._sequence
            self._sequence = (first + len(part)) & 0x7FFFFFFF
            self._send(wire.encode_all(part, first))
            answers: dict[int, Reply] = {}
            for reply in self._pending():
                answers.setdefault(reply.sequence, reply)
            yield from (answers.get(first + number) for number in range(len(part)))

    def _answers_held(self) -> int:
        room = self._raw.getsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF) // _ANSWER
        return max(1, min(_AT_ONCE, room))

    def notifications(self) -> list[Reply]:
        """Return what came in from the groups joined; never blocks. Raises KernelBusy where some was lost."""
        return list(self._pending())

    def _drain(self) -> None:
        try:
            for _ in self._pending():
                pass
        except KernelBusy:
            pass  # leftovers of an earlier request, or of the process that had this socket before us

    def _pending(self) -> Iterator[Reply]:
        while data := self._receive(socket.MSG_DONTWAIT):
            yield from wire.replies(data)

    def _receive(self, flags: int) -> bytes:
        try:
            return self._raw.recv(_CHUNK, flags)
        except BlockingIOError:
            return b""
        except OSError as error:
            raise KernelBusy(f"reading from netlink: {error.strerror}") from error

    def takes(self, size: int) -> bool:
        """Tell whether one datagram can be so long, once the send buffer has grown as far as we are allowed."""
        # netlink_sendmsg refuses what is longer than the send buffer less 32 bytes.
        if size + 4096 > self._raw.getsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF):
            self._grow(_SO_SNDBUFFORCE, socket.SO_SNDBUF, size)  # the kernel doubles it
        return size + 4096 <= self._raw.getsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF)

    def _send(self, data: bytes) -> None:
        self.takes(len(data))
        try:
            self._raw.sendto(data, (0, 0))
        except OSError as error:
            kind = KernelBusy if error.errno in _BUSY else KernelError
            raise kind(f"sending {len(data)} bytes to netlink: {error.strerror}") from error

    def _grow(self, forced: int, plain: int, size: int) -> None:
        try:
            self._raw.setsockopt(socket.SOL_SOCKET, forced, size)
        except PermissionError:  # no CAP_NET_ADMIN in the first user namespace: as far as the limit goes
            self._raw.setsockopt(socket.SOL_SOCKET, plain, size)


def refusal(ack: Ack, message: Message) -> KernelError:
    """Turn the kernel's refusal of one message into the error that says what to do next."""
    words = f"{message.about}: {wire.describe(ack)}"
    if ack.error == errno.EPERM:
        return NotPermitted(
            f"{words} (this needs CAP_NET_ADMIN, and a table that has an owner is its owner's alone)"
        )
    if ack.error == errno.ENOENT:
        return NoSuchObject(words)
    if ack.error == errno.ENFILE:
        return SetFull(message.subject)
    if ack.error in _BUSY:
        return KernelBusy(words)
    return KernelError(words)
