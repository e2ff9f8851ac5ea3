"""The values behind the keys: variables put in, texts turned into what their keys mean, defaults filled in.

Variables of the environment are replaced after the YAML was read, in values only, once: `$NAME` and `${NAME}`
become the variable's text when it is set and stay as they are when not. So a variable can hold any text, with
quotes, colons and dollars, and can never add a key or a line. A list may be one variable: `a, b` or `[a, b]`.
"""

from __future__ import annotations

import re
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from fwbouncer.config.keys import BY_NAME, KEYS, Key
from fwbouncer.config.kinds import show
from fwbouncer.config.source import Block, Entry, Notes, Place, Text

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from pathlib import Path

_VARIABLE = re.compile(r"\$(?:\{([A-Za-z_][A-Za-z0-9_]*)\}|([A-Za-z_][A-Za-z0-9_]*))", re.ASCII)


def expand(text: Text, environ: Mapping[str, str]) -> Text:
    """Put environment variables in. Text without quotes loses spaces around it, as it would in YAML."""
    expanded = _VARIABLE.sub(lambda match: environ.get(match[1] or match[2], match[0]), text.text)
    if expanded != text.text and not text.quoted:
        expanded = expanded.strip()
    return replace(text, text=expanded)


def texts_of(entry: Entry, environ: Mapping[str, str], *, many: bool | None = None) -> tuple[Text, ...]:
    """Return what was written for a key, variables put in; empty when nothing was."""
    if isinstance(entry.value, tuple):
        return tuple(expand(item, environ) for item in entry.value)
    text = expand(entry.value, environ)
    if not (BY_NAME[entry.name].kind.many if many is None else many):
        return (text,) if text.text else ()
    return tuple(replace(text, text=word) for word in _words(text.text))


def _words(text: str) -> Iterator[str]:
    for word in text.strip().removeprefix("[").removesuffix("]").split(","):
        if stripped := word.strip().strip("'\""):
            yield stripped


class Settings:
    """The value of every key, and where it came from. After a mistake, the default stands in."""

    def __init__(
        self, path: Path, entries: Mapping[str, Entry], environ: Mapping[str, str], notes: Notes
    ) -> None:
        self.path = path
        self.notes = notes
        self._environ = environ
        self._entries = self._named(entries)
        self._texts = {name: texts_of(entry, environ) for name, entry in self._entries.items()}
        self._values = {key.name: self._value(key) for key in KEYS}

    def __getitem__(self, name: str) -> Any:
        """Return a key's value; None, or () for a list, when there is neither a value nor a default."""
        return self._values[name]

    def given(self, name: str) -> bool:
        """Tell whether the file says something for this key; an empty text says nothing."""
        return bool(self._texts.get(name)) or bool(self.blocks(name))

    def blocks(self, name: str) -> tuple[Block, ...]:
        """Return what was written for a key that takes a list of blocks."""
        entry = self._entries.get(name)
        return entry.blocks if entry else ()

    def texts(self, entry: Entry, *, many: bool) -> tuple[Text, ...]:
        """Return what was written for a key in a block, variables put in."""
        return texts_of(entry, self._environ, many=many)

    def written(self, name: str) -> tuple[str, ...]:
        """Return what the file says for this key, variables put in; empty when it says nothing."""
        return tuple(text.text for text in self._texts.get(name, ()))

    def emptied(self, name: str) -> bool:
        """Tell whether the file names this key and says nothing for it."""
        return name in self._entries and not self._texts.get(name)

    def variable(self, name: str) -> str:
        """Return a variable of the environment; an empty text when it is not set."""
        return self._environ.get(name, "")

    def where(self, name: str) -> Place | Path:
        """Return the line that a key's value stands in, or the file when it stands in none."""
        entry = self._entries.get(name)
        return entry.place if entry else self.path

    def literal(self, name: str) -> bool:
        """Tell whether a value stands in the file itself, not in a variable."""
        entry = self._entries.get(name)
        return entry is not None and isinstance(entry.value, Text) and self._texts[name] == (entry.value,)

    def error(self, name: str, text: str) -> None:
        """Note a mistake in a key's value."""
        self.notes.error(self.where(name), name, text)

    def warn(self, name: str, text: str) -> None:
        """Note that a key's value is better changed."""
        self.notes.warn(self.where(name), name, text)

    def _named(self, entries: Mapping[str, Entry]) -> dict[str, Entry]:
        """Move entries that use a key's other name to the key, unless it is there too."""
        named = dict(entries)
        for key in KEYS:
            if key.alias_of and (entry := named.pop(key.name, None)):
                if key.alias_of in named:
                    self.notes.warn(
                        entry.place, key.name, f"means {key.alias_of}, which is there too and wins"
                    )
                named.setdefault(key.alias_of, entry)
        return named

    def _value(self, key: Key) -> Any:
        texts = self._texts.get(key.name, ())
        if not texts:
            return self.default(key)
        if key.useless:
            self.warn(key.name, f"has no effect: {key.useless}; remove it")
        self._warn_unset(key)
        values = [value for text in texts for value in self._parsed(key, text)]
        if len(values) < len(texts):  # what is wrong has been noted
            return self.default(key)
        return tuple(values) if key.kind.many else values[0]

    def _parsed(self, key: Key, text: Text) -> list[Any]:
        written = self._entries[key.name].name  # which may be the key's other name
        if not text.text:
            self.notes.error(text.place, written, "an empty item; remove it")
            return []
        try:
            return [key.kind.parse(text.text)]
        except ValueError as error:
            self.notes.error(text.place, written, str(error))
            return []

    def default(self, key: Key) -> Any:
        """Return what holds for a key for which the file says nothing."""
        if key.kind.many:
            return tuple(key.kind.parse(word) for word in _words(key.default))
        return key.kind.parse(key.default) if key.default else None

    def _warn_unset(self, key: Key) -> None:
        """Warn when what is left looks like a variable that somebody forgot to set."""
        written = self._entries[key.name].value
        for text in written if isinstance(written, tuple) else (written,):
            for match in _VARIABLE.finditer(text.text):
                name = match[1] or match[2]
                meant = match[1] or match[0] == text.text.strip()
                if meant and name not in self._environ:
                    variable = "its variable" if key.secret else f"the variable {show(match[0])}"
                    self.notes.warn(
                        text.place, key.name, f"{variable} is not set; set it, or write the value"
                    )
