"""The commands' side of the control socket: ask the daemon one thing, or say why there is no answer."""

from __future__ import annotations

import socket
import time
from typing import TYPE_CHECKING, Any

from fwbouncer.control.protocol import MOST_REPLY, PROTOCOL, decode, encode
from fwbouncer.errors import ControlError

if TYPE_CHECKING:
    from pathlib import Path


class NotRunning(ControlError):
    """Nobody listens on the socket."""


def ask(path: Path, command: str, *, timeout: float = 5.0, **arguments: Any) -> dict[str, Any]:
    """Send a command and return the answer; raise ControlError with a reason for the administrator."""
    deadline = time.monotonic() + timeout
    try:
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as peer:
            peer.settimeout(timeout)
            peer.connect(str(path))
            peer.sendall(encode({**arguments, "command": command}))
            line = _line(peer, deadline)
    except (FileNotFoundError, ConnectionRefusedError):
        raise NotRunning(f"no daemon is running: nobody listens at {path}") from None
    except PermissionError:
        raise ControlError(f"not permitted to open {path}; run the command as root") from None
    except (TimeoutError, BlockingIOError):
        raise ControlError(f"the daemon hangs: no answer at {path} within {timeout:g} s") from None
    except OSError as error:
        raise ControlError(f"can't ask the daemon at {path}: {error.strerror or error}") from None
    return _checked(path, line)


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
        raise ControlError(str(answer["error"]))
    return answer
