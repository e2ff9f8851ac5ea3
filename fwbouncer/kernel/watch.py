"""Notices when somebody else changes our nftables tables: the kernel tells every change and who made it."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING

from fwbouncer.errors import KernelBusy
from fwbouncer.kernel import nft, wire
from fwbouncer.kernel.nft import Verb
from fwbouncer.kernel.socket import NetlinkSocket

if TYPE_CHECKING:
    from collections.abc import Iterator

    from fwbouncer.core.model import Family

_FAMILY = {number: family for family, number in nft.PROTOCOL.items()}


class Watch:
    """Reads notifications on a socket of its own; those of our own writes are told apart by their port id."""

    def __init__(self, writer: NetlinkSocket, tables: frozenset[tuple[Family, str]]) -> None:
        self._writer = writer
        self._tables = tables
        self._sock = NetlinkSocket.open()
        self._sock.join(nft.GROUP_NFTABLES)
        self._missed = False

    def fileno(self) -> int:
        """Return the descriptor that is readable when there is news."""
        return self._sock.fileno()

    def close(self) -> None:
        """Stop watching."""
        self._sock.close()

    def disturbed(self) -> str | None:
        """Return who changed something of ours since the last call, or None."""
        touched, who = self._missed, "somebody"
        self._missed = False
        try:
            for reply in self._sock.notifications():
                if reply.port == self._writer.port or reply.kind >> 8 != nft.SUBSYSTEM or not reply.payload:
                    continue
                fields = wire.table(reply.payload[4:])
                if reply.kind & 0xFF == Verb.NEW_GENERATION:
                    who = _named(fields) if touched else who
                elif self._is_ours(reply.payload[0], fields):
                    touched = True
        except KernelBusy:
            touched = True  # a burst overran the socket: anything may have happened
        return who if touched else None

    @contextmanager
    def aside(self) -> Iterator[None]:
        """Look away while we write much ourselves: telling us each element would cost more than the write.

        The ruleset's generation says afterwards whether anybody else wrote meanwhile.
        """
        self._sock.leave(nft.GROUP_NFTABLES)
        before = self._generation()
        steps = 0
        try:
            yield
            steps = 1
        finally:
            self._sock.join(nft.GROUP_NFTABLES)
            if self._generation() != (before + steps) & 0xFFFFFFFF:
                self._missed = True

    def _generation(self) -> int:
        for reply in self._writer.dump(nft.generation()):
            return wire.number(wire.table(reply.payload[4:])[1])
        return 0

    def _is_ours(self, protocol: int, fields: dict[int, memoryview]) -> bool:
        # The first attribute of every notification but the generation's is the table's name.
        family = _FAMILY.get(protocol)
        return family is not None and 1 in fields and (family, wire.string(fields[1])) in self._tables


def _named(fields: dict[int, memoryview]) -> str:
    """Read from a generation's notification which process made it."""
    name = wire.string(fields[3]) if 3 in fields else "somebody"
    return f"{name!r}, pid {wire.number(fields[2])}" if 2 in fields else repr(name)
