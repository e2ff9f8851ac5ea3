"""Read the YAML file and its `.local` overlay into a flat list of entries, each with the line it stands in.

YAML's own types are not used: a value stays the text that was written until its key says what it is. So
`0x1f`, `1e5` and `0012` remain API keys, and `on` is a boolean only where a boolean is wanted.
"""

from __future__ import annotations

import difflib
import math
import os
import re
import stat
from dataclasses import dataclass
from typing import TYPE_CHECKING

import yaml

from fwbouncer.config.keys import BLOCKS, BY_NAME, POLICY_KEYS
from fwbouncer.config.kinds import show
from fwbouncer.errors import ConfigError

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

_MOST_BYTES = 256 * 1024  # a configuration is a few hundred lines; more is a mistake or an attack
_NULL = "tag:yaml.org,2002:null"


@dataclass(frozen=True, slots=True)
class Place:
    """A line of a file."""

    file: Path
    line: int

    def __str__(self) -> str:
        return f"{self.file}:{self.line}"


@dataclass(frozen=True, slots=True)
class Text:
    """One scalar as it was written; `quoted` tells that its spaces are meant."""

    text: str
    quoted: bool
    place: Place


@dataclass(frozen=True, slots=True)
class Entry:
    """A key and what was written for it: one text or a list of them, or a list of blocks."""

    name: str
    place: Place
    value: Text | tuple[Text, ...]
    blocks: tuple[Block, ...] = ()


@dataclass(frozen=True, slots=True)
class Block:
    """One item of a list of blocks, with what stands in it."""

    place: Place
    entries: dict[str, Entry]


# What one file says: a key's entry, or None where a key or a whole block was set to null.
Entries = dict[str, Entry | None]


class Notes:
    """What is found on the way: mistakes, and what is better mended. Told in the order of the lines."""

    def __init__(self) -> None:
        self._problems: dict[str, tuple[str, float]] = {}
        self._warnings: dict[str, tuple[str, float]] = {}

    def error(self, place: Place | Path, name: str, text: str) -> None:
        """Note a mistake."""
        _put(self._problems, place, name, text)

    def warn(self, place: Place | Path, name: str, text: str) -> None:
        """Note what works but is better mended."""
        _put(self._warnings, place, name, text)

    def problems(self) -> tuple[str, ...]:
        """Return the mistakes, each as `file:line: key: what is wrong; what to do`."""
        return tuple(sorted(self._problems, key=self._problems.__getitem__))

    def warnings(self) -> tuple[str, ...]:
        """Return the warnings, likewise."""
        return tuple(sorted(self._warnings, key=self._warnings.__getitem__))


def _put(notes: dict[str, tuple[str, float]], place: Place | Path, name: str, text: str) -> None:
    rank = (str(place.file), place.line) if isinstance(place, Place) else (str(place), math.inf)
    notes[f"{place}: {name}: {text}" if name else f"{place}: {text}"] = rank


def overlay_of(path: Path) -> Path:
    """Name the file whose values go on top of `path`'s."""
    return path.with_name(path.name + ".local")


def gather(path: Path, notes: Notes, *, overlaid: bool = True) -> dict[str, Entry]:
    """Read `path` and its overlay; blocks are merged, values and lists replaced, null takes a value away."""
    merged = _parse(path, _read(path), notes)
    if not overlaid:
        return {name: entry for name, entry in merged.items() if entry is not None}
    overlay = overlay_of(path)
    try:
        raw = _read(overlay)
    except ConfigError:
        if os.path.lexists(overlay):  # an overlay that can't be read is no overlay that isn't there
            raise
        raw = b""
    for name, entry in _parse(overlay, raw, notes).items() if raw else ():
        if entry is None:
            for gone in [key for key in merged if key == name or key.startswith(name + ".")]:
                del merged[gone]
        merged[name] = entry
    return {name: entry for name, entry in merged.items() if entry is not None}


