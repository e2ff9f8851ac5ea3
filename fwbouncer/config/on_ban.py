"""From the block `on_ban` to whose sessions are cut: those whom our own rules shut out of this host."""

from __future__ import annotations

from typing import TYPE_CHECKING

from fwbouncer.config.schema import Hook, Mode, Nft
from fwbouncer.core.model import Family
from fwbouncer.core.policy import Action, Policies

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from fwbouncer.config.settings import Settings

_KEY = "on_ban.close_sessions"


def close_sessions(
    settings: Settings, mode: Mode, nft: Mapping[Family, Nft], hooks: Iterable[Hook], policies: Policies
) -> frozenset[Family]:
    """Return the families of the peers whose sessions are cut.

    Where the rules are the administrator's nobody here knows what they do with a set, so it must be asked for.
    """
    asked = settings.given(_KEY)
    if not settings[_KEY] or mode is Mode.DRY_RUN:
        return frozenset()
    why = _open_to_all(settings, mode, nft, hooks, policies)
    if why:
        if asked:
            settings.warn(_KEY, f"has no effect: {why}")
        return frozenset()
    if mode is Mode.IPSET:
        return frozenset(Family) if asked else frozenset()
    if mode is Mode.IPTABLES:
        return frozenset(Family)
    return frozenset(family for family, place in nft.items() if asked or not place.set_only)


def _open_to_all(
    settings: Settings, mode: Mode, nft: Mapping[Family, Nft], hooks: Iterable[Hook], policies: Policies
) -> str | None:
    """Say why no ban is in the way of a session with this host."""
    verdicts = {policy.action for policy in policies if not policy.passes}
    if settings["deny_action"].upper() == Action.LOG.value and verdicts == {None}:
        return "deny_action LOG lets the banned pass"
    ours = mode is Mode.NFTABLES and not all(place.set_only for place in nft.values())
    if ours and not {Hook.PREROUTING, Hook.INPUT} & set(hooks):
        return "without input or prerouting in nftables_hooks, this host's own ports stay open to the banned"
    return None
