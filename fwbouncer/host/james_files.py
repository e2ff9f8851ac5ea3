"""Reads the files in which Apache James says where it listens: XML for the mail protocols, properties for HTTP.

The files belong to somebody else and are read as such: no document type, no entity, nothing from outside, a bounded
size. Raises Unreadable for a file that says nothing certain; smaller oddities are noted, and the rest counts.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from ipaddress import ip_address
from typing import TYPE_CHECKING, NamedTuple
from xml.parsers import expat

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

MOST_BYTES = 1 << 20
_DEPTH = 32
_TRUE, _FALSE = {"true", "yes", "on", "y", "t", "1"}, {"false", "no", "off", "n", "f", "0"}
_VARIABLE = re.compile(r"\$\{[^}]*\}")
_WITH_DEFAULT = re.compile(r"\$\{[^}$]*?:-([^}$]*)\}")
_LOCAL = {"localhost", "ip6-localhost", "localhost.localdomain"}
_ESCAPE = re.compile(r"\\(?:u([0-9a-fA-F]{4})|(.))", re.DOTALL)
_PAIR = re.compile(r"((?:\\.|[^\\=:\s])*)\s*[=:]?\s*(.*)", re.DOTALL)


class Unreadable(Exception):
    """A file that can't be understood; `line` is where, if that is known."""

    def __init__(self, text: str, line: int | None = None) -> None:
        super().__init__(text)
        self.line = line


class Problem(NamedTuple):
    """Something that is wrong, or can't be known."""

    file: Path
    line: int | None
    text: str

    def __str__(self) -> str:
        return f"{self.file}:{self.line}: {self.text}" if self.line else f"{self.file}: {self.text}"


@dataclass(frozen=True, slots=True)
class Bind:
    """Where a server listens."""

    host: str
    port: int

    @property
    def outside(self) -> bool:
        """Tell whether others than this host itself get there."""
        if self.host.lower() in _LOCAL:
            return False
        try:
            return not ip_address(self.host.partition("%")[0]).is_loopback
        except ValueError:
            return True


@dataclass(frozen=True, slots=True)
class Server:
    """One server of James's. `assumed` ones are not known, but usual."""

    protocol: str
    file: Path
    line: int | None
    binds: tuple[Bind, ...]
    proxied: bool = False  # every connection must come through a proxy that speaks the PROXY protocol
    assumed: bool = False


@dataclass(slots=True)
class Found:
    """What one file says."""

    servers: list[Server] = field(default_factory=list)
    problems: list[Problem] = field(default_factory=list)


class Kind(NamedTuple):
    """One of the files: how it is read, and what is usual where it can't be."""

    protocol: str
    read: Callable[[Path, bytes, str, int], Found]
    default: int
    usual: tuple[int, ...]


@dataclass(slots=True)
class _Element:
    """A server element while it is read."""

    line: int
    enabled: str
    binds: list[tuple[str, int]] = field(default_factory=list)
    proxied: tuple[str, int] = ("", 0)


def servers(path: Path, data: bytes, protocol: str, default: int) -> Found:
    """Read an XML file: every element `<protocol>server` below its root."""
    found = Found()
    for element in _Reader(f"{protocol}server").read(data):
        enabled = _flag(found, path, element.line, "enabled", element.enabled, unknown=True, absent=True)
        if not enabled:
            continue
        text, line = element.proxied
        proxied = _flag(found, path, line, "proxyRequired", text, unknown=False, absent=False)
        binds: list[Bind] = []
        for told, at in element.binds or [(f"0.0.0.0:{default}", element.line)]:
            binds += _binds(found, path, at, told, default)
        found.servers.append(Server(protocol, path, element.line, tuple(binds), proxied))
    return found


def jmap(path: Path, data: bytes, protocol: str, default: int) -> Found:
    """Read jmap.properties; JMAP is served unless that is turned off."""
    return _http(path, data, protocol, ("jmap.port", default, "0.0.0.0", True))  # noqa: S104 - James's default


def webadmin(path: Path, data: bytes, protocol: str, default: int) -> Found:
    """Read webadmin.properties; it is served where that is turned on, and for this host alone unless told."""
    return _http(path, data, protocol, ("port", default, "localhost", False))


KINDS = {
    "smtpserver.xml": Kind("smtp", servers, 25, (25, 465, 587)),
    "lmtpserver.xml": Kind("lmtp", servers, 24, ()),  # usually for this host alone
    "imapserver.xml": Kind("imap", servers, 143, (143, 993)),
    "pop3server.xml": Kind("pop3", servers, 110, (110, 995)),
    "managesieveserver.xml": Kind("managesieve", servers, 4190, (4190,)),
    "jmap.properties": Kind("jmap", jmap, 80, (80,)),
    "webadmin.properties": Kind("webadmin", webadmin, 8000, ()),
}


