"""The HTTP side of the fake LAPI: connections, TLS, Unix sockets, chunks."""

from __future__ import annotations

import contextlib
import itertools
import json
import socket
import ssl
import struct
import time
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler
from socketserver import TCPServer, ThreadingMixIn
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qsl, urlsplit

if TYPE_CHECKING:
    from pathlib import Path

    from tests.fake_lapi import FakeLapi

CHUNK = 4096  # what Go's HTTP server makes of a long answer
_serial = itertools.count(1)


@dataclass(frozen=True)
class Tls:
    """Files for HTTPS; with `client_ca`, clients may show a certificate instead of a key."""

    cert: Path
    key: Path
    client_ca: Path | None = None


@dataclass(frozen=True)
class Request:
    """One request as it came in."""

    method: str
    path: str
    params: dict[str, str]
    headers: dict[str, str]  # names in lower case
    body: bytes
    at: float  # time.monotonic()
    connection: int  # equal for requests on one connection


class Server(ThreadingMixIn, TCPServer):
    """A thread for each connection, and all of them can be cut."""

    daemon_threads = True
    block_on_close = False
    allow_reuse_address = True
    request_queue_size = 64
    lapi: FakeLapi
    tls: ssl.SSLContext | None

    def __init__(self, *args: Any) -> None:
        super().__init__(*args)
        self.live: set[socket.socket] = set()

    def finish_request(self, request: Any, client_address: Any) -> None:
        """Serve a connection, by TLS if so asked."""
        if self.tls is not None:
            request.settimeout(10)
            request = self.tls.wrap_socket(request, server_side=True)
            request.settimeout(None)
        self.live.add(request)
        try:
            super().finish_request(request, client_address)
        finally:
            self.live.discard(request)
            request.close()

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Say nothing: broken connections are what this server is for."""

    def cut_all(self) -> None:
        """End all connections."""
        for each in list(self.live):
            with contextlib.suppress(OSError):
                each.shutdown(socket.SHUT_RDWR)


class UnixServer(Server):
    """The same on a Unix socket."""

    address_family = socket.AF_UNIX


class Handler(BaseHTTPRequestHandler):
    """One connection."""

    protocol_version = "HTTP/1.1"
    wbufsize = 65536
    server: Server

    def setup(self) -> None:
        """Prepare the connection and give it a number."""
        super().setup()
        if self.request.family != socket.AF_UNIX:
            self.request.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.connection_number = next(_serial)

    def address_string(self) -> str:
        """Name the client; a Unix socket's has no address."""
        return "client"

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 - its name in the base class
        """Log nothing."""

    def do_GET(self) -> None:
        """Answer any request."""
        lapi = self.server.lapi
        parts = urlsplit(self.path)
        headers = {name.lower(): value for name, value in self.headers.items()}
        body = self.rfile.read(int(headers.get("content-length", "0")))
        self.params = dict(parse_qsl(parts.query, keep_blank_values=True))
        entry = (
            self.command,
            parts.path,
            self.params,
            headers,
            body,
            time.monotonic(),
            self.connection_number,
        )
        lapi.requests.append(Request(*entry))
        fault = lapi.faults.popleft() if lapi.faults else lapi.fault
        if fault is not None:
            fault(self)
        elif not self._admitted(headers):
            self.answer(403, b'{"message":"access forbidden"}')
        elif self.command == "HEAD" or parts.path == "/health":
            self.answer(200, b"")
        elif self.command == "POST" and parts.path == "/v1/usage-metrics":
            lapi.usage.append(json.loads(body))
            self.answer(201, b"{}")
        elif parts.path == "/v1/decisions/stream":
            self.answer(200, self.page(), chunked=lapi.chunked)
        else:
            self.answer(404, b'{"message":"page not found"}')

    do_HEAD = do_POST = do_GET  # noqa: N815 - the base class looks for these names

    def _admitted(self, headers: dict[str, str]) -> bool:
        if isinstance(self.request, ssl.SSLSocket) and self.request.getpeercert():
            return True
        keys = self.server.lapi.keys
        key = headers.get("x-api-key", "")
        return bool(key) if keys is None else key in keys

    def page(self) -> bytes:
        """Return the proper answer to this request."""
        lapi = self.server.lapi
        if lapi.page is not None:
            return lapi.page
        return lapi.stream(self.headers.get("X-Api-Key", ""), self.params)

    def head(self, code: int, headers: dict[str, str]) -> None:
        """Send status and headers."""
        self.send_response(code)
        for name, value in {"Content-Type": "application/json", **(headers or {})}.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.flush()

    def answer(
        self, code: int, body: bytes, headers: dict[str, str] | None = None, *, chunked: bool = False
    ) -> None:
        """Send a whole answer."""
        if self.command == "HEAD" or not chunked:
            self.head(code, {"Content-Length": str(len(body)), **(headers or {})})
            self.wfile.write(b"" if self.command == "HEAD" else body)
        else:
            self.head(code, {"Transfer-Encoding": "chunked", **(headers or {})})
            for start in range(0, len(body), CHUNK):
                self.wfile.write(_chunk(body[start : start + CHUNK]))
            self.wfile.write(b"0\r\n\r\n")
        self.wfile.flush()

    def chunk(self, data: bytes) -> None:
        """Send one chunk of a chunked answer, at once."""
        self.wfile.write(_chunk(data))
        self.wfile.flush()

    def wait(self, pause: float) -> None:
        """Wait, but not for longer than the server lives."""
        if self.server.lapi.stopping.wait(pause):
            raise ConnectionAbortedError

    def cut(self, *, abruptly: bool = True) -> None:
        """End the connection, with a reset or properly."""
        self.close_connection = True
        if abruptly:
            linger = struct.pack("ii", 1, 0)
            self.request.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
            self.request.close()
        else:
            with contextlib.suppress(OSError):
                self.request.shutdown(socket.SHUT_RDWR)


def _chunk(data: bytes) -> bytes:
    return b"%x\r\n%b\r\n" % (len(data), data)


def server_context(tls: Tls) -> ssl.SSLContext:
    """Load the certificates."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(tls.cert, tls.key)
    if tls.client_ca is not None:
        context.load_verify_locations(tls.client_ca)
        context.verify_mode = ssl.CERT_OPTIONAL
    return context
