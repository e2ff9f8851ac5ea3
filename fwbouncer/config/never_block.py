"""Entries of `never_block`, in the configuration and in the files that it names."""

from __future__ import annotations

import os
import re
from difflib import get_close_matches
from pathlib import Path
from typing import TYPE_CHECKING, TypeAlias

from fwbouncer.config.schema import NeverBlock
from fwbouncer.core.addresses import read
from fwbouncer.core.model import Family, family_of, is_range

if TYPE_CHECKING:
    from collections.abc import Iterable

    from fwbouncer.core.model import AddressKey

# The last of these is the only one that changes anything: the others hold in any case, since nobody wants to be
# locked out by their absence.
WORDS = ("own-addresses", "gateways", "lapi", "ssh-peers")
# A shorter prefix would switch the bans off rather than spare somebody.
SHORTEST = {Family.V4: 8, Family.V6: 16}
MOST_BYTES, MOST_ENTRIES = 1 << 20, 10_000  # of a file

_LABEL = re.compile(r"[a-z0-9_]([a-z0-9_-]{0,61}[a-z0-9_])?", re.ASCII)
_FILE = "file:"

Entry: TypeAlias = "AddressKey | Path | str"


def entry(text: str) -> Entry:
    """Read one entry: an address or network as its key, a file as its path, a word or host name as it is.

    Raises ValueError with what is wrong.
    """
    word = text.casefold()
    if word in WORDS:
        return word
    if text.startswith(_FILE):
        path = Path(text.removeprefix(_FILE))
        if not path.is_absolute() or not text.isprintable():
            raise ValueError(
                f"'{_cut(text)}' names no file; write an absolute path, as in file:/etc/never-block"
            )
        return path
    meant = get_close_matches(word, WORDS, 1, 0.8) if "." not in word and ":" not in word else []
    if meant:
        raise ValueError(f"'{_cut(text)}' is not known; did you mean {meant[0]}?")
    return address_or_name(text)


def address_or_name(text: str) -> AddressKey | str:
    """Read an address, a network or a host name; raises ValueError with what is wrong."""
    last = text.rstrip(".").rpartition(".")[2]
    if "/" in text or ":" in text or last.isdigit():
        return spared(text)
    name = text.casefold().rstrip(".")
    if len(name) > 253 or not all(map(_LABEL.fullmatch, name.split("."))):
        raise ValueError(f"'{_cut(text)}' is no address, no network and no host name; write one of these")
    return name


def spared(text: str) -> AddressKey:
    """Read an address or network that is to be spared; raises ValueError with what is wrong."""
    try:
        key = read(text)
    except ValueError as error:
        said = str(error)
        own = said.startswith(("names ", "needs ", "is "))
        why = said if own else "is no address and no network; write one like 192.0.2.1 or 2001:db8::/64"
        raise ValueError(f"'{_cut(text)}' {why}") from None
    shortest = SHORTEST[family_of(key)]
    if is_range(key) and key[-1] < shortest:
        raise ValueError(
            f"'{_cut(text)}' would switch the bans off for a large part of the internet; "
            f"name networks with a prefix of /{shortest} or longer"
        )
    return key


def gathered(entries: Iterable[Entry]) -> NeverBlock:
    """Sort entries by what they are."""
    every = tuple(dict.fromkeys(entries))
    return NeverBlock(
        networks=tuple(each for each in every if isinstance(each, bytes)),
        names=tuple(each for each in every if isinstance(each, str) and each not in WORDS),
        files=tuple(each for each in every if isinstance(each, Path)),
        ssh_peers="ssh-peers" in every,
    )


def listed(path: Path) -> tuple[NeverBlock, list[str]]:
    """Read a file with one entry a line, `#` beginning a comment; returns also what is wrong, with line numbers.

    Raises OSError where there is no such file.
    """
    with os.fdopen(os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK), "rb") as file:
        data = file.read(MOST_BYTES + 1) or b""
    lines = data[:MOST_BYTES].decode(errors="replace").splitlines()
    entries: list[Entry] = []
    problems = (
        [f"{path}: is longer than {MOST_BYTES} bytes; the rest is left out"] if len(data) > MOST_BYTES else []
    )
    for number, line in enumerate(lines, 1):
        text = line.partition("#")[0].strip()
        if not text:
            continue
        if len(entries) == MOST_ENTRIES:
            problems.append(
                f"{path}:{number}: the rest is left out: a file has at most {MOST_ENTRIES} entries"
            )
            break
        try:
            entries.append(_in_file(text))
        except ValueError as error:
            problems.append(f"{path}:{number}: {error}")
    return gathered(entries), problems


def _in_file(text: str) -> AddressKey | str:
    if text.casefold() in WORDS:
        raise ValueError(f"'{_cut(text)}' can't stand in a file; write it into never_block")
    return address_or_name(text)


def _cut(text: str) -> str:
    """Make a text fit for a message: one line, not too long."""
    short = text if len(text) <= 60 else text[:59] + "…"
    return "".join(c if c.isprintable() else ascii(c)[1:-1] for c in short)