def _read(path: Path) -> bytes:
    unable = f"{path}: unable to read config file:"
    try:
        # O_NONBLOCK: opening a pipe without a writer would wait for ever
        fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
        with os.fdopen(fd, "rb") as file:
            if not stat.S_ISREG(os.fstat(fd).st_mode):
                raise ConfigError(f"{unable} it is not a regular file; name a YAML file")
            raw = file.read(_MOST_BYTES + 1)
    except (OSError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) else "no file can have this name"
        raise ConfigError(f"{unable} {reason}; check the path and who may read it") from None
    if len(raw) > _MOST_BYTES:
        raise ConfigError(f"{unable} it is larger than 256 KiB; name a YAML file")
    return raw


def _parse(path: Path, raw: bytes, notes: Notes) -> Entries:
    try:
        text = raw.decode("utf-8-sig")  # some editors put a byte order mark in front
    except UnicodeDecodeError as error:
        line = raw.count(b"\n", 0, error.start) + 1
        raise ConfigError(f"{path}:{line}: is not UTF-8 text; save the file as UTF-8") from None
    root = _compose(path, text)
    entries: Entries = {}
    if isinstance(root, yaml.MappingNode):
        _walk(path, root, "", entries, notes)
    elif root is not None and root.tag != _NULL:
        line = root.start_mark.line + 1
        raise ConfigError(f"{path}:{line}: has no `key: value` lines; see the example configuration")
    return entries


def _compose(path: Path, text: str) -> yaml.Node | None:
    try:
        node: yaml.Node | None = yaml.compose(text, Loader=yaml.SafeLoader)
    except yaml.reader.ReaderError as error:
        line = text.count("\n", 0, error.position) + 1
        raise ConfigError(f"{path}:{line}: contains a control character; remove it") from None
    except yaml.MarkedYAMLError as error:
        raise ConfigError(_syntax_error(path, error)) from None
    except (yaml.YAMLError, RecursionError, ValueError, OverflowError):
        raise ConfigError(f"{path}: is not usable YAML; see the example configuration") from None
    return node


def _syntax_error(path: Path, error: yaml.MarkedYAMLError) -> str:
    mark = error.problem_mark or error.context_mark
    where = f"{path}:{mark.line + 1}" if mark else f"{path}"
    if isinstance(error, yaml.composer.ComposerError):
        if "single document" in (error.context or ""):
            return f"{where}: a second document begins here; keep one, and remove the line of dashes"
        return f"{where}: YAML takes & and * for anchors, and this is none; put quotes around the value"
    problem = error.problem or "syntax error"
    if "'\\t'" in problem:
        return f"{where}: a tab where YAML wants spaces; indent with spaces"
    problem = re.sub("'([^']*)'", _unquoted, problem)
    return f"{where}: not valid YAML: {problem}; check indentation, colons and quotes here and above"


def _unquoted(quoted: re.Match[str]) -> str:
    """Keep what PyYAML quotes where it is a kind of token or a sign; the rest may be part of a secret."""
    if quoted[1].startswith("<"):
        return quoted[1]
    return quoted[0] if len(quoted[1]) < 3 else "something else"


def _pairs(path: Path, node: yaml.MappingNode, notes: Notes) -> Iterator[tuple[str, Place, yaml.Node]]:
    seen: dict[str, int] = {}
    for key, value in node.value:
        place = Place(path, key.start_mark.line + 1)
        name = key.value if isinstance(key, yaml.ScalarNode) else ""
        if not name:
            notes.error(place, "", "a key that is not a word; write `key: value`")
        elif name == "<<":
            notes.error(place, name, "merging of blocks is not supported; write the keys out")
        elif name in seen:
            notes.error(place, show(name)[1:-1], f"stands in line {seen[name]} already; remove one")
        else:
            seen[name] = place.line
            yield name, place, value


