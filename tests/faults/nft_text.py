"""Reads what `nft -a list ruleset` prints, as far as somebody needs it who wants to destroy it."""

from __future__ import annotations

import re
from dataclasses import dataclass, field

_OPEN = re.compile(r"\t?(table|chain|set|counter) (?:(\w+) )?(\S+) \{(?: #.*)?$")
_RULE = re.compile(r"\t\t.* # handle (\d+)$")
_ELEMENT = re.compile(r"([0-9a-f.:/-]+) (?:timeout|expires)")


@dataclass(slots=True)
class Thing:
    """A table, or something in one."""

    family: str
    table: str
    name: str
    handle: int = 0
    hooked: bool = False
    interval: bool = False
    elements: list[str] = field(default_factory=list)

    @property
    def place(self) -> str:
        """Name its table."""
        return f"{self.family} {self.table}"

    @property
    def path(self) -> str:
        """Name it; of a rule, its chain."""
        return f"{self.place} {self.name}"


def read(text: str) -> dict[str, list[Thing]]:
    """Return all things by kind."""
    found: dict[str, list[Thing]] = {kind: [] for kind in ("table", "chain", "rule", "set", "counter")}
    family = table = kind = ""
    for line in text.splitlines():
        opened = _OPEN.match(line)
        if opened:
            kind, of, name = opened.groups()
            if kind == "table":
                family, table = of, name
            found[kind].append(Thing(family, table, name))
        elif kind == "chain":
            rule = _RULE.match(line)
            found["chain"][-1].hooked |= " hook " in line
            if rule:
                found["rule"].append(Thing(family, table, found["chain"][-1].name, int(rule[1])))
        elif kind == "set":
            found["set"][-1].interval |= line.strip().startswith("flags") and "interval" in line
            found["set"][-1].elements += _ELEMENT.findall(line)
    return found
