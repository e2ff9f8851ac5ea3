"""Puts failed polls into words for the administrator."""

from __future__ import annotations

import os
import ssl
from typing import TYPE_CHECKING

import httpx

from fwbouncer.core.names import escaped, shown
from fwbouncer.errors import LapiBadAnswer, LapiError, LapiRefused, LapiUnreachable

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from fwbouncer.lapi.endpoint import Endpoint

# OpenSSL's verify codes, as the incumbent's Go library words them: users search logs for these.
_UNKNOWN_AUTHORITY = "certificate signed by unknown authority"
_CERTIFICATE_TROUBLE = {
    9: "certificate has expired or is not yet valid",
    10: "certificate has expired or is not yet valid",
    18: _UNKNOWN_AUTHORITY,
    19: _UNKNOWN_AUTHORITY,
    20: _UNKNOWN_AUTHORITY,
    21: _UNKNOWN_AUTHORITY,
    62: "certificate is not valid for this host name",
    64: "certificate is not valid for this host name",
}


def unreachable(at: Endpoint, error: BaseException, *, by_key: bool) -> LapiUnreachable:
    """Word what broke a connection or kept it from being made."""
    causes = list(_causes(error))
    for cause in causes:
        if isinstance(cause, ssl.SSLCertVerificationError):
            return LapiUnreachable(_untrusted(at, cause, by_key=by_key))
    if isinstance(error, httpx.ConnectTimeout):
        return LapiUnreachable(f"{at.name}: no connection in time")
    if isinstance(error, TimeoutError | httpx.TimeoutException):
        return LapiUnreachable(f"{at.name}: no answer in time")
    if isinstance(error, httpx.LocalProtocolError):
        return LapiUnreachable(f"{at.name}: the request can't be sent")  # the reason would quote the key
    for cause in reversed(causes):
        if isinstance(cause, OSError) and cause.strerror:
            # asyncio puts words of its own in the place of the system's: "Connect call failed ('::1', 8080)".
            asyncios = cause.strerror.startswith("Connect call failed")
            said = os.strerror(cause.errno or 0) if asyncios else cause.strerror
            return LapiUnreachable(f"{at.name}: {escaped(said)}")
    return LapiUnreachable(f"{at.name}: {escaped(str(error) or type(error).__name__)}")


def refused(at: Endpoint, *, by_key: bool) -> LapiRefused:
    """Word a 403."""
    if by_key:
        advice = (
            "it doesn't know this API key; see `cscli bouncers list`, make a new one by `cscli bouncers add`"
        )
    else:
        advice = "it doesn't accept this client certificate; see bouncers_allowed_ou in its configuration"
    return LapiRefused(f"API error: access forbidden: {at.name}: {advice}")


def odd_status(at: Endpoint, status: int, location: str | None, body: bytes) -> LapiBadAnswer:
    """Word an answer that is neither a page nor a refusal."""
    if location is not None and 300 <= status < 400:
        return LapiBadAnswer(
            f"{at.name}: status {status}, a redirect to {shown(location, 200)}; it is not followed, since"
            " it would carry the key there"
        )
    text = shown(body.decode("utf-8", "replace").strip(), 200)
    return LapiBadAnswer(f"{at.name}: status {status}: {text}")


def joined(problems: Sequence[LapiError]) -> LapiError:
    """Make one error of what happened at several LAPIs; it is a refusal only if all of them refused."""
    if len(problems) == 1:
        return problems[0]
    kinds = [type(problem) for problem in problems if not isinstance(problem, LapiRefused)]
    kind = kinds[0] if kinds else LapiRefused
    return kind("\n".join(str(problem) for problem in problems))


def _untrusted(at: Endpoint, error: ssl.SSLCertVerificationError, *, by_key: bool) -> str:
    # Two lines, as the incumbent writes them.
    how = "auth-api: auth with api key failed" if by_key else "auth-api: auth with certificate failed"
    detail = escaped(error.verify_message)
    reason = _CERTIFICATE_TROUBLE.get(error.verify_code, detail)
    return f"{how}: {at.name}\ntls: failed to verify certificate: x509: {reason} ({detail})"


def _causes(error: BaseException) -> Iterator[BaseException]:
    """Walk from an error to what caused it; the system's own word is at the far end."""
    seen: set[int] = set()
    waiting = [error]
    while waiting:
        found = waiting.pop()
        if id(found) in seen:
            continue
        seen.add(id(found))
        yield found
        if isinstance(found, BaseExceptionGroup):
            waiting.extend(found.exceptions)
        cause = found.__cause__ or found.__context__
        if cause is not None:
            waiting.append(cause)
