"""Everybody's packet filter as facts: nftables, iptables and ipsets, without the contents of sets."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from fwbouncer.core.model import Family

if TYPE_CHECKING:
    from collections.abc import Mapping

    from fwbouncer.kernel.iptables import Table as FilterTable


@dataclass(frozen=True, slots=True)
class NftTable:
    """A table of nftables."""

    family: str  # ip, ip6, inet, ...
    name: str
    owner: int = 0  # the port id of the socket that it belongs to


@dataclass(frozen=True, slots=True)
class NftChain:
    """A chain of nftables; one without a hook is only jumped to."""

    family: str
    table: str
    name: str
    hook: str = ""
    priority: int = 0
    kind: str = ""  # filter, nat, route
    policy: str = "accept"

    def sees(self, family: Family) -> bool:
        """Tell whether packets of a family come here."""
        return self.family in ("inet", f"ip{family.value if family is Family.V6 else ''}")


@dataclass(frozen=True, slots=True)
class NftRule:
    """A rule of nftables: its statements as libnftables' JSON has them."""

    family: str
    table: str
    chain: str
    statements: tuple[Any, ...] = ()
    handle: int = 0
    comment: str = ""


@dataclass(frozen=True, slots=True)
class Nft:
    """Everything of nftables but the contents of sets."""

    tables: tuple[NftTable, ...] = ()
    chains: tuple[NftChain, ...] = ()
    rules: tuple[NftRule, ...] = ()
    sets: tuple[tuple[str, str, str], ...] = ()  # family, table, name
    flowtables: tuple[str, ...] = ()  # "family table name"


@dataclass(frozen=True, slots=True)
class Xtables:
    """The filter tables of iptables and ip6tables, and the ipsets."""

    tables: Mapping[Family, FilterTable] = field(default_factory=dict)
    policies: Mapping[Family, Mapping[str, str]] = field(default_factory=dict)  # of built-in chains
    sets: tuple[str, ...] = ()  # the names of all ipsets
    sizes: Mapping[str, tuple[int, int]] = field(default_factory=dict)  # of ours: elements, and at most
    raw: tuple[str, ...] = ()  # rules outside of the filter tables that bypass connection tracking
