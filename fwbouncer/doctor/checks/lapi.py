"""The LAPI: does it answer, does it know us, and is it new enough."""

from __future__ import annotations

from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from fwbouncer.doctor.checks.mending import configure
from fwbouncer.doctor.facts import Facts, LapiAnswer, Registry, Unseen, version_of
from fwbouncer.doctor.finding import Finding, fine, note, problem, warning

if TYPE_CHECKING:
    from collections.abc import Iterator

    from fwbouncer.config.schema import Config

_SLOW = 1.0  # seconds for an answer without a body
_DEDUP_SINCE = (1, 4)  # `dedup=false`; strictly 1.4.2
_NO_NEWS = "No new bans arrive; those that are in the kernel hold until their deadlines."


def check(facts: Facts) -> Iterator[Finding]:
    """Tell how every configured LAPI answers, and how the daemon's polls go."""
    if isinstance(facts.lapis, Unseen) or facts.config is None:
        return
    answers = facts.lapis.answers
    works = any(answer.status == 200 for answer in answers)
    for answer in answers:
        yield from _answer(facts, answer, works=works)
    yield from _polls(facts, facts.config, works=works)
    yield from _wire(facts, facts.config)
    yield from _version(facts, answers)


def _answer(facts: Facts, answer: LapiAnswer, *, works: bool) -> Iterator[Finding]:
    bad = warning if works else problem
    why = "The others answer for it as long as they can." if works else _NO_NEWS
    start = ("systemctl status crowdsec --no-pager", "systemctl restart crowdsec") if answer.local else ()
    if answer.status is None:
        told = " ".join(answer.error.splitlines())
        yield bad("lapi.unreachable", f"no LAPI: {told}", why, *start)
    elif answer.status in (401, 403):
        yield bad("lapi.refused", f"{answer.name} doesn't know fwbouncer", why, *_known(facts))
    elif answer.status != 200:
        yield bad("lapi.odd", f"{answer.name} answers with status {answer.status}: is that a LAPI?", why)
    elif answer.took > _SLOW:
        yield note("lapi.slow", f"{answer.name} took {answer.took:.1f} s for an answer without a body")
    else:
        yield fine("lapi.answers", f"{answer.name} answers and knows fwbouncer ({answer.took * 1000:.0f} ms)")


def _known(facts: Facts) -> tuple[str, ...]:
    if facts.config is not None and facts.config.lapi.key is None:
        return ("cscli bouncers list", "grep -A3 bouncers_allowed_ou /etc/crowdsec/config.yaml")
    return ("cscli bouncers add fwbouncer", *configure(facts, "api_key: <the new key>"))


def _polls(facts: Facts, config: Config, *, works: bool) -> Iterator[Finding]:
    lapi = facts.status.get("lapi")
    if not isinstance(lapi, dict):
        return
    since, age = lapi.get("failing_since"), lapi.get("snapshot_age")
    if works and isinstance(since, int | float) and since > 2 * config.lapi.update_frequency:
        yield problem(
            "lapi.polls-fail",
            f"the daemon's polls have failed for {since:.0f} s: {lapi.get('error')}",
            f"The LAPI answers this command, and not the daemon. {_NO_NEWS}",
            "journalctl -u fwbouncer -n 30 --no-pager",
            "systemctl restart fwbouncer",
        )
    if works and isinstance(age, int | float) and age > 2 * config.lapi.resync_interval + 600:
        yield warning(
            "lapi.no-snapshot",
            f"everything was compared with the LAPI {age / 3600:.1f} hours ago for the last time",
            "A ban that was missed, or one whose end was, is found only then.",
            "journalctl -u fwbouncer -n 30 --no-pager",
        )


def _wire(facts: Facts, config: Config) -> Iterator[Finding]:
    for answer in facts.lapis.answers if not isinstance(facts.lapis, Unseen) else ():
        if urlsplit(answer.name).scheme == "http" and not answer.local:
            yield warning(
                "lapi.unencrypted",
                f"{answer.name} is spoken to without encryption",
                "Who listens on the way reads the key, and who stands on it bans and unbans whom they like.",
                *configure(facts, "api_url: https://…"),
            )
    if config.lapi.insecure_skip_verify:
        yield warning(
            "lapi.unverified",
            "the LAPI's certificate is not checked (insecure_skip_verify)",
            "Whoever stands on the way can ban and unban whom they like.",
            *configure(facts, "insecure_skip_verify: false, and ca_cert_path: <the CA's certificate>"),
        )


def _version(facts: Facts, answers: tuple[LapiAnswer, ...]) -> Iterator[Finding]:
    told = facts.registry.version if isinstance(facts.registry, Registry) else ""
    local = any(answer.local and answer.status == 200 for answer in answers)
    if told and local:
        old = version_of(told) < _DEDUP_SINCE
        if old:
            yield warning(
                "lapi.too-old",
                f"CrowdSec {told} is older than 1.4.2",
                "It hides a decision behind a longer one on the same address, and doesn't tell when that one ends.",
                "apt-get install crowdsec",
            )
        else:
            yield fine("lapi.version", f"CrowdSec {told}")
    for answer in answers:
        if answer.metrics is False:
            yield note(
                "lapi.no-metrics",
                f"{answer.name} is older than CrowdSec 1.6.3",
                "`cscli metrics` can't show what fwbouncer drops; `fwbouncer status` does.",
            )
        elif answer.metrics and not (told and local):
            release = "1.6.6 or later" if answer.allowlists else "1.6.3 or later"
            yield fine("lapi.version", f"{answer.name} is CrowdSec {release}")
