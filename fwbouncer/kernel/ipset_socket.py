"""ipsets through netlink: every command of ours, with bad entries told apart from bad requests."""

from __future__ import annotations

import errno
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol, cast

from fwbouncer.errors import KernelBusy, KernelError, NoSuchObject, NotPermitted, SetFull
from fwbouncer.kernel import ipset, ipset_list, wire
from fwbouncer.kernel.ipset_numbers import ABSENT, HASH_FULL, IN_USE, Command, describe
from fwbouncer.kernel.socket import NetlinkSocket

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from fwbouncer.kernel.ipset_list import Header
    from fwbouncer.kernel.wire import Message, Reply

_CAPPED = 0x100  # NLM_F_CAPPED: the request is not returned, because the error isn't one entry's
_AT_ONCE = 32  # messages in one datagram: 2 MB at most


@dataclass(frozen=True, slots=True)
class Refused:
    """An entry that the kernel didn't take: its index, and why."""

    index: int
    why: str


class Ipsets(Protocol):
    """The kernel's sets. Raises a KernelError; a missing set is NoSuchObject."""

    def names(self) -> list[str]:
        """Return the names of all sets there are."""

    def header(self, name: str) -> Header:
        """Read a set's header."""

    def elements(self, name: str) -> Iterator[memoryview]:
        """Read a set's elements, each as the attributes that it consists of."""

    def holds(self, name: str, address: bytes) -> bool:
        """Tell whether a set matches an address, itself or with a network around it; a missing set doesn't."""

    def run(self, message: Message) -> None:
        """Carry out one command."""

    def bulk(self, command: Command, name: str, packed: Sequence[bytes]) -> list[Refused]:
        """Add or delete entries; returns those that the kernel refused, all others are done."""


class IpsetSocket(NetlinkSocket):
    """The kernel's sets in the network namespace that the socket was opened in."""

    @classmethod
    def open(cls) -> IpsetSocket:
        """Make a new socket in the current network namespace."""
        return cast("IpsetSocket", super().open())

    def names(self) -> list[str]:
        """Return the names of all sets there are."""
        return [ipset_list.name_of(reply.payload) for reply in self._listed(ipset.list_names())]

    def header(self, name: str) -> Header:
        """Read a set's header."""
        for reply in self._listed(ipset.list_header(name)):
            found = ipset_list.header(reply.payload)
            if found is not None and found.name == name:
                return found
        raise NoSuchObject(f"ipset {name} doesn't exist")

    def elements(self, name: str) -> Iterator[memoryview]:
        """Read a set's elements, each as the attributes that it consists of."""
        # To the end before the first is used: while a list is open, the set can't be swapped or destroyed.
        for reply in self._listed(ipset.list_elements(name)):
            yield from ipset_list.elements(reply.payload)

    def holds(self, name: str, address: bytes) -> bool:
        """Tell whether a set matches an address, itself or with a network around it; a missing set doesn't."""
        (error,) = self._exchange([message := ipset.test(name, address)])
        if error is None:
            return True
        if error.number in (ABSENT, errno.ENOENT):
            return False
        raise _refusal(error, message)

    def run(self, message: Message) -> None:
        """Carry out one command."""
        for error in self._exchange([message]):
            if error is not None:
                raise _refusal(error, message)

    def bulk(self, command: Command, name: str, packed: Sequence[bytes]) -> list[Refused]:
        """Add or delete entries; returns those that the kernel refused, all others are done."""
        refused: list[Refused] = []
        spans = [(at, min(at + ipset.CHUNK, len(packed))) for at in range(0, len(packed), ipset.CHUNK)]
        while spans:
            now, spans = spans[:_AT_ONCE], spans[_AT_ONCE:]
            messages = [ipset.bulk(command, name, packed[start:end], start) for start, end in now]
            for message, (_, end), error in zip(messages, now, self._exchange(messages), strict=True):
                if error is None:
                    continue
                if error.line is None or error.number in (HASH_FULL, errno.ENOMEM):
                    raise _refusal(error, message)
                # The kernel stopped at this entry: those before it are in, those behind it are still to do.
                refused.append(Refused(error.line, describe(error.number)))
                if error.line + 1 < end:
                    spans.append((error.line + 1, end))
        return refused

    def _listed(self, message: Message) -> list[Reply]:
        try:
            return list(self.dump(message))
        except NoSuchObject as error:
            raise NoSuchObject(f"ipset {message.subject} doesn't exist") from error

    def _exchange(self, messages: Sequence[Message]) -> list[_Error | None]:
        """Send messages in one datagram; returns what the kernel says of each, None where it is content."""
        self._drain()
        first = self._sequence
        self._sequence = (first + len(messages)) & 0x7FFFFFFF
        self._send(wire.encode_all(messages, first))
        said: dict[int, _Error | None] = {}
        for reply in self._pending():
            if reply.kind == wire.NLMSG_ERROR:
                number = wire.acknowledgement(reply).error
                line = None if reply.flags & _CAPPED else ipset.failed_line(reply.payload[4:])
                said[reply.sequence - first] = _Error(number, line) if number else None
        if any(index not in said for index in range(len(messages))):
            raise KernelBusy(f"no acknowledgement from the kernel: {messages[0].about}")
        return [said[index] for index in range(len(messages))]


@dataclass(frozen=True, slots=True)
class _Error:
    number: int
    line: int | None  # of a bulk message: the entry that the kernel stopped at


def _refusal(error: _Error, message: Message) -> KernelError:
    if error.number == HASH_FULL:
        return SetFull(message.subject)
    text = f"{message.about}: {describe(error.number)}"
    if error.number == errno.EPERM:
        return NotPermitted(text)
    if error.number == errno.ENOENT:
        return NoSuchObject(text)
    if error.number in (errno.ENOMEM, errno.EBUSY, errno.EAGAIN, errno.EINTR, IN_USE):
        return KernelBusy(text)
    return KernelError(text)
