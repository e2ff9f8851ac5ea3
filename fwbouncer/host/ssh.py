"""Who is logged in over SSH: the peers of connections to sshd, asked of the kernel.

A connection alone is no session: whoever guesses passwords has one, too. It counts once login records name its peer,
or once it has lasted longer than sshd waits for somebody to log in.
"""

from __future__ import annotations

import re
import socket
import struct
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

from fwbouncer.kernel.sessions import established
from fwbouncer.kernel.sessions_tcp import plain

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    from fwbouncer.core.model import AddressKey, Millis

    Connection = tuple[AddressKey, int]  # the peer's address and port

LOGIN_GRACE: Millis = 150_000  # sshd's LoginGraceTime is two minutes

# struct utmp of Linux is the same on 32 and 64 bits.
_UTMP = struct.Struct("=h2xi32s4s32s256shh3i4i20x")
_USER_PROCESS = 7
_PORT = re.compile(
    r"^\s*(?:Port\s+|ListenAddress\s+\S+:)(\d{1,5})\s*$", re.IGNORECASE | re.MULTILINE | re.ASCII
)
_REMOTE = re.compile(r"^REMOTE_HOST=(.+)$", re.MULTILINE)


class Sessions:
    """Remembers since when each connection has been there."""

    def __init__(
        self,
        connections: Callable[[], Iterable[Connection]],
        logins: Callable[[], Iterable[AddressKey]],
    ) -> None:
        self._connections = connections
        self._logins = logins
        self._since: dict[Connection, Millis] = {}

    @classmethod
    def of_this_host(cls) -> Sessions:
        """Ask the kernel, utmp and logind."""
        return cls(lambda: connections(ports()), logins)

    def peers(self, now: Millis) -> set[AddressKey]:
        """Return the peers of the sessions that there are now."""
        there = set(self._connections())
        self._since = {connection: self._since.get(connection, now) for connection in there}
        if not there:
            return set()
        known = set(self._logins())
        return {
            connection[0]
            for connection, since in self._since.items()
            if connection[0] in known or now - since >= LOGIN_GRACE
        }


def ports(folder: Path = Path("/etc/ssh")) -> set[int]:
    """Return the ports that sshd listens on: 22, and what its configuration says."""
    found = {22}
    for path in (folder / "sshd_config", *sorted((folder / "sshd_config.d").glob("*.conf"))):
        with suppress(OSError):
            found.update(int(port) for port in _PORT.findall(path.read_text(errors="replace")))
    return {port for port in found if 0 < port < 65536}


def connections(local_ports: Iterable[int]) -> set[Connection]:
    """Return the established TCP connections to these ports of this host."""
    return {(found.peer, found.peer_port) for port in local_ports for found in established(port)}


def logins(utmp: Path = Path("/run/utmp"), sessions: Path = Path("/run/systemd/sessions")) -> set[AddressKey]:
    """Return the addresses from which somebody is logged in, as utmp and logind have written them down.

    Debian 13 has no utmp any more, and not every host has logind.
    """
    found = set()
    with suppress(OSError):
        for address in _logged_in(utmp.read_bytes()):
            found.add(plain(address))
    with suppress(OSError):
        for path in sessions.iterdir():
            with suppress(OSError, ValueError):
                host = _REMOTE.search(path.read_text(errors="replace"))
                if host:
                    found.add(plain(_packed(host[1])))
    return found


def _logged_in(data: bytes) -> Iterator[bytes]:
    for at in range(0, len(data) - _UTMP.size + 1, _UTMP.size):
        row = _UTMP.unpack_from(data, at)
        address = struct.pack("=4i", *row[-4:])
        if row[0] == _USER_PROCESS and any(address):
            yield address if any(address[4:]) else address[:4]


def _packed(text: str) -> bytes:
    text = text.strip().partition("%")[0]
    return socket.inet_pton(socket.AF_INET6 if ":" in text else socket.AF_INET, text)
