"""Serves one page to whoever scrapes it, over HTTP on a TCP port or a Unix socket.

No scraper can do harm: each has little time and few bytes to ask, one page is made at a time, and there are only so
many connections. Where the address can't be used, that is said once, and it is tried again.
"""

from __future__ import annotations

import asyncio
import errno
import logging
import os
import socket
import stat
from collections.abc import Awaitable, Callable
from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeAlias

if TYPE_CHECKING:
    from pathlib import Path

Page: TypeAlias = Callable[
    [str], Awaitable[tuple[str, bytes]]
]  # from what is accepted to content type and body
Aside: TypeAlias = Callable[[Callable[[], socket.socket]], Awaitable[socket.socket]]

_log = logging.getLogger("fwbouncer.metrics")

_MOST_PEERS = 16
_MOST_HEADERS = 16 * 1024
_PATIENCE = 10.0  # seconds, from the first byte of the question to the last of the answer
_SOON, _LATE = 1.0, 30.0  # seconds until an address that can't be used is tried again


@dataclass(frozen=True, slots=True)
class Tcp:
    """A port of an address or a name."""

    address: str
    port: int

    def __str__(self) -> str:
        return f"[{self.address}]:{self.port}" if ":" in self.address else f"{self.address}:{self.port}"

    def listen(self) -> socket.socket:
        """Open it; raises OSError. Looks a name up, so it may take a while."""
        if self.address == "::" and socket.has_dualstack_ipv6():  # as in Go, it takes IPv4, too
            return socket.create_server(("::", self.port), family=socket.AF_INET6, dualstack_ipv6=True)
        found = socket.getaddrinfo(self.address, self.port, type=socket.SOCK_STREAM)
        family, _, _, _, address = found[0]
        return socket.create_server(address, family=family)

    def leave(self) -> None:
        """Nothing stays behind."""


@dataclass(frozen=True, slots=True)
class Unix:
    """A socket in the file system. Whoever can reach its folder may read from it."""

    path: Path

    def __str__(self) -> str:
        return str(self.path)

    def listen(self) -> socket.socket:
        """Open it; raises OSError. A socket that nobody listens on any more is replaced."""
        self._clear()
        listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        try:
            listener.bind(str(self.path))
            self.path.chmod(0o666)
            listener.listen()
        except OSError:
            listener.close()
            raise
        return listener

    def leave(self) -> None:
        """Remove it."""
        with suppress(OSError):
            self.path.unlink()

    def _clear(self) -> None:
        try:
            if not stat.S_ISSOCK(self.path.lstat().st_mode):
                raise FileExistsError(errno.EEXIST, "there is a file, and not a socket")
        except FileNotFoundError:
            return
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_NONBLOCK) as probe:
            try:
                probe.connect(str(self.path))
            except ConnectionRefusedError:
                self.path.unlink(missing_ok=True)
                return
            except BlockingIOError:
                pass
        raise OSError(errno.EADDRINUSE, os.strerror(errno.EADDRINUSE))


Place: TypeAlias = Tcp | Unix


class Scrapes:
    """Listens at one place, as long as `run` goes on. `aside` does what may take its time in another thread."""

    def __init__(
        self, place: Place, page: Page, aside: Aside = asyncio.to_thread, *, patience: float = _PATIENCE
    ) -> None:
        self._place = place
        self._page = page
        self._aside = aside
        self._patience = patience
        self._peers: set[asyncio.Task[None]] = set()
        self._one = asyncio.Lock()

    async def run(self) -> None:
        """Serve for ever."""
        listener = await self._listener()
        server = await asyncio.start_server(self._serve, sock=listener, limit=_MOST_HEADERS)
        _log.info("Serving metrics at %s%s", self._place, "/metrics" if isinstance(self._place, Tcp) else "")
        try:
            await asyncio.get_running_loop().create_future()
        finally:
            server.close()
            self._place.leave()
            for peer in self._peers:
                peer.cancel()

    async def _listener(self) -> socket.socket:
        """Open the place, however often it takes: at boot we are there before the network is."""
        pause, complaint = _SOON, ""
        while True:
            try:
                return await self._aside(self._place.listen)
            except OSError as error:
                words = error.strerror or str(error)
            except UnicodeError:  # of a name that no resolver takes
                words = "that is no address"
            if words != complaint:
                complaint = words
                _log.warning("metrics can't be served at %s, trying again: %s", self._place, words)
            await asyncio.sleep(pause)
            pause = min(2 * pause, _LATE)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        if task is None or len(self._peers) >= _MOST_PEERS:
            writer.transport.abort()
            return
        self._peers.add(task)
        try:
            async with asyncio.timeout(self._patience):
                await self._converse(reader, writer)
                writer.close()
                await writer.wait_closed()
        except (
            OSError,
            ValueError,
            asyncio.CancelledError,
        ):  # gone, slow, or we stop; TimeoutError is an OSError
            pass
        finally:
            self._peers.discard(task)
            writer.transport.abort()

    async def _converse(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        request = await _request(reader)
        if request is None:
            writer.write(_answer("431 Request Header Fields Too Large", b"too long\n"))
        elif len(request.words) != 3 or not request.words[2].startswith("HTTP/1."):
            writer.write(_answer("400 Bad Request", b"that is no HTTP\n"))
        elif request.words[0] not in ("GET", "HEAD"):
            writer.write(_answer("405 Method Not Allowed", b"only GET\n", "Allow: GET, HEAD"))
        elif request.words[1].partition("?")[0] != "/metrics":
            writer.write(_answer("404 Not Found", b"there is only /metrics\n"))
        else:
            writer.write(await self._metrics(request))
        await writer.drain()

    async def _metrics(self, request: _Request) -> bytes:
        async with self._one:
            try:
                kind, body = await self._page(request.accept)
            except Exception:  # noqa: BLE001 - a mistake of ours must not end the daemon
                _log.exception("no metrics")
                return _answer("500 Internal Server Error", b"the log says why\n")
        answer = _answer("200 OK", body, kind=kind)
        return answer[: len(answer) - len(body)] if request.words[0] == "HEAD" else answer


@dataclass(frozen=True, slots=True)
class _Request:
    words: list[str]
    accept: str = ""


async def _request(reader: asyncio.StreamReader) -> _Request | None:
    """Read a question up to its empty line; None for one that is too long."""
    lines: list[str] = []
    left = _MOST_HEADERS
    while True:
        try:
            line = await reader.readline()
        except ValueError:
            return None
        left -= len(line)
        if left < 0:
            return None
        if not line.endswith(b"\n"):
            raise ConnectionResetError
        text = line.decode("latin-1").strip()
        if not text and lines:
            break
        lines.append(text)
    accepted = [
        value for name, _, value in (line.partition(":") for line in lines[1:]) if name.lower() == "accept"
    ]
    return _Request(lines[0].split(), ",".join(accepted))


def _answer(status: str, body: bytes, *more: str, kind: str = "text/plain; charset=utf-8") -> bytes:
    lines = (f"HTTP/1.1 {status}", f"Content-Type: {kind}", f"Content-Length: {len(body)}", *more)
    return "\r\n".join((*lines, "Connection: close", "", "")).encode("latin-1") + body
