"""The commands' side of the control socket: ask the daemon one thing, or say why there is no answer."""

from __future__ import annotations

import socket
import time
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from fwbouncer.control.protocol import MARK, MOST_REPLY, PROTOCOL, UNKNOWN, decode, encode
from fwbouncer.errors import ControlError

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


class NotRunning(ControlError):
    """Nobody listens on the socket."""


def ask(path: Path, command: str, *, timeout: float = 5.0, **arguments: Any) -> dict[str, Any]:
    """Send a command and return the answer; raise ControlError with a reason for the administrator."""
    with _asked(path, command, timeout, arguments) as peer:
        line = _line(peer, time.monotonic() + timeout)
    return _checked(path, line)


def stream(path: Path, command: str, *, timeout: float = 10.0, **arguments: Any) -> Iterator[bytes]:
    """Send a command whose answer is a list, and yield it as it comes, in pieces of whole lines.

    Raises ControlError as `ask` does, also where the list breaks off. `timeout` is how long the daemon may be silent.
    """
    begun = False
    with _asked(path, command, timeout, arguments) as peer:
        for piece in _pieces(path, peer):
            lines = piece
            if not begun:
                head, _, lines = piece.partition(b"\n")
                _checked(path, head)
                begun = True
            mark = 0 if lines.startswith(MARK) else lines.find(b"\n" + MARK) + 1 or len(lines)
            if mark:
                yield lines[:mark]
            if mark < len(lines):
                _checked(path, lines[mark:])
                return
    if not begun:
        _checked(path, b"")
    raise ControlError(f"the daemon at {path} hung up before the end; its log may say why")


@contextmanager
def _asked(path: Path, command: str, timeout: float, arguments: dict[str, Any]) -> Iterator[socket.socket]:
    """Connect and ask; whatever goes wrong on the socket while the answer is read is told in words."""
    try:
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as peer:
            peer.settimeout(timeout)
            peer.connect(str(path))
            peer.sendall(encode({**arguments, "command": command}))
            yield peer
    except (FileNotFoundError, ConnectionRefusedError):
        raise NotRunning(f"no daemon is running: nobody listens at {path}") from None
    except PermissionError:
        raise ControlError(f"not permitted to open {path}; run the command as root") from None
    except (TimeoutError, BlockingIOError):
        raise ControlError(
            f"the daemon hangs, or is busy with a very large list: no answer at {path} within {timeout:g} s"
        ) from None
    except OSError as error:
        raise ControlError(f"can't ask the daemon at {path}: {error.strerror or error}") from None


def _line(peer: socket.socket, deadline: float) -> bytes:
    parts: list[bytes] = []
    size = 0
    while not parts or not parts[-1].endswith(b"\n"):
        left = deadline - time.monotonic()
        if left <= 0:
            raise TimeoutError
        peer.settimeout(left)
        part = peer.recv(1 << 20)
        size += len(part)
        if not part or size > MOST_REPLY:
            break
        parts.append(part)
    return b"".join(parts)


def _pieces(path: Path, peer: socket.socket) -> Iterator[bytes]:
    """Yield what comes, in whole lines, for as long as something comes."""
    rest = b""
    while part := peer.recv(1 << 18):
        whole, newline, rest = (rest + part).rpartition(b"\n")
        if newline:
            yield whole + newline
        elif len(rest) > MOST_REPLY:
            raise ControlError(f"what answers at {path} is not fwbouncer")


def _checked(path: Path, line: bytes) -> dict[str, Any]:
    if not line:
        raise ControlError(f"the daemon at {path} hung up without an answer; its log may say why")
    answer = decode(line)
    if answer is None or "protocol" not in answer:
        raise ControlError(f"what answers at {path} is not fwbouncer")
    if answer["protocol"] != PROTOCOL:
        raise ControlError(
            f"the daemon at {path} speaks protocol {answer['protocol']!r:.20} and this command {PROTOCOL}; "
            "restart the daemon after an upgrade"
        )
    if "error" in answer:
        words = str(answer["error"])
        if words.startswith(UNKNOWN):
            words = f"the daemon at {path} is older than this command; restart it after an upgrade"
        raise ControlError(words)
    return answer
