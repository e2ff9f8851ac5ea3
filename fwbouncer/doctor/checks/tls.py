"""Certificates: the LAPI's and ours."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING

from fwbouncer.doctor.facts import Certificate, Facts, Unseen
from fwbouncer.doctor.finding import Finding, fine, problem, warning

if TYPE_CHECKING:
    from collections.abc import Iterator

_SOON = 14 * 86400  # seconds
_WHY = "When it has ended, the LAPI and fwbouncer don't speak with each other any more: no new bans arrive."


def check(facts: Facts) -> Iterator[Finding]:
    """Tell of certificates that end, have ended or can't be read."""
    if isinstance(facts.lapis, Unseen):
        return
    for text in facts.lapis.unreadable:
        yield problem("tls.unreadable", text, "The daemon can't use it, and doesn't start without it.")
    peers = [answer.certificate for answer in facts.lapis.answers if answer.certificate is not None]
    for certificate in (*facts.lapis.certificates, *peers):
        yield _judged(certificate, facts.now)


def _judged(certificate: Certificate, now: float) -> Finding:
    whose = certificate.whose
    if certificate.ends <= now:
        return problem("tls.ended", f"{whose}, ended on {_day(certificate.ends)}", _WHY)
    if certificate.begins > now:
        why = "Until then it is refused; or this host's clock is slow."
        return problem(
            "tls.not-yet", f"{whose}, holds only from {_day(certificate.begins)} on", why, "timedatectl"
        )
    if certificate.ends - now < _SOON:
        return warning("tls.ends", f"{whose}, ends on {_day(certificate.ends)}", _WHY)
    return fine("tls.holds", f"{whose}, holds until {_day(certificate.ends)}")


def _day(moment: float) -> str:
    return datetime.fromtimestamp(moment, UTC).strftime("%Y-%m-%d %H:%M UTC")
