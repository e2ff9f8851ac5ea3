"""Pages of labelled lines, as `status` and `explain` print them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, NamedTuple

from fwbouncer.control.paint import paint
from fwbouncer.control.words import clean, count, number


class Line(NamedTuple):
    """A line of a page; one without a label goes on with the one before."""

    label: str
    text: str
    style: str = ""


def page(lines: Iterable[Line], *, color: bool) -> str:
    """Write the page, texts below each other."""
    every = list(lines)
    width = max((len(line.label) for line in every), default=0)
    return "".join(_written(line, width, color=color) for line in every)


def _written(line: Line, width: int, *, color: bool) -> str:
    label = f"{line.label:{width}}"
    if color:
        return f"{paint(label, 'bold')}  {paint(line.text, line.style)}\n"
    return f"{label}  {line.text}".rstrip() + "\n"


def labelled(label: str, texts: Iterable[str], style: str = "") -> list[Line]:
    """Make lines of which the first has the label."""
    return [Line("" if place else label, text, style) for place, text in enumerate(texts)]


def block(source: Mapping[str, Any], key: str) -> Mapping[str, Any]:
    """Return an inner object; an empty one where there is none."""
    found = source.get(key)
    return found if isinstance(found, Mapping) else {}


def several(source: Mapping[str, Any], key: str) -> list[Any]:
    """Return a list; an empty one where there is none."""
    found = source.get(key)
    return list(found) if isinstance(found, list | tuple) else []


def ranked(counts: Mapping[str, Any]) -> list[tuple[str, Any]]:
    """Sort counts, the highest first."""
    return sorted(counts.items(), key=lambda item: (-number(item[1]), item[0]))


def listed(counts: Mapping[str, Any]) -> str:
    """Write counts behind each other."""
    return ", ".join(f"{count(many)} {clean(name)}" for name, many in sorted(counts.items()))
