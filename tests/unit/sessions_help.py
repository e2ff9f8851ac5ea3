"""A kernel's answers about sockets and tracking, made up: for what no kernel here says."""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING

from fwbouncer.kernel import sessions, wire
from fwbouncer.kernel.socket import NetlinkSocket

if TYPE_CHECKING:
    import pytest


LIST, DESTROY, LOOK_UP, REMOVE = 20, 21, 0x101, 0x102


class Scripted(NetlinkSocket):
    """A socket to a kernel that refuses each kind of request with an errno, or lists nothing."""

    def __init__(self, errors: dict[int, int], asked: list[int]) -> None:
        # Not that of the base class: there is no kernel here.
        self._sequence = 1
        self._errors = errors
        self._asked = asked
        self._answers: list[bytes] = []

    def close(self) -> None:
        """Do nothing."""

    def _answers_held(self) -> int:
        return 100

    def _drain(self) -> None:
        self._answers.clear()

    def _send(self, data: bytes) -> None:
        for request in wire.replies(data):
            self._asked.append(request.kind)
            error = self._errors.get(request.kind, 0)
            kind = wire.NLMSG_DONE if request.kind == LIST and not error else wire.NLMSG_ERROR
            head = struct.pack("=IHHII", 36, kind, 0, request.sequence, 0)
            self._answers.append(head + struct.pack("=i", -error) + bytes(16))

    def _receive(self, flags: int) -> bytes:
        return self._answers.pop(0) if self._answers else b""


def scripted(monkeypatch: pytest.MonkeyPatch, **errors: int) -> list[int]:
    """Put such a kernel under `sessions`; returns the list of what it will be asked."""
    asked: list[int] = []
    by_kind = {{"list": LIST, "destroy": DESTROY, "look_up": LOOK_UP}[name]: n for name, n in errors.items()}
    monkeypatch.setattr(sessions, "_diagnosis", lambda: Scripted(by_kind, asked))
    monkeypatch.setattr(sessions.NetlinkSocket, "open", lambda: Scripted(by_kind, asked))
    return asked
