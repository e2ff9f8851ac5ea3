"""Somebody's own rules with as many bans as are wanted, in a moment.

Each contender makes its tables, sets and rules itself, from a page with a few decisions of every origin. Then it is
ended in a way that leaves them standing, and the rest of the bans goes into its sets straight through netlink: the
same rules and sets as if it had written them all, which takes Debian's incumbent an hour.
"""

from __future__ import annotations

import json
import time
from typing import TYPE_CHECKING

from fwbouncer.core.model import Family
from fwbouncer.kernel import elements
from fwbouncer.kernel.nft import Verb
from tests.benchmarks import floor
from tests.benchmarks.contenders import Fwbouncer

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable
    from pathlib import Path

    from tests.benchmarks.contenders import Contender
    from tests.benchmarks.page import Ban
    from tests.benchmarks.static_lapi import StaticLapi

_HOURS = 160
_WITHIN = 60.0  # seconds until a contender has made its rules
_SETTLED = 1.5
_RANGES = "-ranges"
Origin = str


def fill(  # noqa: PLR0913 - who, from where, and what
    contender: Contender, lapi: StaticLapi, folder: Path, bans: list[Ban], origins: int, *, tracks: bool
) -> None:
    """Let a contender make its rules for so many origins, and fill its sets. `tracks`: replies pass, where it can."""
    lists = [_origin(at) for at in range(origins)]
    by_origin: dict[Origin, list[Ban]] = {each: [] for each in lists}
    for ban in bans:
        by_origin[lists[(ban.number + ban.number // 100) % origins]].append(ban)
    few = [(origin, ban) for origin, some in by_origin.items() for ban in _few(some)]
    path = folder / "few.json"
    path.write_text(json.dumps({"new": [_row(*each) for each in few], "deleted": []}))
    lapi.serve(path)
    if isinstance(contender, Fwbouncer):
        contender.keeps = False  # or its table would go with its socket
        contender.prepare(1.0, **({} if tracks else {"protect": {"replies": "drop"}}))
        contender.resume()
    else:
        contender.start(1.0)
    sets = _wait(contender, {origin for origin, _ in few})
    contender.end()
    for family, table, name in sets:
        mine = [
            b for o, some in by_origin.items() if _holds(name, o) for b in some if b.family == family.value
        ]
        _send(contender, family, table, name, mine)


def _few(bans: Iterable[Ban]) -> list[Ban]:
    """Choose one host and one network of each family."""
    return list({(ban.family, ban.is_range): ban for ban in bans}.values())


def _origin(number: int) -> Origin:
    return f"bench{number:02}"


def _row(origin: Origin, ban: Ban) -> dict[str, object]:
    return {
        "duration": f"{_HOURS}h0m0s",
        "id": ban.number,
        "origin": "lists",
        "scenario": origin,
        "scope": "Range" if ban.is_range else "Ip",
        "type": "ban",
        "uuid": f"00000000-0000-4000-8000-{ban.number:012x}",
        "value": ban.value,
    }


def _wait(contender: Contender, origins: Collection[Origin]) -> list[tuple[Family, str, str]]:
    """Wait until every origin has its sets; returns them all."""
    deadline = time.monotonic() + _WITHIN
    while time.monotonic() < deadline:
        time.sleep(_SETTLED)
        found = _sets(contender)
        if all(any(_holds(name, each) for _, _, name in found) for each in origins):
            time.sleep(_SETTLED)  # what is made later: the other family's sets, and the rules
            return _sets(contender)
    raise TimeoutError(f"{contender.name} made no rules within {_WITHIN:.0f} s")


def _sets(contender: Contender) -> list[tuple[Family, str, str]]:
    listed = json.loads(contender.host.run("nft", "-j", "list", "sets"))["nftables"]
    found = [each["set"] for each in listed if "set" in each]
    return [
        (Family.V4 if each["family"] == "ip" else Family.V6, each["table"], each["name"])
        for each in found
        if not each["name"].endswith("never-block")
    ]


def _holds(name: str, origin: Origin) -> bool:
    """Tell whether a set is an origin's; one without an origin in its name is for all."""
    return "bench" not in name or f"lists-{origin}" in name


def _send(contender: Contender, family: Family, table: str, name: str, bans: list[Ban]) -> None:
    ours = isinstance(contender, Fwbouncer)
    interval = name.endswith(_RANGES)
    chosen = [ban for ban in bans if not ours or ban.is_range == interval]
    timed = [(ban.ends if interval else ban.first, _HOURS * 3_600_000) for ban in chosen]
    messages = list(
        elements.messages(Verb.NEW_ELEMENT, family, table, name, timed, interval=interval, tag=False)
    )
    if messages:
        floor.kernel(contender.host, messages)