class _Reader:
    """Gathers the server elements of one file."""

    def __init__(self, wanted: str) -> None:
        self._wanted = wanted
        self._path: list[str] = []
        self._text: list[str] = []
        self._found: list[_Element] = []
        self._begun = 0
        self._parser = expat.ParserCreate()
        self._parser.buffer_text = True
        self._parser.StartElementHandler = self._start
        self._parser.EndElementHandler = self._end
        self._parser.CharacterDataHandler = self._text.append
        self._parser.StartDoctypeDeclHandler = self._refuse
        self._parser.EntityDeclHandler = self._refuse

    def read(self, data: bytes) -> list[_Element]:
        """Return the elements."""
        try:
            self._parser.Parse(data, True)
        except expat.ExpatError as error:
            raise Unreadable(
                f"is not well-formed XML: {expat.ErrorString(error.code)}", error.lineno
            ) from None
        except (ValueError, LookupError) as error:
            raise Unreadable(f"is in an encoding that can't be read: {error}") from None
        return self._found

    def _refuse(self, *_: object) -> None:
        raise Unreadable(
            "has a document type or an entity, which no file of James's needs; remove it", self._line
        )

    @property
    def _line(self) -> int:
        return self._parser.CurrentLineNumber

    def _start(self, name: str, attributes: dict[str, str]) -> None:
        if len(self._path) >= _DEPTH:
            raise Unreadable("is nested too deeply", self._line)
        self._path.append(name)
        self._text.clear()
        self._begun = self._line
        if len(self._path) == 2 and name == self._wanted:
            self._found.append(_Element(self._line, attributes.get("enabled", "")))

    def _end(self, name: str) -> None:
        if len(self._path) == 3 and self._path[1] == self._wanted:
            text = "".join(self._text).strip()
            if name == "bind":
                self._found[-1].binds.append((text, self._begun))
            elif name == "proxyRequired":
                self._found[-1].proxied = text, self._begun
        self._path.pop()
        self._text.clear()


def _binds(found: Found, path: Path, line: int, told: str, default: int) -> list[Bind]:
    """Read a list of `host:port`. What can't be read stands for the protocol's own port, on every address."""
    binds = []
    for part in filter(None, (word.strip() for word in _known(told).split(","))):
        host, colon, port = part.rpartition(":")
        if not port.isascii() or not port.isdecimal() or len(port) > 5 or int(port) > 65535 or not colon:
            why = f"the bind {_shown(part)} can't be read; port {default} is taken"
            found.problems.append(Problem(path, line, why))
            host, port = "", str(default)
        host = host.strip().strip("[]")
        if _VARIABLE.search(host):  # nobody knows, so it is guarded
            host = ""
        if int(port):  # 0 is a port by chance, in tests
            binds.append(Bind(host, int(port)))
    return binds


def _http(path: Path, data: bytes, protocol: str, usual: tuple[str, int, str, bool]) -> Found:
    key, default, host, served = usual
    found = Found()
    told = properties(data)
    text, line = told.get("enabled", ("", 0))
    if not _flag(found, path, line, "enabled", text, unknown=True, absent=served):
        return found
    port, at = told.get(key, (str(default), 0))
    host = _known(told.get("host", (host, 0))[0]) if protocol == "webadmin" else host
    binds = _binds(found, path, at, f"{'' if _VARIABLE.search(host) else host}:{_known(port)}", default)
    found.servers.append(Server(protocol, path, at or line or None, tuple(binds)))
    return found


def properties(data: bytes) -> dict[str, tuple[str, int]]:
    """Read a Java properties file: key -> value and the line it begins in. The last of several counts."""
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError:
        text = data.decode("latin-1")
    found: dict[str, tuple[str, int]] = {}
    lines = enumerate(re.split(r"\r\n|\r|\n", text), 1)
    for number, raw in lines:
        line = raw.lstrip()
        if not line or line[0] in "#!":
            continue
        while (len(line) - len(line.rstrip("\\"))) % 2:
            line = line[:-1] + next(lines, (0, ""))[1].lstrip()
        pair = _PAIR.fullmatch(line)
        if pair:
            found[_unescaped(pair[1])] = (_unescaped(pair[2]).strip(), number)
    return found


def _unescaped(text: str) -> str:
    letters = {"t": "\t", "n": "\n", "r": "\r", "f": "\f"}
    return _ESCAPE.sub(lambda m: chr(int(m[1], 16)) if m[1] else letters.get(m[2], m[2]), text)


def _known(text: str) -> str:
    """Put in the values that variables have where nothing sets them."""
    return _WITH_DEFAULT.sub(lambda match: match[1], text)


def _flag(  # noqa: PLR0913 - where it stands, and what it means when it isn't known
    found: Found, path: Path, line: int, name: str, text: str, *, unknown: bool, absent: bool
) -> bool:
    word = _known(text).strip().lower()
    if not word:
        return absent
    if word in _TRUE or word in _FALSE:
        return word in _TRUE
    why = f"{name} is {_shown(text)}, which can't be known here; taken as {str(unknown).lower()}"
    found.problems.append(Problem(path, line or None, why))
    return unknown


def _shown(text: str) -> str:
    short = text if len(text) <= 60 else text[:59] + "…"
    return "'" + "".join(c if c.isprintable() else ascii(c)[1:-1] for c in short) + "'"
