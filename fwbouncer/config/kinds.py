"""What a configuration value may be: each kind turns the text that was written into the value that is meant.

A parser raises ValueError with "what is wrong; what to do", and quotes no value that may be a secret.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from fwbouncer.config.never_block import entry, spared
from fwbouncer.config.ports import fixed, wish
from fwbouncer.config.schema import Hook, Replies
from fwbouncer.core.duration import nanoseconds
from fwbouncer.core.policy import NAME as POLICY

_TRUE = {"true", "yes", "on", "y"}
_FALSE = {"false", "no", "off", "n"}
_NUMBER = re.compile(r"[-+]?(?:0x[0-9a-fA-F]{1,16}|0|[1-9][0-9_]{0,18})", re.ASCII)
_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_/.\-]*", re.ASCII)
_CHAIN = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.:\-]*", re.ASCII)
# logrus' names, on Python's scale; 5 is this program's "trace".
LEVELS = {
    "trace": 5, "debug": 10, "info": 20, "warn": 30, "warning": 30, "error": 40, "fatal": 50, "panic": 50,
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class Kind:
    """A kind of value: how tables of keys call it, and how its text is read."""

    name: str
    parse: Callable[[str], Any]
    many: bool = False  # a list; `parse` reads one item
    blocks: bool = False  # a list of blocks, each with keys of its own


def show(text: str) -> str:
    """Quote a value for a message: one line, not too long, nothing that a terminal would obey."""
    short = text if len(text) <= 60 else text[:59] + "…"
    return "'" + "".join(c if c.isprintable() else ascii(c)[1:-1] for c in short) + "'"


def printable(text: str) -> str:
    """Accept one line of text without control characters."""
    if not text.isprintable():
        raise ValueError("contains a line break or another control character; remove it")
    return text


def _flag(text: str) -> bool:
    word = text.casefold()
    if word in _TRUE or word in _FALSE:
        return word in _TRUE
    raise ValueError(f"{show(text)} is neither true nor false; write one of the two")


def number(low: int, high: int) -> Kind:
    """Make the kind of whole numbers from `low` to `high`."""

    def parse(text: str) -> int:
        if not _NUMBER.fullmatch(text):
            raise ValueError(f"{show(text)} is not a whole number; write digits, without a leading zero")
        value = int(text.replace("_", ""), 0)
        if not low <= value <= high:
            raise ValueError(f"{value} is out of range; write a number from {low} to {high}")
        return value

    return Kind("number", parse)


def _duration(text: str) -> float:
    span = nanoseconds(text)
    if span is None and re.fullmatch(r"[0-9]{1,9}(\.[0-9]{1,9})?", text, re.ASCII):
        raise ValueError(f"{show(text)} has no unit; write {text}s for seconds")
    if span is None or span <= 0:
        raise ValueError(f"{show(text)} is not a positive duration; write one like 10s, 1m30s or 500ms")
    return span / 1e9


def _interval(text: str) -> float | None:
    if text.casefold() in ("none", "0", "0s"):
        return None
    seconds = _duration(text)
    if not 1 <= seconds <= 86_400:
        raise ValueError(f"{show(text)} is out of range; write a duration from 1s to 24h, or none")
    return seconds


def choice(values: Mapping[str, Any] | tuple[str, ...]) -> Kind:
    """Make the kind of a few words, in upper or lower case, each with its meaning."""
    meanings = values if isinstance(values, Mapping) else {word: word for word in values}

    def parse(text: str) -> Any:
        if text.casefold() not in meanings:
            raise ValueError(f"{show(text)} is not known; use one of {', '.join(meanings)}")
        return meanings[text.casefold()]

    return Kind(" or ".join(meanings) if len(meanings) < 4 else "word", parse)


def _hook(text: str) -> Hook:
    hooks = {hook.name.lower(): hook for hook in Hook}
    word = text.casefold()
    if word == "ingress":
        raise ValueError(
            "a chain at ingress belongs to one network device, and tables of family ip or ip6 can't hold it; "
            "use prerouting with priority -300, which is the earliest place that sees all devices"
        )
    if word not in hooks:
        raise ValueError(f"{show(text)} is not a hook; use some of {', '.join(hooks)}")
    return hooks[word]


def _name(text: str) -> str:
    if not _NAME.fullmatch(text) or len(text) > 200:
        raise ValueError(
            f"{show(text)} can't name something in the kernel; use up to 200 of A-Z a-z 0-9 _ - . / "
            "and begin with a letter or an underscore"
        )
    return text


def _chain(text: str) -> str:
    if not _CHAIN.fullmatch(text) or len(text) > 28:
        raise ValueError(f"{show(text)} can't be an iptables chain; use up to 28 of A-Z a-z 0-9 _ - . :")
    return text


def _path(text: str) -> Path:
    return Path(printable(text))


def _socket(text: str) -> Path:
    path = _path(text)
    if not path.is_absolute() or len(text.encode()) > 107:
        raise ValueError(f"{show(text)} can't be a socket's path; write an absolute one of at most 107 bytes")
    return path


def _state_file(text: str) -> Path | None:
    if text.casefold() == "none":
        return None
    path = _path(text)
    if not path.is_absolute() or path.name == "":
        raise ValueError(f"{show(text)} can't be a file's path here; write an absolute one, or none")
    return path


def _api_key(text: str) -> str:
    if not text.isascii() or not text.isprintable() or " " in text:
        raise ValueError("contains what an HTTP header can't carry; copy the key again, on one line")
    return text


def _url(text: str) -> str:
    if text.startswith("/"):
        return str(_socket(text.rstrip("/") or text))
    try:
        parts = urlsplit(printable(text))
        usable = parts.scheme in {"http", "https"} and bool(parts.hostname) and parts.port != 0
    except ValueError:  # urlsplit's own words name the value, and that may hold a password
        usable = False
    if not usable or " " in text:
        raise ValueError("is not a LAPI's address; write http(s)://host:port/ or a socket's path")
    if "@" in parts.netloc:
        raise ValueError("holds a user name or password, which no LAPI takes; use api_key")
    if parts.query or parts.fragment:
        raise ValueError("holds a ? or a #; write only scheme, host, port and path")
    return text if text.endswith("/") else text + "/"


def _policy(text: str) -> str:
    if not POLICY.fullmatch(text):
        raise ValueError(
            f"{show(text)} can't name a policy; use up to 16 of a-z 0-9 - _, begin and end with a letter or a digit, "
            "and neither 'default' nor an end like -ranges"
        )
    return text


def _glob(text: str) -> str:
    return printable(text).lower()


def _folder(text: str) -> Path:
    path = _path(text)
    if not path.is_absolute():
        raise ValueError(f"{show(text)} is not absolute; write the whole path of James's folder")
    return path


def _log_prefix(text: str) -> str:
    if len(printable(text).encode()) > 127:
        raise ValueError("is longer than 127 bytes, the kernel's limit; shorten it")
    return text


FLAG = Kind("true or false", _flag)
TEXT = Kind("text", printable)
DURATION = Kind("duration", _duration)
INTERVAL = Kind("duration or none", _interval)
SIZE = number(0, 2**31 - 1)
PRIORITY = number(-(2**31), 2**31 - 1)
PORT = number(1, 65535)
HOOKS = Kind("list of hooks", _hook, many=True)
NAME = Kind("name", _name)
CHAINS = Kind("list of chains", _chain, many=True)
TEXTS = Kind("list", printable, many=True)
PATH = Kind("path", _path)
SOCKET = Kind("path", _socket)
STATE_FILE = Kind("path or none", _state_file)
API_KEY = Kind("text", _api_key)
URL = Kind("URL or path", _url)
URLS = Kind("list of URLs", _url, many=True)
LOG_PREFIX = Kind("text", _log_prefix)
LEVEL = choice(LEVELS)
NEVER_BLOCK = Kind("list", entry, many=True)
REPLIES = choice({reply.value: reply for reply in Replies})
PORTS = Kind("list of ports", wish, many=True)
FIXED_PORTS = Kind("list of ports", fixed, many=True)
FOLDER = Kind("path", _folder)
PROXIES = Kind("list of addresses", spared, many=True)
POLICIES = Kind("list of policies", printable, many=True, blocks=True)
POLICY_NAME = Kind("name", _policy)
GLOBS = Kind("list", _glob, many=True)
IPSET_TYPE = choice(
    {"nethash": "hash:net", "hash:net": "hash:net", "iphash": "hash:ip", "hash:ip": "hash:ip"}
)
