"""Asks the LAPI for decision pages."""

from __future__ import annotations

import asyncio
from contextlib import aclosing, suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, cast

import httpx

from fwbouncer.errors import ConfigError, LapiBadAnswer, LapiError, LapiUnreachable
from fwbouncer.lapi import trouble
from fwbouncer.lapi.deadline import Deadline
from fwbouncer.lapi.decode import Decoder
from fwbouncer.lapi.endpoint import auth_headers, endpoint, open_transport, query
from fwbouncer.lapi.failover import Failover
from fwbouncer.lapi.page import MAX_BODY, SLICE, PageParser

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Callable, Iterable

    from fwbouncer.config.schema import Lapi
    from fwbouncer.core.model import Family, Millis, Page
    from fwbouncer.lapi.decode import LabelOf
    from fwbouncer.lapi.endpoint import Endpoint

    Transports = Callable[[Endpoint, Lapi], httpx.AsyncBaseTransport]

_ERROR_BODY = 400  # bytes of an error's body that are worth reading
_DATABASE_FAILED = 500
_BROKEN = (httpx.NetworkError, httpx.RemoteProtocolError)


@dataclass(frozen=True, slots=True)
class Limits:
    """How patient we are, in seconds; sizes in bytes."""

    connect: float = 5.0
    snapshot: float = (
        120.0  # for the first byte, and between two: some LAPIs first read all of a large database
    )
    longest_snapshot: float = 600.0  # after timeouts the patience grows up to this
    delta: float = 30.0
    body: float = 60.0  # any body may take this long, and then must have come at this pace:
    pace: float = 128 * 1024  # bytes a second
    size: int = MAX_BODY


class _Attempt:
    """What became of one request, as the HTTP library tells it."""

    def __init__(self) -> None:
        self.connected = False  # a connection was made for it
        self.written = False  # at least its first byte may have left
        self.answered = False
        self.status: int | None = None

    async def trace(self, event: str, info: dict[str, Any]) -> None:
        del info
        self.connected |= event.startswith("connection.connect_") and event.endswith(".started")
        self.written |= event == "http11.send_request_headers.started"

    @property
    def stale(self) -> bool:
        """Whether it failed for having used a connection that the LAPI was just closing."""
        return self.written and not self.connected and not self.answered

    @property
    def harmless(self) -> bool:
        """Whether the LAPI's cursor stands where it stood.

        Either the request can't have come to it, or it says that its database failed: every LAPI moves the cursor
        last, after an answer without an error. What asks for less keeps a LAPI in need from needing more.
        """
        return (self.connected and not self.written) or self.status == _DATABASE_FAILED


