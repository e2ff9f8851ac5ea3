"""A mail host elsewhere: it takes the mail of its domain, and is its domain's name server, too."""

from __future__ import annotations

import contextlib
import socket
import socketserver
import struct
import threading
import time
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from tests.lab.net import Host

DOMAIN = "remote.example"
MX = f"mx.{DOMAIN}"
ADDRESSES = {4: "192.0.2.200", 6: "2001:db8:c::200"}
GATEWAYS = {4: "192.0.2.193", 6: "2001:db8:c::1"}
_A, _MX = 1, 15


def _wire(name: str) -> bytes:
    """Return a domain name as DNS writes it."""
    return b"".join(bytes((len(label),)) + label.encode() for label in name.split(".")) + b"\0"


def answer(query: bytes) -> bytes:
    """Answer who takes the domain's mail and where that host is; of all else there is nothing."""
    end = query.index(b"\0", 12) + 1
    name, (kind,) = query[12:end].lower(), struct.unpack_from("!H", query, end)
    known = {
        (_wire(DOMAIN), _MX): struct.pack("!H", 10) + _wire(MX),
        (_wire(MX), _A): socket.inet_aton(ADDRESSES[4]),
    }
    data = known.get((name, kind))
    # An authoritative answer, with the question's own name as the record's.
    head = query[:2] + struct.pack("!5H", 0x8580, 1, data is not None, 0, 0)
    record = struct.pack("!HHHIH", 0xC00C, kind, 1, 60, len(data)) + data if data is not None else b""
    return head + query[12 : end + 4] + record


class _Names(socketserver.BaseRequestHandler):
    def handle(self) -> None:
        query, peer = self.request
        with contextlib.suppress(ValueError, struct.error):
            peer.sendto(answer(query), self.client_address)


class _Mail(socketserver.StreamRequestHandler):
    server: _MailServer

    def handle(self) -> None:
        self._say(f"220 {MX}")
        while line := self.rfile.readline():
            word = line[:4].upper().strip()
            if word == b"DATA":
                self._say("354 go on")
                self._take()
            self._say("221 bye" if word == b"QUIT" else "250 OK")
            if word == b"QUIT":
                return

    def _take(self) -> None:
        lines = []
        while (line := self.rfile.readline()) not in {b".\r\n", b""}:
            lines.append(line)
        self.server.taken.append(b"".join(lines).decode(errors="replace"))

    def _say(self, text: str) -> None:
        self.wfile.write(f"{text}\r\n".encode())


class _MailServer(socketserver.ThreadingTCPServer):
    daemon_threads = True
    allow_reuse_address = True

    def __init__(self, address: tuple[str, int]) -> None:
        self.taken: list[str] = []
        super().__init__(address, _Mail)


class RemoteMailHost:
    """Serves until it is closed."""

    def __init__(self, host: Host) -> None:
        with host.inside():
            self._mail = _MailServer((ADDRESSES[4], 25))
            self._names = socketserver.UDPServer((ADDRESSES[4], 53), _Names)
        self._servers: tuple[socketserver.BaseServer, ...] = (self._mail, self._names)
        for server in self._servers:
            threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True).start()

    def wait_for_mail(self, text: str, within: float = 60) -> None:
        """Wait until a mail has come that contains this."""
        deadline = time.monotonic() + within
        while not any(text in mail for mail in list(self._mail.taken)):
            assert time.monotonic() < deadline, f"no mail with {text!r} has come to {MX} within {within} s"
            time.sleep(0.02)

    def close(self) -> None:
        """Serve no more."""
        for server in self._servers:
            server.shutdown()
            server.server_close()
