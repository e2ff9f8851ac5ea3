"""Every configured LAPI: whether it answers, whether it knows us, what time it has."""

from __future__ import annotations

import asyncio
import time
from contextlib import aclosing
from email.utils import parsedate_to_datetime
from ipaddress import ip_address
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

import httpx

from fwbouncer.doctor.facts import Certificate, LapiAnswer, Lapis
from fwbouncer.doctor.look import certificate
from fwbouncer.doctor.look.program import CantLookError
from fwbouncer.errors import ConfigError
from fwbouncer.lapi import trouble
from fwbouncer.lapi.endpoint import USER_AGENT, auth_headers, endpoint, open_transport

if TYPE_CHECKING:
    from fwbouncer.config.schema import Lapi
    from fwbouncer.lapi.endpoint import Endpoint

PATIENCE = 3.0  # seconds for all requests to one LAPI


def look(config: Lapi) -> Lapis:
    """Ask them all at once."""
    found, unreadable = [], []
    for role, path in (("client certificate", config.cert_path), ("CA certificate", config.ca_cert_path)):
        try:
            if path is not None:
                found.append(certificate.from_file(role, path))
        except CantLookError as error:
            unreadable.append(str(error))
    return Lapis(tuple(asyncio.run(_all(config))), tuple(found), tuple(unreadable))


async def _all(config: Lapi) -> list[LapiAnswer]:
    return await asyncio.gather(*(_one(endpoint(url), config) for url in config.urls))


async def _one(at: Endpoint, config: Lapi) -> LapiAnswer:
    by_key = config.key is not None
    try:
        async with asyncio.timeout(PATIENCE), aclosing(open_transport(at, config)) as transport:
            return await _asked(at, transport, auth_headers(config))
    except ConfigError as error:
        return LapiAnswer(at.name, error=str(error), local=_local(at))
    # A hostile answer gets ValueError and AssertionError out of the HTTP libraries, and maybe more.
    except Exception as error:  # noqa: BLE001
        return LapiAnswer(at.name, error=str(trouble.unreachable(at, error, by_key=by_key)), local=_local(at))


async def _asked(at: Endpoint, transport: httpx.AsyncBaseTransport, auth: dict[str, str]) -> LapiAnswer:
    # A HEAD for decisions on one address checks who we are and moves no cursor, in any release. One on the stream
    # does in 1.4, as Debian has it: the daemon would miss what came in since its last poll.
    began, wall = time.monotonic(), time.time()
    response = await _request(at, transport, "HEAD", "v1/decisions?ip=192.0.2.0", auth)
    took = time.monotonic() - began
    peer = _peer(response, at.name)
    skew = _skew(response, wall, wall + took)
    # What a route without our key says tells which release it is: 404 where there is no such route.
    nobody = {"User-Agent": USER_AGENT}
    metrics = (await _request(at, transport, "GET", "v1/usage-metrics", nobody)).status_code
    allowlists = (await _request(at, transport, "GET", "v1/allowlists", nobody)).status_code
    return LapiAnswer(
        at.name,
        status=response.status_code,
        skew=skew,
        took=took,
        metrics={404: False, 405: True}.get(metrics),
        allowlists={404: False, 401: True}.get(allowlists),
        certificate=peer,
        local=_local(at),
    )


async def _request(
    at: Endpoint, transport: httpx.AsyncBaseTransport, method: str, path: str, headers: dict[str, str]
) -> httpx.Response:
    timeout = httpx.Timeout(PATIENCE).as_dict()
    request = httpx.Request(
        method, at.base + path, headers=headers | at.headers(), extensions={"timeout": timeout}
    )
    response = await transport.handle_async_request(request)
    await response.aclose()  # the status and the headers are all that is wanted
    return response


def _skew(response: httpx.Response, before: float, after: float) -> float | None:
    """Return how far the LAPI's clock is ahead; within the second that its header leaves open, it is not."""
    try:
        told = parsedate_to_datetime(response.headers["date"]).timestamp()
    except (KeyError, ValueError, OverflowError):
        return None
    if before - 1 <= told <= after:
        return 0.0
    return told - after if told > after else told + 1 - before


def _peer(response: httpx.Response, name: str) -> Certificate | None:
    stream = response.extensions.get("network_stream")
    tls = stream.get_extra_info("ssl_object") if stream is not None else None
    der = tls.getpeercert(binary_form=True) if tls is not None else None
    if not der:
        return None
    try:
        return Certificate(f"the certificate of {name}", *certificate.validity(der))
    except ValueError:
        return None


def _local(at: Endpoint) -> bool:
    """Tell whether it listens on this very host, as far as its address says so."""
    host = urlsplit(at.base).hostname or ""
    try:
        return at.socket is not None or host == "localhost" or ip_address(host).is_loopback
    except ValueError:
        return False
