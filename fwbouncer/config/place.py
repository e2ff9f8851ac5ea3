"""The part of the configuration that says where rules stand, and what follows from that."""

from __future__ import annotations

from typing import TYPE_CHECKING

from fwbouncer.config.schema import Hook, Mode, Nft, Replies
from fwbouncer.core.model import Family
from fwbouncer.core.policy import Action

if TYPE_CHECKING:
    from fwbouncer.config.settings import Settings
    from fwbouncer.core.policy import Policies

SET_ONLY = "set-only"
_CONNTRACK = -200  # NF_IP_PRI_CONNTRACK: what stands there or before can't know replies


def table_of(settings: Settings, family: Family) -> Nft:
    """Build one family's place in nftables."""
    block = f"nftables.ipv{family.value}."
    return Nft(
        family=family,
        table=settings[block + "table"],
        chain=settings[block + "chain"],
        blacklists=settings[f"blacklists_ipv{family.value}"],
        priority=settings[block + "priority"],
        set_only=settings[block + "set-only"] or settings["mode"] == SET_ONLY,
    )


def hooks_of(settings: Settings) -> tuple[Hook, ...]:
    """Return the hooks, noting those that make no sense."""
    chosen: tuple[Hook, ...] = settings["nftables_hooks"]
    for hook in dict.fromkeys(chosen):
        name = hook.name.lower()
        if chosen.count(hook) > 1:
            settings.error("nftables_hooks", f"{name} stands in the list twice; remove one")
        if hook in (Hook.OUTPUT, Hook.POSTROUTING):
            own = "sees only this host's own addresses as source"
            if hook is Hook.POSTROUTING:
                own = "comes after everything else, and sees only what leaves this host"
            settings.warn("nftables_hooks", f"{name} {own}; banned peers are met at input and forward")
    return chosen


def replies_of(
    settings: Settings, hooks: tuple[Hook, ...], nft: dict[Family, Nft], policies: Policies
) -> Replies:
    """Tell what happens to replies; chains that stand before connection tracking can't know them.

    Where only some ports are closed, replies come to none of these, unless connections of this host start from them.
    """
    wanted: Replies = settings["protect.replies"]
    blind = [hook.name.lower() for hook in hooks if hook in (Hook.PREROUTING, Hook.OUTPUT)]
    early = [family for family, place in nft.items() if place.priority <= _CONNTRACK and not place.set_only]
    closed = policies.protected()
    harmless = closed is not None and not closed & policies.outgoing
    if wanted is Replies.DROP or not blind or not early or harmless:
        return wanted
    key = f"nftables.ipv{early[0].value}.priority"
    reason = f"{' and '.join(blind)} at priority {nft[early[0]].priority} come before connection tracking"
    if settings.given("protect.replies"):
        settings.error("protect.replies", f"replies can't pass: {reason}; use a priority above {_CONNTRACK}")
        return wanted
    settings.warn(
        key,
        f"banned peers' replies to this host's own connections will be dropped: {reason}; "
        f"use a priority above {_CONNTRACK}, or say `protect: {{replies: drop}}` if that is meant",
    )
    return Replies.DROP


def refuse_at_the_end(settings: Settings, hooks: tuple[Hook, ...], policies: Policies) -> None:
    """Note verdicts that the kernel can't carry out where packets leave."""
    if Hook.POSTROUTING not in hooks:
        return
    for policy in policies:
        key = "policies" if policy.name else "protect.reset_ports"
        if policy.action is Action.REJECT or policy.reset:
            settings.error(key, "the kernel can't refuse a packet at postrouting; use drop, or another hook")


def given(settings: Settings, mode: Mode, policies: Policies) -> bool:
    """Tell whether the administrator says where rules stand; if not, those for some ports alone stand early."""
    if mode is Mode.IPTABLES:
        named = any(
            settings[name] for name in ("iptables_chains", "iptables_v4_chains", "iptables_v6_chains")
        )
        if not named and policies.protected() is None:
            settings.warn(
                "iptables_chains",
                "names no chain, so no packet meets the bans that close everything; name INPUT, and FORWARD "
                "or DOCKER-USER for containers",
            )
        return named
    priorities = [f"nftables.ipv{family.value}.priority" for family in Family]
    return settings.given("nftables_hooks") or any(map(settings.given, priorities))
