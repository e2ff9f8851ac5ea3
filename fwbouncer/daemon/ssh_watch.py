"""Watches who is logged in over SSH: to spare them, or to say that a ban cuts them off."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

from fwbouncer.core.addresses import shown, supernets
from fwbouncer.core.names import escaped
from fwbouncer.errors import KernelError
from fwbouncer.host.logs import fields

if TYPE_CHECKING:
    from fwbouncer.core.book import Book
    from fwbouncer.core.model import AddressKey
    from fwbouncer.host.ssh import Sessions
    from fwbouncer.kernel.backend import Clock

_log = logging.getLogger("fwbouncer.never_block")


class SshWatch:
    """Its `peers` are logged in, its `warnings` are for those of them that are blocked."""

    def __init__(self, sessions: Sessions, book: Book, clock: Clock) -> None:
        self.peers: set[AddressKey] = set()
        self._sessions = sessions
        self._book = book
        self._clock = clock
        self._warnings: dict[AddressKey, str] = {}
        self._complaint: str | None = None

    @property
    def warnings(self) -> tuple[str, ...]:
        """Return what the administrator should know now."""
        return tuple(self._warnings.values())

    def look(self) -> None:
        """Look who is there."""
        try:
            self.peers = self._sessions.peers(self._clock())
        except KernelError as error:  # a kernel without inet_diag
            if str(error) != self._complaint:
                _log.warning("who is logged in over SSH can't be found out: %s", error)
            self._complaint = str(error)

    def judge(self, *, spared: bool) -> None:
        """Find out who of them is blocked. Whoever is `spared` for being logged in needs no warning."""
        found = {} if spared else {peer: self._ban_of(peer) for peer in self.peers}
        before, self._warnings = self._warnings, {peer: text for peer, text in found.items() if text}
        for peer in self._warnings.keys() - before.keys():
            _log.warning("%s", self._warnings[peer], extra=fields("ssh_peer", peer=shown(peer)))

    def _ban_of(self, peer: AddressKey) -> str | None:
        """Say which ban cuts off somebody who is logged in; None if there is none, or it has no effect."""
        if self._book.never.holds(peer):
            return None
        for key in (peer, *supernets(peer)):
            for _, _, label in self._book.ledger.claims(key):
                return (
                    f"{shown(peer)} is logged in over SSH, and blocked by {escaped(label.origin)} "
                    f"({escaped(label.scenario)}); `fwbouncer unblock {shown(peer)}` lets it pass"
                )
        return None
