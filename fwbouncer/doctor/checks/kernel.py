"""The kernel: what it can do for us, and how full its connection tracking is."""

from __future__ import annotations

from typing import TYPE_CHECKING

from fwbouncer.config.schema import Hook, Mode, Replies
from fwbouncer.control.words import clean
from fwbouncer.core.policy import Action
from fwbouncer.doctor.checks.mending import configure
from fwbouncer.doctor.facts import System, Unseen
from fwbouncer.doctor.finding import Finding, fine, note, problem, warning

if TYPE_CHECKING:
    from collections.abc import Iterator

    from fwbouncer.doctor.facts import Facts

_OWNER_SINCE = (5, 12)  # NFT_TABLE_F_OWNER
_EARLY_REJECT_SINCE = (5, 9)  # nft_reject at the prerouting hook
_UPGRADE = "apt-get install linux-image-$(dpkg --print-architecture)"
_FULL = 0.8


def check(facts: Facts) -> Iterator[Finding]:
    """Tell what the kernel lacks."""
    system = facts.system
    if isinstance(system, Unseen):
        return
    tool = f", nft {system.nft}" if system.nft else ", no nft program (only people need it)"
    yield fine("kernel.version", f"Linux {system.release}{tool}")
    if system.version != (0, 0):
        yield from _features(facts, system)
    yield from _sessions(facts, system)
    yield from _conntrack(facts, system)


def _features(facts: Facts, system: System) -> Iterator[Finding]:
    config = facts.config
    if config is None or config.mode is not Mode.NFTABLES:
        return
    if system.version < _OWNER_SINCE:
        yield warning(
            "kernel.no-owner",
            f"Linux {system.release} knows no tables that belong to a socket; 5.12 and later do",
            "Another program's `nft flush ruleset` removes the bans; they are back within a second.",
            _UPGRADE,
        )
    if (
        system.version < _EARLY_REJECT_SINCE
        and config.deny.action is Action.REJECT
        and Hook.PREROUTING in config.hooks
    ):
        yield problem(
            "kernel.no-early-reject",
            f"Linux {system.release} can't REJECT at prerouting; 5.9 and later can",
            "The kernel refuses the rules, so that nobody is blocked.",
            *configure(facts, "deny_action: DROP, or nftables_hooks without prerouting"),
        )


def _sessions(facts: Facts, system: System) -> Iterator[Finding]:
    """Tell where open sessions of newly banned peers can't be cut."""
    told = facts.status.get("sessions")
    lacks = told.get("unsupported") if isinstance(told, dict) else None
    if not told and facts.config is not None and facts.config.close_sessions:
        missing = system.options.get("CONFIG_INET_DIAG_DESTROY") == "n"
        lacks = ["this kernel is built without CONFIG_INET_DIAG_DESTROY"] if missing else []
    for text in lacks if isinstance(lacks, list) else ():
        yield note(
            "kernel.no-session-cut",
            clean(text),
            "A peer that is banned while it is connected falls silent at once, and its socket is freed late.",
        )


def _conntrack(facts: Facts, system: System) -> Iterator[Finding]:
    if system.conntrack is None:
        return
    count, most = system.conntrack
    if most and count >= _FULL * most:
        full = count >= most
        yield (problem if full else warning)(
            "kernel.conntrack-full",
            f"the kernel tracks {count:,} connections of at most {most:,}",
            "Once the table is full, new connections of everybody are dropped.",
            f"sysctl -w net.netfilter.nf_conntrack_max={2 * most}",
            f"echo net.netfilter.nf_conntrack_max={2 * most} >/etc/sysctl.d/60-conntrack.conf",
        )
    elif facts.config is not None and facts.config.replies is Replies.PASS:
        yield fine("kernel.conntrack", f"{count:,} of {most:,} tracked connections")