def _walk(path: Path, node: yaml.MappingNode, prefix: str, entries: Entries, notes: Notes) -> None:
    # The depth is that of BLOCKS, whatever the file holds, so aliases can't make this long.
    for key, place, value in _pairs(path, node, notes):
        name = prefix + key
        null = isinstance(value, yaml.ScalarNode) and value.tag == _NULL
        if name not in BY_NAME and name not in BLOCKS:
            notes.error(place, show(name)[1:-1], "unknown key; " + _nearest(prefix, key))
        elif null:
            entries[name] = None
        elif name in BLOCKS:
            if isinstance(value, yaml.MappingNode):
                _walk(path, value, name + ".", entries, notes)
            else:
                notes.error(place, name, "is a block; write its keys below it, indented")
        else:
            _leaf(name, place, value, entries, notes)


def _leaf(name: str, place: Place, value: yaml.Node, entries: Entries, notes: Notes) -> None:
    if BY_NAME[name].kind.blocks:
        entries[name] = Entry(name, place, (), tuple(_blocks(name, place, value, notes)))
    else:
        _plain(name, place, value, entries, notes, many=BY_NAME[name].kind.many)


def _blocks(name: str, place: Place, value: yaml.Node, notes: Notes) -> Iterator[Block]:
    """Read a list of blocks; what their keys may be is one table, as they are policies."""
    known = {key.name: key for key in POLICY_KEYS}
    items = value.value if isinstance(value, yaml.SequenceNode) else [value]
    if isinstance(value, yaml.MappingNode):
        notes.error(place, name, "is a list; begin each of its blocks with a dash")
        return
    for item in items:
        here = Place(place.file, item.start_mark.line + 1)
        if not isinstance(item, yaml.MappingNode):
            notes.error(here, name, "takes a list of blocks; write `- name: …` and the other keys below it")
            continue
        entries: Entries = {}
        for key, at, inner in _pairs(place.file, item, notes):
            if key not in known:
                near = difflib.get_close_matches(key, known, n=1, cutoff=0.5)
                hint = f"did you mean {near[0]}?" if near else f"known are {', '.join(known)}"
                notes.error(at, f"{name}: {show(key)[1:-1]}", f"unknown key; {hint}")
            elif not (isinstance(inner, yaml.ScalarNode) and inner.tag == _NULL):
                _plain(key, at, inner, entries, notes, many=known[key].kind.many)
        yield Block(here, {key: entry for key, entry in entries.items() if entry is not None})


def _plain(  # noqa: PLR0913 - one node with all that is known of it
    name: str, place: Place, value: yaml.Node, entries: Entries, notes: Notes, *, many: bool
) -> None:
    wanted = "a list" if many else "one value"
    if isinstance(value, yaml.ScalarNode):
        entries[name] = Entry(name, place, _text(value, place))
    elif isinstance(value, yaml.SequenceNode) and many:
        if all(isinstance(item, yaml.ScalarNode) for item in value.value):
            entries[name] = Entry(name, place, tuple(_text(item, place) for item in value.value))
        else:
            notes.error(place, name, "a list in which an item is not one value; write one value an item")
    else:
        found = "a block" if isinstance(value, yaml.MappingNode) else "a list"
        notes.error(place, name, f"takes {wanted}, and this is {found}; see the example configuration")


def _text(node: yaml.ScalarNode, place: Place) -> Text:
    text = "" if node.tag == _NULL else node.value
    return Text(text, node.style is not None, Place(place.file, node.start_mark.line + 1))


def _nearest(prefix: str, key: str) -> str:
    known = [*BY_NAME, *BLOCKS]
    siblings = [name for name in known if name.startswith(prefix) and "." not in name[len(prefix) :]]
    near = difflib.get_close_matches(prefix + key, siblings, n=1, cutoff=0.7)
    if near:
        return f"the nearest known key is {near[0]}"
    elsewhere = [name for name in BY_NAME if name.rpartition(".")[2] == key]
    if elsewhere:
        return f"did you mean {elsewhere[0]}? It belongs in another block"
    near = difflib.get_close_matches(key, known, n=1, cutoff=0.4)
    return f"the nearest known key is {near[0]}" if near else "remove it"
