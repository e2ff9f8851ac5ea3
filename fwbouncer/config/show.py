"""The merged configuration for `-T`: what the file and its overlay say together, with secrets hidden."""

from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING

from fwbouncer.config.keys import BLOCKS, KEYS, POLICY_KEYS, Key
from fwbouncer.config.settings import texts_of
from fwbouncer.config.source import Notes, gather

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from pathlib import Path

    from fwbouncer.config.source import Entry, Text

_PLAIN = re.compile(r"[A-Za-z0-9/_+-][A-Za-z0-9/_.:+-]*(?<!:)", re.ASCII)
_LOGIN = re.compile(r"//.*@")


def merged(path: Path, environ: Mapping[str, str]) -> tuple[str, tuple[str, ...]]:
    """Return the merged configuration as YAML, variables put in, and what could not be understood of it."""
    notes = Notes()
    entries = gather(path, notes)
    lines: list[str] = []
    shown: set[str] = set()
    for key in sorted(KEYS, key=lambda key: (_block(key.name), KEYS.index(key))):
        if (entry := entries.get(key.name)) is not None:
            lines += _headings(key.name, shown)
            indent = "  " * key.name.count(".")
            name = key.name.rpartition(".")[2]
            if key.kind.blocks:
                lines += [f"{indent}{name}:  # {entry.place}", *_blocks(entry, environ)]
                continue
            lines.append(f"{indent}{name}: {_value(key, entry, environ)}  # {entry.place}")
    return "".join(line + "\n" for line in lines), notes.problems()


def _block(name: str) -> str:
    return name.rpartition(".")[0]


def _headings(name: str, shown: set[str]) -> list[str]:
    """Open the blocks that a key stands in, where they aren't open yet."""
    lines = []
    for block in sorted(BLOCKS, key=len):
        if name.startswith(block + ".") and block not in shown:
            shown.add(block)
            lines.append("  " * block.count(".") + block.rpartition(".")[2] + ":")
    return lines


def _blocks(entry: Entry, environ: Mapping[str, str]) -> Iterator[str]:
    for block in entry.blocks:
        dash = "- "
        for key in POLICY_KEYS:
            if (inner := block.entries.get(key.name)) is not None:
                yield f"  {dash}{key.name}: {_value(key, inner, environ)}  # {inner.place}"
                dash = "  "


def _value(key: Key, entry: Entry, environ: Mapping[str, str]) -> str:
    texts = texts_of(entry, environ, many=key.kind.many)
    if key.secret:
        return f"(hidden, {sum(len(text.text) for text in texts)} characters)"
    if key.kind.many:
        return "[" + ", ".join(_scalar(text) for text in texts) + "]"
    return _scalar(texts[0]) if texts else '""'


def _scalar(text: Text) -> str:
    return quoted(_LOGIN.sub("//(hidden)@", text.text))


def quoted(text: str) -> str:
    """Return a text as YAML takes it for that text; in quotes where it could be taken for something else."""
    return text if _PLAIN.fullmatch(text) else json.dumps(text, ensure_ascii=not text.isprintable())
