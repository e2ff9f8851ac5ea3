"""Everybody's nftables: tables, chains and rules. The contents of sets are never read: they may be large."""

from __future__ import annotations

import json
from contextlib import suppress
from typing import TYPE_CHECKING, Any

from fwbouncer.core.model import Family
from fwbouncer.doctor.look.program import CantLookError, output
from fwbouncer.doctor.rules import Nft, NftChain, NftRule, NftTable
from fwbouncer.errors import KernelError
from fwbouncer.kernel import wire
from fwbouncer.kernel.nft import Verb, request
from fwbouncer.kernel.socket import NetlinkSocket

if TYPE_CHECKING:
    from collections.abc import Mapping

_TABLE_NAME, _TABLE_OWNER = 1, 7  # NFTA_TABLE_NAME, NFTA_TABLE_OWNER
# Older releases of libnftables print a priority by the name that it has.
_PRIORITIES = {
    "raw": -300, "mangle": -150, "dstnat": -100, "filter": 0, "security": 50, "srcnat": 100,
}  # fmt: skip


def look() -> Nft:
    """Read the ruleset through nft, and the tables' owners, which nft doesn't tell, from the kernel."""
    # -t keeps nft from fetching the elements: without it, 300,000 of them cost six seconds and 200 MB.
    try:
        listing = json.loads(output("nft", "-j", "-t", "list", "ruleset"))
        return parse(listing["nftables"], _owners())
    except (ValueError, KeyError, TypeError) as error:
        raise CantLookError(f"nft prints what can't be understood: {type(error).__name__}") from None


def parse(listing: list[Mapping[str, Any]], owners: Mapping[tuple[str, str], int]) -> Nft:
    """Sort what libnftables lists."""
    tables, chains, rules, sets, flows = [], [], [], [], []
    for entry in listing:
        for kind, told in entry.items():
            if kind == "table":
                place = (str(told["family"]), str(told["name"]))
                tables.append(NftTable(*place, owners.get(place, 0)))
            elif kind == "chain":
                chains.append(_chain(told))
            elif kind == "rule":
                rules.append(_rule(told))
            elif kind == "set":
                sets.append((told["family"], told["table"], told["name"]))
            elif kind == "flowtable":
                flows.append(f"{told['family']} {told['table']} {told['name']}")
    return Nft(tuple(tables), tuple(chains), tuple(rules), tuple(sets), tuple(flows))


def _chain(told: Mapping[str, Any]) -> NftChain:
    priority = told.get("prio", 0)
    return NftChain(
        family=told["family"], table=told["table"], name=told["name"],
        hook=told.get("hook", ""), kind=told.get("type", ""), policy=told.get("policy", "accept"),
        priority=priority if isinstance(priority, int) else _PRIORITIES.get(str(priority), 0),
    )  # fmt: skip


def _rule(told: Mapping[str, Any]) -> NftRule:
    return NftRule(
        family=told["family"], table=told["table"], chain=told["chain"], statements=tuple(told.get("expr", ())),
        handle=told.get("handle", 0), comment=told.get("comment", ""),
    )  # fmt: skip


def _owners() -> dict[tuple[str, str], int]:
    """Return the owners of the tables of families ip and ip6, where ours are."""
    found = {}
    with suppress(OSError, KernelError):
        sock = NetlinkSocket.open()
        try:
            for family in Family:
                ask = request(Verb.GET_TABLE, family, flags=wire.NLM_F_DUMP, about="list tables")
                for reply in sock.dump(ask):
                    fields = wire.table(reply.payload[4:])
                    name = "ip6" if family is Family.V6 else "ip"
                    found[name, wire.string(fields[_TABLE_NAME])] = wire.number(fields.get(_TABLE_OWNER, b""))
        finally:
            sock.close()
    return found
