"""The API key: who else uses it. The LAPI remembers for each key what it has told."""

from __future__ import annotations

from typing import TYPE_CHECKING

from fwbouncer.doctor.checks.mending import configure, edit
from fwbouncer.doctor.facts import Lapis, Registry, Unseen
from fwbouncer.doctor.finding import Finding, fine, problem, warning

if TYPE_CHECKING:
    from collections.abc import Iterator

    from fwbouncer.doctor.facts import Bouncer, Facts

_WHY = (
    "The LAPI tells each key what is new once. What another program with this key hears, fwbouncer misses, "
    "until it compares everything again (resync_interval)."
)
_NEWER = 2.0  # seconds that a foreign poll must lie behind ours to be told from it
_OUR_KIND, _OUR_VERSION = "crowdsec-firewall-bouncer", "fwbouncer-"


def check(facts: Facts) -> Iterator[Finding]:
    """Tell who shares it, as far as this host knows."""
    if facts.config is None or facts.config.lapi.key is None or isinstance(facts.key_uses, Unseen):
        return
    shared = False
    for use in facts.key_uses:
        shared = True
        if use.james:
            yield problem(
                "key.shared-james",
                f"James's own CrowdSec module uses fwbouncer's API key: {use.path}",
                _WHY,
                "cscli bouncers add james",
                edit(use.path, "apiKey=<the new key>, then restart James"),
            )
        else:
            yield problem(
                "key.shared",
                f"fwbouncer's API key stands in {use.path}, too",
                _WHY,
                "cscli bouncers add fwbouncer-own",
                *configure(facts, "api_key: <the new key>"),
            )
    if isinstance(facts.registry, Registry):
        found = list(_registered(facts, facts.registry))
        yield from found
        shared |= bool(found)
    if not shared:
        yield fine("key.own", "no sign that anybody else uses the API key")


def _registered(facts: Facts, registry: Registry) -> Iterator[Finding]:
    """Look at the LAPI's own list, where our daemon polls the LAPI of this host."""
    if not _polls_here(facts):
        return
    ours = [row for row in registry.bouncers if _looks_like_us(row)]
    pulls = [row.last_pull for row in ours if row.last_pull is not None]
    own = registry.last_poll
    if not ours and registry.bouncers and own is not None:
        yield warning(
            "key.other-program",
            "the LAPI takes fwbouncer for another program: none of its bouncers is of our type",
            f"The type is that of whoever used the key last. {_WHY}",
            "cscli bouncers list",
            "cscli bouncers add fwbouncer-own",
            *configure(facts, "api_key: <the new key>"),
        )
    elif own is not None and pulls and max(pulls) > own + _NEWER:
        yield warning(
            "key.other-poller",
            f"somebody else polled with fwbouncer's key {max(pulls) - own:.0f} s after fwbouncer did",
            _WHY,
            "cscli bouncers list",
            "cscli bouncers add fwbouncer-own",
            *configure(facts, "api_key: <the new key>"),
        )


def _looks_like_us(row: Bouncer) -> bool:
    return row.kind == _OUR_KIND and row.version.startswith(_OUR_VERSION) and row.ours is not False


def _polls_here(facts: Facts) -> bool:
    lapi = facts.status.get("lapi")
    if not isinstance(lapi, dict) or isinstance(facts.lapis, Unseen) or not isinstance(facts.lapis, Lapis):
        return False
    return any(answer.local and answer.name == lapi.get("url") for answer in facts.lapis.answers)
