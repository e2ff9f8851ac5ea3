"""The daemon's side of the control socket: answers commands from root, and from nobody else.

Whatever happens here, the daemon goes on: without a usable socket there is a warning and no control.
"""

from __future__ import annotations

import asyncio
import inspect
import logging
import os
import socket
import stat
import struct
from collections.abc import AsyncGenerator, Awaitable, Callable, Collection, Mapping
from contextlib import aclosing, suppress
from typing import TYPE_CHECKING, Any, TypeAlias

from fwbouncer.control.protocol import MOST_REQUEST, PROTOCOL, UNKNOWN, answer, decode, encode
from fwbouncer.errors import FwbouncerError

if TYPE_CHECKING:
    from pathlib import Path

Answer: TypeAlias = dict[str, Any]
# What yields pieces of a list, each of whole lines. It does a few milliseconds' work for each.
Pieces: TypeAlias = AsyncGenerator[bytes, None]
Handler: TypeAlias = Callable[[dict[str, Any]], Awaitable[Answer] | Answer | Pieces]

_log = logging.getLogger("fwbouncer.control")
_MOST_PEERS = 16
_PAGER = 3600.0  # seconds that somebody may look at a piece of a list before the next one is asked for
_UCRED = struct.Struct("3i")  # pid, uid, gid


class Control:
    """Serves commands on a Unix socket. A handler takes the request and returns the answer."""

    def __init__(
        self,
        path: Path,
        handlers: Mapping[str, Handler],
        *,
        allowed: Collection[int] | None = None,
        idle: float = 5.0,
        patience: float = 60.0,
    ) -> None:
        self._path = path
        self._handlers = handlers
        self._allowed = frozenset(allowed if allowed is not None else (0, os.geteuid()))
        self._idle = idle  # seconds that a peer may take to ask
        self._patience = patience  # seconds that a handler may take to answer
        self._server: asyncio.Server | None = None
        self._inode: tuple[int, int] | None = None
        self._peers: dict[asyncio.Task[None], bool] = {}  # connection -> it has a request to be answered

    async def start(self) -> bool:
        """Listen; tell whether it worked."""
        try:
            listener = _bind(self._path)
        except OSError as error:
            _log.warning("no control socket at %s: %s", self._path, error.strerror or error)
            return False
        if listener is None:
            return False
        found = self._path.stat()
        self._inode = (found.st_dev, found.st_ino)
        self._server = await asyncio.start_unix_server(self._serve, sock=listener, limit=MOST_REQUEST)
        return True

    async def stop(self) -> None:
        """Finish the answers that are due, and remove the socket. Calling it twice does no harm."""
        if self._server is None:
            return
        self._server.close()
        self._server = None
        with suppress(OSError):  # remove our socket, not one that somebody put in its place
            found = self._path.stat()
            if (found.st_dev, found.st_ino) == self._inode:
                self._path.unlink()
        others = {task for task in self._peers if task is not asyncio.current_task()}
        busy = {task for task in others if self._peers[task]}
        if busy:
            await asyncio.wait(busy, timeout=2)
        for task in others:
            task.cancel()
        if others:
            await asyncio.wait(others, timeout=2)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        if task is None:  # never: asyncio makes a task of it
            return
        self._peers[task] = False
        try:
            await self._converse(task, reader, writer)
        except (OSError, ValueError):  # gone, slow, or a line without end
            pass
        except asyncio.CancelledError:  # we stop; asyncio would report it as an error
            pass
        finally:
            del self._peers[task]
            writer.close()

    def _refusal(self, writer: asyncio.StreamWriter) -> str:
        raw = writer.get_extra_info("socket").getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _UCRED.size)
        _, uid, _ = _UCRED.unpack(raw)
        if uid not in self._allowed:
            _log.warning("a command by user %d was refused", uid)
            return "not permitted; run the command as root"
        return "too many commands at once; try again" if len(self._peers) > _MOST_PEERS else ""

    async def _converse(
        self, task: asyncio.Task[None], reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        refusal = self._refusal(writer)
        # Who is refused is heard out first: the answer would be lost if we hung up on an unread question.
        while line := await asyncio.wait_for(reader.readline(), self._idle):
            self._peers[task] = True
            await self._reply(writer, _error(refusal) if refusal else await self._answer(line))
            self._peers[task] = False
            if refusal or self._server is None:
                return

    async def _reply(self, writer: asyncio.StreamWriter, reply: bytes | Pieces) -> None:
        if isinstance(reply, bytes):
            writer.write(reply)
            await asyncio.wait_for(writer.drain(), self._idle)
            return
        writer.write(answer(stream=True))
        try:
            async with aclosing(reply) as pieces:
                async for piece in pieces:
                    writer.write(piece)
                    await asyncio.wait_for(writer.drain(), _PAGER)
                    await asyncio.sleep(0)  # whether or not there was a wait: others have their turn
            writer.write(answer(end=True))
        except OSError:
            raise  # the reader is gone
        except Exception as error:  # noqa: BLE001 - a mistake of ours must not end the daemon
            writer.write(_complaint(error))
        await asyncio.wait_for(writer.drain(), self._idle)

    async def _answer(self, line: bytes) -> bytes | Pieces:
        request = decode(line)
        name = request.get("command") if request is not None else None
        handler = self._handlers.get(name) if isinstance(name, str) else None
        if request is None or handler is None:
            return _error(f"{UNKNOWN}; this daemon knows {', '.join(self._handlers)}")
        try:
            result = handler(request)
            if isinstance(result, AsyncGenerator):
                return result
            if inspect.isawaitable(result):
                async with asyncio.timeout(self._patience):
                    result = await result
            return encode({**result, "protocol": PROTOCOL})
        except TimeoutError:
            return _error(f"no answer within {self._patience:g} s")
        except Exception as error:  # noqa: BLE001 - a mistake of ours must not end the daemon
            return _complaint(error)


def _error(text: str) -> bytes:
    return answer(error=text)


def _complaint(error: Exception) -> bytes:
    if isinstance(error, FwbouncerError):
        return _error(str(error))
    _log.error("a command failed", exc_info=error)
    return _error(f"{type(error).__name__} in the daemon; its log says more")


def _bind(path: Path) -> socket.socket | None:
    """Return a listening socket that only its owner can open; None where another daemon listens."""
    path.parent.mkdir(mode=0o755, parents=True, exist_ok=True)
    if _somebody_listens(path):
        _log.warning("another daemon answers at %s; this one can't be asked", path)
        return None
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_CLOEXEC | socket.SOCK_NONBLOCK)
    before = os.umask(0o177)  # so that there is no moment in which others could connect
    try:
        listener.bind(str(path))
    except OSError:
        listener.close()
        raise
    finally:
        os.umask(before)
    return listener


def _somebody_listens(path: Path) -> bool:
    """Tell whether a path is a live socket; remove it when it is a dead one."""
    try:
        if not stat.S_ISSOCK(path.lstat().st_mode):
            raise FileExistsError(17, "there is a file, and not a socket", str(path))
    except FileNotFoundError:
        return False
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_NONBLOCK) as probe:
        try:
            probe.connect(str(path))
        except BlockingIOError:
            return True  # it listens, and many are waiting
        except ConnectionRefusedError:
            path.unlink(missing_ok=True)
            return False
    return True
