"""Everybody's iptables rules, and the names of the ipsets."""

from __future__ import annotations

import re
from contextlib import suppress
from pathlib import Path

from fwbouncer.core.model import Family
from fwbouncer.doctor.look.program import CantLookError, find, output
from fwbouncer.doctor.rules import Xtables
from fwbouncer.kernel import iptables

_PROGRAM = {Family.V4: "iptables-save", Family.V6: "ip6tables-save"}
_POLICY = re.compile(r"^:(\S+) (ACCEPT|DROP) ", re.MULTILINE)
_TABLE = re.compile(r"^\*(\S+)$(.*?)^COMMIT$", re.MULTILINE | re.DOTALL)
_HEADER = re.compile(r"^Header:.* maxelem (\d+)", re.MULTILINE)
_COUNT = re.compile(r"^Number of entries: (\d+)$", re.MULTILINE)
_SIZED = 16  # sets whose fill is read


def look(ours: tuple[str, ...]) -> Xtables:
    """Read the rules as the iptables programs tell them, and how full sets are whose names begin like `ours`."""
    tables, policies, raw = {}, {}, []
    for family, program in _PROGRAM.items():
        if find(program) is None:
            continue
        # Of all tables that there are: naming one would have the kernel make it where it isn't.
        every = dict(_TABLE.findall(output(program)))
        tables[family] = iptables.parse(every.get("filter", ""))
        policies[family] = dict(_POLICY.findall(every.get("filter", "")))
        raw += [
            line for line in every.get("raw", "").splitlines() if "NOTRACK" in line or "--notrack" in line
        ]
    names = _names()
    sized = [name for name in names if name.startswith(ours)] if ours else []
    return Xtables(tables, policies, names, dict(filter(None, map(_size, sized[:_SIZED]))), tuple(raw))


def _names() -> tuple[str, ...]:
    # The program loads its modules; where they aren't, there are no sets.
    if not Path("/sys/module/ip_set").exists() or find("ipset") is None:
        return ()
    with suppress(CantLookError):
        return tuple(output("ipset", "list", "-n").split())
    return ()


def _size(name: str) -> tuple[str, tuple[int, int]] | None:
    with suppress(CantLookError):
        text = output("ipset", "list", "-t", name)
        most, count = _HEADER.search(text), _COUNT.search(text)
        if most and count:
            return name, (int(count[1]), int(most[1]))
    return None
