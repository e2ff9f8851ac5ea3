"""Others on the same host: what root's tools do to our tables, on purpose or not; and what they do to their own."""

from __future__ import annotations

import contextlib
import threading
import time
from typing import TYPE_CHECKING

import nftables

from tests.faults import nft_text
from tests.faults.nft_text import Thing

if TYPE_CHECKING:
    import random
    from collections.abc import Callable

    from tests.lab.net import Host

Found = dict[str, list[Thing]]
ADMINS = "admins"  # the name of the tables that belong to somebody else


class Vandal:
    """Speaks to the kernel through libnftables, as `nft` does. Every method returns words for what it did, or ""."""

    def __init__(self, host: Host | None, dice: random.Random) -> None:
        """Without a host, be on the one that this thread is on."""
        self._host = host
        with self._there():
            self._nft = nftables.Nftables()
        self._nft.set_handle_output(True)
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

    def _there(self) -> contextlib.AbstractContextManager[None]:
        return self._host.inside() if self._host else contextlib.nullcontext()

    def run(self, *commands: str) -> bool:
        """Carry out commands in one transaction; return whether the kernel took them."""
        with self._lock:
            code, _, _ = self._nft.cmd("\n".join(commands))
            return bool(code == 0)

    def _look(self) -> Found:
        """Return what stands in tables that aren't somebody else's, by kind."""
        found = nft_text.read(self.text())
        return {kind: [t for t in things if t.table != ADMINS] for kind, things in found.items()}

    def text(self) -> str:
        """List the ruleset as people read it: as JSON, nft 1.0.6 writes rubbish for tables with flags."""
        with self._lock:
            code, out, error = self._nft.cmd("list ruleset")
        assert code == 0, error
        return str(out)

    def flush(self) -> None:
        """Do as many boot scripts do."""
        self.run("flush ruleset")

    def left(self) -> list[str]:
        """Return every object that is not in somebody else's table."""
        return [f"{kind} {what.name}" for kind, found in self._look().items() for what in found]

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

    def _one(self, things: list[Thing]) -> Thing | None:
        return self._dice.choice(things) if things else None

    def _flush_ruleset(self, _: Found) -> list[str]:
        return ["flush ruleset"]

    def _flush_table(self, found: Found) -> list[str]:
        t = self._one(found["table"])
        return [f"flush table {t.place}"] if t else []

    def _delete_table(self, found: Found) -> list[str]:
        t = self._one(found["table"])
        return [f"delete table {t.place}"] if t else []

    def _delete_chain(self, found: Found) -> list[str]:
        c = self._one([c for c in found["chain"] if c.hooked])
        return [f"{verb} chain {c.path}" for verb in ("flush", "delete")] if c else []

    def _flush_chain(self, found: Found) -> list[str]:
        c = self._one(found["chain"])
        return [f"flush chain {c.path}"] if c else []

    def _delete_rule(self, found: Found) -> list[str]:
        r = self._one(found["rule"])
        return [f"delete rule {r.path} handle {r.handle}"] if r else []

    def _accept_all(self, found: Found) -> list[str]:
        c = self._one(found["chain"])
        return [f"insert rule {c.path} accept"] if c else []

    def _drop_all(self, found: Found) -> list[str]:
        c = self._one([c for c in found["chain"] if c.hooked])
        return [f"add chain {c.path} {{ policy drop; }}"] if c else []

    def _delete_set(self, found: Found) -> list[str]:
        s = self._one(found["set"])
        if not s:
            return []
        chains = [c for c in found["chain"] if c.place == s.place]
        return [*(f"flush chain {c.path}" for c in chains), f"delete set {s.path}"]

    def _flush_set(self, found: Found) -> list[str]:
        s = self._one(found["set"])
        return [f"flush set {s.path}"] if s else []

    def _delete_element(self, found: Found) -> list[str]:
        s = self._one([s for s in found["set"] if s.elements])
        return [f"delete element {s.path} {{ {self._dice.choice(s.elements)} }}"] if s else []

    def _ban_somebody(self, found: Found) -> list[str]:
        s = self._one([s for s in found["set"] if not s.interval])
        whom = "203.0.113.10" if s and s.family == "ip" else "2001:db8:b::10"
        return [f"add element {s.path} {{ {whom} }}"] if s else []

    def _rename_chain(self, found: Found) -> list[str]:
        c = self._one(found["chain"])
        return [f"rename chain {c.path} theirs{self._dice.randrange(10**6)}"] if c else []

    def _sleep(self, found: Found) -> list[str]:
        t = self._one(found["table"])
        return [f"add table {t.place} {{ flags dormant; }}"] if t else []

    def _replace_table(self, found: Found) -> list[str]:
        t = self._one(found["table"])
        return [f"{verb} table {t.place}" for verb in ("delete", "add")] if t else []

    def _add_chain(self, found: Found) -> list[str]:
        t = self._one(found["table"])
        hook = "{ type filter hook input priority -300; policy drop; }"
        return [f"add chain {t.place} theirs {hook}"] if t else []

    def _add_set(self, found: Found) -> list[str]:
        t = self._one(found["table"])
        kind = "ipv4_addr" if t and t.family == "ip" else "ipv6_addr"
        name = self._dice.choice(["crowdsec-blacklists-theirs", "theirs"])
        return [f"add set {t.place} {name} {{ type {kind}; }}"] if t else []