class Client:
    """Polls the decision stream of the first LAPI that answers."""

    def __init__(  # noqa: PLR0913 - each is one thing that a test replaces or the configuration says
        self,
        config: Lapi,
        *,
        families: Iterable[Family],
        label_of: LabelOf,
        clock: Callable[[], Millis],
        transports: Transports = open_transport,
        limits: Limits | None = None,
    ) -> None:
        self._config = config
        self._clock = clock
        self._transports = transports
        self._limits = limits or Limits()
        self._patience = self._limits.snapshot
        self._decoder = Decoder(families=families, label_of=label_of)
        self._headers = auth_headers(config)
        endpoints = [endpoint(url) for url in config.urls]
        self._failover = Failover(endpoints)
        # Opened here so that certificates that can't be loaded are found at once.
        self._open = {each: transports(each, config) for each in endpoints}
        self._requests: dict[tuple[Endpoint, bool], httpx.Request] = {}
        self._cursor: Endpoint | None = None  # the LAPI that will send what is new since our last page
        self.requests = 0
        self.failures = 0
        self.arriving = 0  # decisions of the page that is coming in, so far

    @property
    def endpoint(self) -> Endpoint:
        """The LAPI in use."""
        return self._failover.in_use

    @property
    def url(self) -> str:
        """The LAPI in use, for the administrator."""
        return self._failover.in_use.name

    async def poll(self, startup: bool) -> Page:
        """Fetch one page: everything, or with `startup` false what changed since the last one.

        Everything is asked for also whenever the LAPI's cursor may not stand where our last page ended;
        `Page.startup` tells. Raises LapiError.
        """
        problems = []
        for at in self._failover.candidates(self._clock()):
            self.requests += 1
            try:
                page = await self._poll_at(at, startup=startup)
            except LapiError as error:
                self.failures += 1
                self._failover.failed(at, self._clock())
                problems.append(error)
            else:
                self._failover.answered(at)
                return page
        raise trouble.joined(problems)

    async def aclose(self) -> None:
        """Close all connections."""
        for transport in self._open.values():
            await transport.aclose()
        self._open.clear()

    async def _poll_at(self, at: Endpoint, *, startup: bool) -> Page:
        attempt = _Attempt()
        try:
            page = await self._ask(at, attempt, startup=startup or self._cursor != at)
        except LapiError as error:
            if not (attempt.stale and isinstance(error.__cause__, _BROKEN)):
                raise
            # The LAPI closed a kept connection just when we used it again. That is no outage; but it may have
            # read the request and moved its cursor.
            attempt = _Attempt()
            page = await self._ask(at, attempt, startup=True)
        self._cursor = at
        return page

    async def _ask(self, at: Endpoint, attempt: _Attempt, *, startup: bool) -> Page:
        """Make one request; whatever breaks is raised as LapiError and costs the connection."""
        complete = False
        try:
            silence = self._patience if startup else self._limits.delta
            deadline = Deadline(self._limits.connect + silence)
            page = await deadline.run(self._exchange(at, attempt, deadline, startup=startup))
            complete = True
        except LapiError:
            raise
        # A hostile answer gets ValueError and AssertionError out of the HTTP libraries, and maybe more.
        except Exception as error:
            if startup and not attempt.answered and isinstance(error, TimeoutError | httpx.ReadTimeout):
                self._patience = min(2 * self._patience, self._limits.longest_snapshot)
            raise trouble.unreachable(at, error, by_key=self._config.key is not None) from error
        finally:
            if not complete:
                # Also for another LAPI: those that share a database share our cursor.
                self._cursor = self._cursor if attempt.harmless else None
                await self._discard(at)
        return page

    async def _exchange(self, at: Endpoint, attempt: _Attempt, deadline: Deadline, *, startup: bool) -> Page:
        limits = self._limits
        silence = self._patience if startup else limits.delta
        timeout = httpx.Timeout(silence, connect=limits.connect, write=limits.delta, pool=limits.connect)
        request = self._request(at, startup=startup)
        request.extensions = {"timeout": timeout.as_dict(), "trace": attempt.trace}
        response = await self._transport(at).handle_async_request(request)
        attempt.answered, attempt.status = True, response.status_code
        deadline.move(limits.body)
        async with aclosing(response):
            await self._check(at, response)
            try:
                return await self._read(response, deadline, startup=startup)
            except LapiBadAnswer as error:
                raise LapiBadAnswer(f"{at.name}: {error}") from error

    def _request(self, at: Endpoint, *, startup: bool) -> httpx.Request:
        """Return the request, made once: to put its URL and headers together takes a fifth of an idle poll."""
        request = self._requests.get((at, startup))
        if request is None:
            request = self._requests[at, startup] = httpx.Request(
                "GET",
                f"{at.base}v1/decisions/stream",
                params=query(self._config, startup=startup),
                headers=self._headers | at.headers(),
            )
        return request

    async def _check(self, at: Endpoint, response: httpx.Response) -> None:
        """Let pass nothing but a page."""
        status = response.status_code
        if status in (401, 403):
            raise trouble.refused(at, by_key=self._config.key is not None)
        if status != 200:
            body = b""
            async with aclosing(_body(response)) as chunks:
                async for chunk in chunks:
                    body += chunk[:_ERROR_BODY]
                    if len(body) >= _ERROR_BODY:
                        break
            raise trouble.odd_status(at, status, response.headers.get("location"), body)
        encoding = response.headers.get("content-encoding", "identity")
        if encoding != "identity":  # a LAPI never compresses
            raise trouble.odd_status(at, status, None, b"content-encoding " + encoding.encode())

    async def _read(self, response: httpx.Response, deadline: Deadline, *, startup: bool) -> Page:
        limits = self._limits
        length = response.headers.get("content-length", "")
        if length.isdecimal() and int(length[:20]) > limits.size:
            raise LapiBadAnswer(f"the answer is longer than {limits.size} bytes")
        builder = self._decoder.begin(startup=startup, now=self._clock())
        parser = PageParser(builder.sinks, limits.size)
        now = asyncio.get_running_loop().time
        began, size, rested = now(), 0, 0
        self.arriving = 0
        async with aclosing(_body(response)) as chunks:
            async for chunk in chunks:
                # A duration counts from when its row is written, and a large body takes a while to write.
                builder.now = self._clock()
                parser.feed(chunk)
                size += len(chunk)
                deadline.move(began + limits.body + size / limits.pace - now())
                if size - rested >= SLICE:
                    rested = size
                    self.arriving = len(builder.page.ids)
                    await asyncio.sleep(0)
        parser.close()
        return builder.page

    def _transport(self, at: Endpoint) -> httpx.AsyncBaseTransport:
        if at not in self._open:
            try:
                self._open[at] = self._transports(at, self._config)  # reads renewed certificates, too
            except ConfigError as error:
                raise LapiUnreachable(f"{at.name}: {error}") from error
        return self._open[at]

    async def _discard(self, at: Endpoint) -> None:
        transport = self._open.pop(at, None)
        if transport is not None:
            with suppress(httpx.HTTPError, OSError):
                await transport.aclose()


def _body(response: httpx.Response) -> AsyncGenerator[bytes, None]:
    """Return the body as it comes: closing this generator early ends the transfer."""
    return cast("AsyncGenerator[bytes, None]", response.aiter_raw())
