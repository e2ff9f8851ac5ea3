"""A connection to the LAPI that costs next to nothing, so that a thousand pollers fit into one process.

It reads an answer to its end and only tells whether a marked ban was in it.
"""

from __future__ import annotations

import asyncio
from contextlib import suppress
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

import httpx

from tests.lab.crowdsec import URL

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

_PIECE = 1 << 18
_EMPTY = b'{"new":[],"deleted":[]}'
STREAM = "/v1/decisions/stream"


class Wire:
    """One kept HTTP connection."""

    def __init__(self) -> None:
        self.mark = b""  # what to look for; the answers to questions are in `found`
        self.found = False
        self._streams: tuple[asyncio.StreamReader, asyncio.StreamWriter] | None = None

    @property
    def usable(self) -> bool:
        """Tell whether there is a connection that the LAPI hasn't closed."""
        return self._streams is not None and not self._streams[0].at_eof()

    async def connect(self) -> None:
        """Make a connection; raises OSError."""
        self.close()
        at = urlsplit(URL)
        self._streams = await asyncio.open_connection(at.hostname, at.port, limit=_PIECE)

    def close(self) -> None:
        """Let it go."""
        if self._streams:
            with suppress(OSError):
                self._streams[1].close()
            self._streams = None

    async def ask(self, path: str, headers: str) -> int:
        """Return the status of the answer, all of which has come; raises OSError, also for an early end."""
        assert self._streams, "connect first"
        reader, writer = self._streams
        self.found = False
        try:
            writer.write(f"GET {path} HTTP/1.1\r\nHost: lapi\r\n{headers}\r\n".encode())
            head = (await reader.readuntil(b"\r\n\r\n")).lower()
            last = b""
            async for piece in _body(reader, head):
                if self.mark:
                    self.found |= self.mark in last + piece
                    last = piece[-len(self.mark) :]
        except (OSError, asyncio.IncompleteReadError, asyncio.LimitOverrunError) as error:
            self.close()
            raise ConnectionResetError(str(error)) from error
        return int(head.split(None, 2)[1])


async def _body(reader: asyncio.StreamReader, head: bytes) -> AsyncIterator[bytes]:
    _, sized, length = head.partition(b"content-length:")
    if sized:
        async for piece in _pieces(reader, int(length.split(None, 1)[0])):
            yield piece
        return
    size = 1
    while size:
        size = int(await reader.readline() or b"", 16)
        async for piece in _pieces(reader, size):
            yield piece
        await reader.readexactly(2)


async def _pieces(reader: asyncio.StreamReader, left: int) -> AsyncIterator[bytes]:
    while left:
        piece = await reader.read(min(left, _PIECE))
        if not piece:
            raise ConnectionResetError
        left -= len(piece)
        yield piece


class Transport(httpx.AsyncBaseTransport):
    """The same for fwbouncer's own client, which gets an empty page whatever came."""

    def __init__(self, wire: Wire) -> None:
        self._wire = wire

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        """Ask what the client asks, and tell it what became of it as httpcore would."""
        trace = request.extensions["trace"]
        try:
            if not self._wire.usable:
                await trace("connection.connect_tcp.started", {})
                await self._wire.connect()
        except OSError as error:
            raise httpx.ConnectError(str(error)) from error
        await trace("http11.send_request_headers.started", {})
        names = ("user-agent", "x-api-key")
        headers = "".join(f"{name}: {request.headers[name]}\r\n" for name in names)
        target = request.url.raw_path.decode()
        try:
            status = await self._wire.ask(target, headers)
        except OSError as error:
            raise httpx.ReadError(str(error)) from error
        return httpx.Response(status, stream=httpx.ByteStream(_EMPTY))

    async def aclose(self) -> None:
        """Let the connection go."""
        self._wire.close()
