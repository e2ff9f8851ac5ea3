"""Others on the same host: what root's tools do to our tables, on purpose or not; and what they do to their own."""

from __future__ import annotations

import contextlib
import json
import threading
import time
from typing import TYPE_CHECKING, Any

import nftables

if TYPE_CHECKING:
    import random
    from collections.abc import Callable

    from tests.lab.net import Host

Found = dict[str, list[dict[str, Any]]]
ADMINS = "admins"  # the name of the tables that belong to somebody else


class Vandal:
    """Speaks to the kernel through libnftables, as `nft` does. Every method returns words for what it did, or ""."""

    def __init__(self, host: Host, dice: random.Random) -> None:
        with host.inside():
            self._nft = nftables.Nftables()
        self._nft.set_json_output(True)
        self._dice = dice
        self._lock = threading.Lock()
        self.acts: tuple[Callable[[Found], list[str]], ...] = (
            *(
                self._flush_ruleset,
                self._flush_table,
                self._delete_table,
                self._delete_chain,
                self._flush_chain,
            ),
            *(self._delete_rule, self._accept_all, self._drop_all, self._delete_set, self._flush_set),
            *(self._delete_element, self._ban_somebody, self._rename_chain, self._sleep, self._replace_table),
            *(self._add_chain, self._add_set),
        )

    def run(self, *commands: str) -> bool:
        """Carry out commands in one transaction; return whether the kernel took them."""
        with self._lock:
            code, _, _ = self._nft.cmd("\n".join(commands))
            return bool(code == 0)

    def _look(self) -> Found:
        """Return what stands in tables that aren't somebody else's, by kind."""
        found: Found = {"table": [], "chain": [], "rule": [], "set": [], "counter": []}
        for entry in self._listing():
            for kind, what in entry.items():
                table = what.get("name") if kind == "table" else what.get("table")
                if kind in found and table != ADMINS:
                    found[kind].append(what)
        return found

    def _listing(self) -> list[dict[str, Any]]:
        for _ in range(20):
            with self._lock:
                code, out, _ = self._nft.cmd("list ruleset")
            if code == 0:
                with contextlib.suppress(ValueError):
                    return json.loads(out)["nftables"] if out else []
            time.sleep(0.005)  # it changed while it was listed
        raise AssertionError("nft could not list the ruleset")

    def flush(self) -> None:
        """Do as many boot scripts do."""
        self.run("flush ruleset")

    def left(self) -> list[str]:
        """Return every object that is not in somebody else's table."""
        return [f"{kind} {what}" for kind, found in self._look().items() for what in found]

    def theirs(self) -> bool:
        """Say whether somebody else's table stands as it was made."""
        with self._lock:
            code, out, _ = self._nft.cmd(f"list table inet {ADMINS}")
        return code == 0 and "@theirs" in str(out)

    def make_theirs(self) -> None:
        """Make somebody else's table."""
        self.run(
            f"add table inet {ADMINS}",
            f"add set inet {ADMINS} theirs {{ type ipv4_addr; flags timeout; }}",
            f"add chain inet {ADMINS} in {{ type filter hook input priority 5; }}",
            f"add rule inet {ADMINS} in ip saddr @theirs counter accept",
        )

    def act(self) -> tuple[str, bool]:
        """Do something bad; return what, and whether the kernel let it happen."""
        found = self._look()
        for act in self._dice.sample(self.acts, len(self.acts)):
            commands = act(found)
            if commands:
                return f"{act.__name__.strip('_')}: {'; '.join(commands)}", self.run(*commands)
        return "nothing to destroy", False

    def churn(self, seconds: float) -> None:
        """Change somebody else's table as fast as it goes, for a while."""
        over, count = time.monotonic() + seconds, 0
        while time.monotonic() < over:
            self.run(
                f"add element inet {ADMINS} theirs {{ 10.0.{count >> 8 & 255}.{count & 255} timeout 1s }}"
            )
            count += 1
            time.sleep(0.0005)

    def _one(self, things: list[dict[str, Any]]) -> dict[str, Any] | None:
        return self._dice.choice(things) if things else None

    def _flush_ruleset(self, _: Found) -> list[str]:
        return ["flush ruleset"]

    def _flush_table(self, found: Found) -> list[str]:
        t = self._one(found["table"])
        return [f"flush table {t['family']} {t['name']}"] if t else []

    def _delete_table(self, found: Found) -> list[str]:
        t = self._one(found["table"])
        return [f"delete table {t['family']} {t['name']}"] if t else []

    def _delete_chain(self, found: Found) -> list[str]:
        c = self._one([c for c in found["chain"] if "hook" in c])
        return [f"{verb} chain {_name(c)}" for verb in ("flush", "delete")] if c else []

    def _flush_chain(self, found: Found) -> list[str]:
        c = self._one(found["chain"])
        return [f"flush chain {_name(c)}"] if c else []

    def _delete_rule(self, found: Found) -> list[str]:
        r = self._one(found["rule"])
        return [f"delete rule {r['family']} {r['table']} {r['chain']} handle {r['handle']}"] if r else []

    def _accept_all(self, found: Found) -> list[str]:
        c = self._one(found["chain"])
        return [f"insert rule {_name(c)} accept"] if c else []

    def _drop_all(self, found: Found) -> list[str]:
        c = self._one([c for c in found["chain"] if "hook" in c])
        return [f"add chain {_name(c)} {{ policy drop; }}"] if c else []

    def _delete_set(self, found: Found) -> list[str]:
        s = self._one(found["set"])
        if not s:
            return []
        place = (s["family"], s["table"])
        chains = [c for c in found["chain"] if (c["family"], c["table"]) == place]
        return [*(f"flush chain {_name(c)}" for c in chains), f"delete set {_name(s)}"]

    def _flush_set(self, found: Found) -> list[str]:
        s = self._one(found["set"])
        return [f"flush set {_name(s)}"] if s else []

    def _delete_element(self, found: Found) -> list[str]:
        s = self._one([s for s in found["set"] if s.get("elem")])
        if not s:
            return []
        one = _value(self._dice.choice(s["elem"]))
        return [f"delete element {_name(s)} {{ {one} }}"] if one else []

    def _ban_somebody(self, found: Found) -> list[str]:
        s = self._one([s for s in found["set"] if "interval" not in s.get("flags", ())])
        if not s:
            return []
        whom = "203.0.113.10" if s["type"] == "ipv4_addr" else "2001:db8:b::10"
        return [f"add element {_name(s)} {{ {whom} }}"]

    def _rename_chain(self, found: Found) -> list[str]:
        c = self._one(found["chain"])
        return [f"rename chain {_name(c)} theirs{self._dice.randrange(10**6)}"] if c else []

    def _sleep(self, found: Found) -> list[str]:
        t = self._one(found["table"])
        return [f"add table {t['family']} {t['name']} {{ flags dormant; }}"] if t else []

    def _replace_table(self, found: Found) -> list[str]:
        t = self._one(found["table"])
        return [f"{verb} table {t['family']} {t['name']}" for verb in ("delete", "add")] if t else []

    def _add_chain(self, found: Found) -> list[str]:
        t = self._one(found["table"])
        hook = "{ type filter hook input priority -300; policy drop; }"
        return [f"add chain {t['family']} {t['name']} theirs {hook}"] if t else []

    def _add_set(self, found: Found) -> list[str]:
        t = self._one(found["table"])
        kind = "ipv4_addr" if t and t["family"] == "ip" else "ipv6_addr"
        name = self._dice.choice(["crowdsec-blacklists-theirs", "theirs"])
        return [f"add set {t['family']} {t['name']} {name} {{ type {kind}; }}"] if t else []


def _name(thing: dict[str, Any]) -> str:
    return f"{thing['family']} {thing['table']} {thing['name']}"


def _value(item: Any) -> str:
    one = item["elem"]["val"] if isinstance(item, dict) and "elem" in item else item
    if isinstance(one, dict) and "prefix" in one:
        return f"{one['prefix']['addr']}/{one['prefix']['len']}"
    if isinstance(one, dict) and "range" in one:
        return "-".join(one["range"])
    return one if isinstance(one, str) else ""
