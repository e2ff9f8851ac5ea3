"""Follows where Apache James listens: its ports, and which of them stand behind a proxy.

A file that can't be read or understood, as while an editor saves it, leaves what was last read of it. Where nothing
was ever read of a file that is there, its protocol's usual ports are taken: better closed than open to a banned peer.
"""

from __future__ import annotations

import logging
import os
import stat
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from fwbouncer.core.ports import Ports
from fwbouncer.host.james_files import KINDS, MOST_BYTES, Bind, Found, Problem, Server, Unreadable
from fwbouncer.host.logs import fields

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

    from fwbouncer.config.schema import Config
    from fwbouncer.core.policy import Policies

_log = logging.getLogger("fwbouncer.james")

_GONE = 10  # looks for which a file must be away before its servers are; some editors take it away while they save


@dataclass(frozen=True, slots=True)
class Reading:
    """What James's files say together."""

    folder: Path
    servers: tuple[Server, ...] = ()
    problems: tuple[Problem, ...] = ()

    @property
    def ports(self) -> Ports:
        """Return the ports that others than this host itself can reach."""
        return Ports.of(*{bind.port for bind in self._binds() if bind.outside})

    @property
    def proxied(self) -> tuple[Server, ...]:
        """Return the servers that are reached through a proxy alone; they see its address, and so does the kernel."""
        return tuple(
            server for server in self.servers if server.proxied and any(b.outside for b in server.binds)
        )

    @property
    def proxied_ports(self) -> Ports:
        """Return the ports of those servers."""
        return Ports.of(*{bind.port for server in self.proxied for bind in server.binds if bind.outside})

    def warnings(self, *, asked: bool, proxies: bool = False) -> tuple[str, ...]:
        """Say what is wrong; `asked` tells that bans close James's ports, `proxies` that the proxies are listed."""
        found = [str(problem) for problem in self.problems]
        if asked and not self.ports:
            found.append(f"{self.folder} names no port that others can reach: `ports: james` closes nothing")
        if self.proxied:
            found.append(
                f"James takes ports {self.proxied_ports} from a proxy alone (proxyRequired), so this host sees the "
                "proxy's address: bans must be enforced on the proxy"
                + ("" if proxies else "; name it in protect.proxies, so that it is never banned here")
            )
        return tuple(found)

    def _binds(self) -> Iterable[Bind]:
        return (bind for server in self.servers for bind in server.binds)


@dataclass(slots=True)
class _File:
    """What is known of one file."""

    stamp: object = ()
    seen: object = ()  # the stamp at the last look: it is read once two looks agree
    missing: int = 0
    found: Found = field(default_factory=Found)
    trouble: Problem | None = None  # why what is known is not what stands there
    known: bool = False


class James:
    """The files of one folder."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._files = {name: _File() for name in KINDS}
        self._said: set[str] = set()

    def reading(self) -> Reading:
        """Return what is known now."""
        every = self._files.values()
        servers = tuple(server for file in every for server in file.found.servers)
        problems = [problem for file in every for problem in (file.trouble, *file.found.problems) if problem]
        return Reading(self.folder, servers, tuple(problems))

    def read(self) -> Reading:
        """Read all the files at once."""
        for name, file in self._files.items():
            file.stamp = file.seen = self._stamp(name)
            self._take(name, file)
        return self.reading()

    def look(self) -> bool:
        """Read the files that have changed and come to rest; tell whether anything new is known."""
        before = self.reading()
        for name, file in self._files.items():
            stamp = self._stamp(name)
            rests, file.seen = stamp == file.seen, stamp
            file.missing = file.missing + 1 if stamp is None else 0
            if rests and stamp != file.stamp and (stamp is not None or file.missing >= _GONE):
                file.stamp = stamp
                self._take(name, file)
        return self.reading() != before

    def tell(self) -> None:
        """Log the problems that were not there before."""
        words = {str(problem) for problem in self.reading().problems}
        for text in sorted(words - self._said):
            _log.warning("%s", text, extra=fields("james_conf"))
        self._said = words

    def _take(self, name: str, file: _File) -> None:
        kind, path = KINDS[name], self.folder / name
        file.trouble = None
        try:
            file.found = kind.read(path, _bytes(path), kind.protocol, kind.default)
            file.known = True
        except FileNotFoundError:  # James runs no such server then
            if file.known and not self.folder.is_dir():
                file.trouble = Problem(path, None, "is gone with its folder; what it said last counts")
            else:
                file.found, file.known = Found(), False
        except OSError as error:
            self._puzzled(file, path, kind.usual, f"can't be read: {error.strerror}{_help(error)}")
        except Unreadable as error:
            self._puzzled(file, path, kind.usual, str(error), error.line)

    @staticmethod
    def _puzzled(file: _File, path: Path, usual: tuple[int, ...], why: str, line: int | None = None) -> None:
        if file.known:
            file.trouble = Problem(path, line, f"{why}; what it said last counts")
            return
        named = (
            f"its usual ports are taken: {', '.join(map(str, usual))}"
            if usual
            else "no port is taken from it"
        )
        file.trouble = Problem(path, line, f"{why}; {named}")
        binds = tuple(Bind("", port) for port in usual)
        assumed = [Server(KINDS[path.name].protocol, path, None, binds, assumed=True)] if usual else []
        file.found = Found(assumed)

    def _stamp(self, name: str) -> object:
        try:
            found = (self.folder / name).stat()
        except FileNotFoundError:
            return None
        except OSError as error:
            return error.errno
        return found.st_ino, found.st_size, found.st_mtime_ns, found.st_ctime_ns


def glance(config: Config) -> tuple[Policies, tuple[str, ...]]:
    """Read once, for who only wants to know: the policies with James's ports, and what is wrong."""
    if config.james_conf is None:
        return config.policies, ()
    reading = James(config.james_conf).read()
    warnings = reading.warnings(asked=config.policies.asks_james, proxies=bool(config.proxies))
    return config.policies.with_james(reading.ports), warnings


def _bytes(path: Path) -> bytes:
    # O_NONBLOCK: opening a pipe without a writer would wait for ever
    with os.fdopen(os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK), "rb") as file:
        if not stat.S_ISREG(os.fstat(file.fileno()).st_mode):
            raise Unreadable("is not a regular file")
        data = file.read(MOST_BYTES + 1)
    if len(data) > MOST_BYTES:
        raise Unreadable(f"is longer than {MOST_BYTES} bytes")
    return data


def _help(error: OSError) -> str:
    if not isinstance(error, PermissionError):
        return ""
    return " (the service reads as a member of the group fwbouncer: chgrp fwbouncer and chmod g+r it)"
