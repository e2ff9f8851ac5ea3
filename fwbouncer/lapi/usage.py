"""Tells the LAPI what was dropped: POST /v1/usage-metrics, which CrowdSec has from 1.6.3 on."""

from __future__ import annotations

import json
from contextlib import aclosing, suppress
from dataclasses import dataclass
from enum import Enum
from typing import TYPE_CHECKING, Any

import httpx

from fwbouncer import __version__
from fwbouncer.core.model import PROCESSED, Family
from fwbouncer.errors import ConfigError
from fwbouncer.lapi import trouble
from fwbouncer.lapi.deadline import Deadline
from fwbouncer.lapi.endpoint import auth_headers, open_transport

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from fwbouncer.config.schema import Lapi
    from fwbouncer.core.usage import Window
    from fwbouncer.lapi.endpoint import Endpoint

TYPE = "crowdsec-firewall-bouncer"  # as the LAPI knows the incumbent
_PATIENCE = 10.0  # seconds, as the incumbent's
_NEVER = (400, 413, 422)  # the LAPI's words for a report that it will never take
_LONGEST = 255  # characters in any text: more, and the LAPI refuses the whole report
_IP_TYPE = {Family.V4: "ipv4", Family.V6: "ipv6"}


@dataclass(frozen=True, slots=True)
class Identity:
    """Who reports. `started` is in seconds since 1970."""

    started: int
    os_name: str = ""
    os_family: str = ""
    os_version: str = ""


class Outcome(Enum):
    """What became of a report."""

    TAKEN = "taken"
    NO_SUCH_PATH = "no such path"  # an older LAPI
    UNSENT = "unsent"  # it did not get there
    REFUSED = "refused"  # the LAPI can't take what it says
    LOST = "lost"  # nobody knows whether the LAPI has it


@dataclass(frozen=True, slots=True)
class Answer:
    """What became of a report, with a reason for the administrator where it was not taken."""

    outcome: Outcome
    words: str = ""


def body(identity: Identity, window: Window, origin: Callable[[str], str]) -> bytes:
    """Write a report in the incumbent's words, which `cscli` and the console know. `origin` names a counter's group."""
    items = [*_active(window), *_counted(window, origin)]
    component = {
        "type": TYPE,
        "version": f"fwbouncer-{__version__}",
        "utc_startup_timestamp": identity.started,
        "feature_flags": [],
        "metrics": [
            {
                "meta": {"window_size_seconds": window.seconds, "utc_now_timestamp": window.until},
                "items": items,
            }
        ],
    }
    if identity.os_name and identity.os_version:
        component["os"] = {
            "name": identity.os_name[:_LONGEST],
            "family": identity.os_family[:_LONGEST],
            "version": identity.os_version[:_LONGEST],
        }
    return json.dumps({"remediation_components": [component]}, separators=(",", ":")).encode()


def _active(window: Window) -> Iterator[dict[str, Any]]:
    for (origin, family), count in window.banned.items():
        yield _item("active_decisions", count, "ip", family, origin=origin)


def _counted(window: Window, origin: Callable[[str], str]) -> Iterator[dict[str, Any]]:
    for (group, family), traffic in window.grown.items():
        seen = group == PROCESSED
        name, labels = (PROCESSED, {}) if seen else ("dropped", {"origin": origin(group)})
        yield _item(name, traffic.packets, "packet", family, **labels)
        yield _item(name, traffic.bytes, "byte", family, **labels)


def _item(name: str, value: int, unit: str, family: Family, **labels: str) -> dict[str, Any]:
    cut = {key: text[:_LONGEST] for key, text in labels.items()}
    return {"name": name, "value": value, "unit": unit, "labels": {**cut, "ip_type": _IP_TYPE[family]}}


async def send(at: Endpoint, config: Lapi, report: bytes) -> Answer:
    """Send a report, on a connection of its own, so that nothing here can disturb the polling."""
    try:
        return await Deadline(_PATIENCE).run(_exchange(at, config, report))
    except httpx.ConnectError as error:
        return Answer(Outcome.UNSENT, _words(at, config, error))
    except ConfigError as error:  # certificates that can't be read now
        return Answer(Outcome.UNSENT, f"{at.name}: {error}")
    # A hostile answer gets ValueError and AssertionError out of the HTTP libraries, and maybe more.
    except Exception as error:  # noqa: BLE001
        return Answer(Outcome.LOST, _words(at, config, error))


async def _exchange(at: Endpoint, config: Lapi, report: bytes) -> Answer:
    limit = httpx.Timeout(_PATIENCE).as_dict()
    headers = auth_headers(config) | at.headers() | {"Content-Type": "application/json"}
    url = f"{at.base}v1/usage-metrics"
    request = httpx.Request("POST", url, headers=headers, content=report, extensions={"timeout": limit})
    transport = open_transport(at, config)
    try:
        response = await transport.handle_async_request(request)
        async with aclosing(response):
            return await _answer(at, config, response)
    finally:
        with suppress(httpx.HTTPError, OSError):
            await transport.aclose()


async def _answer(at: Endpoint, config: Lapi, response: httpx.Response) -> Answer:
    status = response.status_code
    if 200 <= status < 300:
        return Answer(Outcome.TAKEN)
    if status in (404, 405):
        return Answer(Outcome.NO_SUCH_PATH, f"{at.name}: status {status}")
    if status in (401, 403):
        return Answer(Outcome.UNSENT, str(trouble.refused(at, by_key=config.key is not None)))
    start = b""
    async with aclosing(response.aiter_raw()) as chunks:  # type: ignore[type-var]
        async for chunk in chunks:
            start += chunk[:400]
            if len(start) >= 400:
                break
    words = str(trouble.odd_status(at, status, response.headers.get("location"), start))
    if status in _NEVER:
        return Answer(Outcome.REFUSED, words)
    # A proxy's 502 says nothing about what happened behind it; the rest comes from whoever stands in between.
    return Answer(Outcome.LOST if status >= 500 else Outcome.UNSENT, words)


def _words(at: Endpoint, config: Lapi, error: Exception) -> str:
    return str(trouble.unreachable(at, error, by_key=config.key is not None))
