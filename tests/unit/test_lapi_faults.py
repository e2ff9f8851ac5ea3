"""Every kind of LAPI trouble, on a real server: it ends in time, in clear words, and heals."""

from __future__ import annotations

import asyncio
import time
from contextlib import suppress
from typing import TYPE_CHECKING

import pytest

from fwbouncer.errors import LapiBadAnswer, LapiError, LapiRefused, LapiUnreachable
from fwbouncer.lapi.client import Limits
from tests.fake_lapi import (
    FakeLapi,
    Fault,
    answer,
    drip,
    endless,
    hang,
    hang_up,
    redirect,
    reset,
    static_page,
    status,
    truncated,
)
from tests.unit.lapi_help import HASTY, client, run

if TYPE_CHECKING:
    from collections.abc import Iterator


@pytest.fixture
def lapi() -> Iterator[FakeLapi]:
    """Start a LAPI with two bans."""
    with FakeLapi() as made:
        made.ban("192.0.2.1", "4h")
        made.ban("2001:db8::/32", "1h", origin="lists", scenario="firehol")
        yield made


FAULTS: dict[str, tuple[Fault, type[LapiError], str]] = {
    "reset in the body": (reset(), LapiUnreachable, "."),
    "closed without an answer": (hang_up(), LapiUnreachable, "disconnected"),
    "truncated JSON": (truncated(), LapiBadAnswer, "breaks off"),
    "garbage": (answer(b"<html>hello</html>"), LapiBadAnswer, "not a JSON object"),
    "empty": (answer(b""), LapiBadAnswer, "breaks off"),
    "another object": (answer(b'{"message":"hello"}'), LapiBadAnswer, "neither new nor deleted"),
    "compressed": (
        lambda handler: handler.answer(200, b"\x1f\x8b", {"Content-Encoding": "gzip"}),
        LapiBadAnswer,
        "gzip",
    ),
    "redirect": (redirect("http://evil.example/\x1b[2J"), LapiBadAnswer, "redirect"),
    "permanent redirect": (redirect("//evil.example/", 308), LapiBadAnswer, "evil.example"),
    "forbidden": (status(403, b'{"message":"access forbidden"}'), LapiRefused, "API error: access forbidden"),
    "unknown path": (
        status(404, b"page not found\n\x1b[31m"),
        LapiBadAnswer,
        r"404: 'page not found\\n\\x1b\[31m'",
    ),
    "server error": (status(500, b"x" * 100_000), LapiBadAnswer, "500: 'xxx"),
    "bad gateway": (status(502, b""), LapiBadAnswer, "502"),
    "no content": (status(204, b""), LapiBadAnswer, "204"),
    "hang": (hang(), LapiUnreachable, "no answer in time"),
    "dripping headers": (drip(0.05, head=False), LapiUnreachable, "no answer in time"),
    "dripping body": (drip(0.2), LapiUnreachable, "no answer in time"),
    "endless space": (endless(b" " * 100, b"", 10**9), LapiError, "."),
    "endless text": (endless(b"x" * 10_000, b'{"new":[{"value":"'), LapiBadAnswer, "longer than 1048576"),
    "endless nesting": (endless(b"[" * 10_000), LapiBadAnswer, "nested too deeply"),
    "gigabytes announced": (endless(length=2**31), LapiBadAnswer, "longer than"),
    "a body cut short": (endless(b"", b'{"new":[', 0, length=100), LapiUnreachable, "."),
}


@pytest.mark.parametrize("name", FAULTS)
def test_every_fault_is_a_lapi_error_and_heals(lapi: FakeLapi, name: str) -> None:
    """The poll fails in time, in words fit for the log, and the next answer is a snapshot where one is needed."""
    fault, kind, words = FAULTS[name]

    async def test() -> None:
        async with client(lapi.url, limits=HASTY) as made:
            await made.poll(startup=True)
            lapi.fault = fault
            began = time.monotonic()
            with pytest.raises(kind, match=words) as caught:
                await made.poll(startup=False)
            assert time.monotonic() - began < 4
            assert str(caught.value).isascii()
            assert str(caught.value).isprintable()
            assert "secret-key" not in str(caught.value)
            lapi.fault = None
            page = await made.poll(startup=False)
            # With a 500 the LAPI says itself that it got no answer ready, and its cursor stands where it stood.
            assert page.startup is (name != "server error")
            assert list(page.ids) == ([1, 2] if page.startup else [])

    run(test())


def test_what_comes_after_a_server_error_is_complete(lapi: FakeLapi) -> None:
    """What was decided while the LAPI's database failed comes with the next page, though it isn't one of everything."""

    async def test() -> None:
        async with client(lapi.url) as made:
            await made.poll(startup=True)
            number = lapi.ban("192.0.2.77")
            lapi.fault = status(500)
            for _ in range(3):
                with pytest.raises(LapiBadAnswer):
                    await made.poll(startup=False)
            lapi.fault = None
            page = await made.poll(startup=False)
            assert not page.startup
            assert list(page.ids) == [number]

    run(test())


def test_a_refused_connection_says_so(lapi: FakeLapi) -> None:
    """The message names the URL and the system's reason."""
    lapi.stop()

    async def test() -> None:
        async with client(lapi.url) as made:
            with pytest.raises(LapiUnreachable, match=f"{lapi.url}.*[Cc]onnect"):
                await made.poll(startup=True)
            lapi.start()
            assert (await made.poll(startup=True)).startup

    run(test())


def test_an_unknown_host_says_so() -> None:
    """A name that doesn't resolve is an outage like any other."""

    async def test() -> None:
        async with client("http://lapi.invalid:8080/") as made:
            with pytest.raises(LapiUnreachable, match=r"http://lapi\.invalid:8080/: "):
                await made.poll(startup=True)

    run(test())


def test_a_request_that_never_left_moves_no_cursor(lapi: FakeLapi) -> None:
    """After a refused connection the LAPI's cursor is known to stand, and a delta does."""

    async def test() -> None:
        async with client(lapi.url) as made:
            await made.poll(startup=True)
            lapi.stop()
            with pytest.raises(LapiUnreachable):
                await made.poll(startup=False)
            lapi.start()
            assert not (await made.poll(startup=False)).startup

    run(test())


def test_patience_with_slow_snapshots_grows(lapi: FakeLapi) -> None:
    """A LAPI that needs longer for its first byte than we wait is given more time on the next try."""
    limits = Limits(snapshot=0.2, longest_snapshot=2.0, connect=0.2)

    async def test() -> None:
        async with client(lapi.url, limits=limits) as made:
            lapi.fault = hang()
            waits = []
            for _ in range(3):
                began = time.monotonic()
                with pytest.raises(LapiUnreachable):
                    await made.poll(startup=True)
                waits.append(time.monotonic() - began)
            assert [wait >= least for wait, least in zip(waits, (0.19, 0.39, 0.79), strict=True)] == [
                True
            ] * 3
            assert waits[0] < 0.79

    run(test())


def test_a_slow_but_steady_body_is_read_to_its_end(lapi: FakeLapi) -> None:
    """The limit for a body grows with what has come."""
    lapi.page = static_page(hosts=2000)
    lapi.fault = drip(0.02, size=8192)

    async def test() -> None:
        async with client(lapi.url, limits=Limits(body=0.6, pace=50_000)) as made:
            assert len((await made.poll(startup=True)).ids) == 2000

    run(test())


def test_a_cancelled_poll_leaves_the_client_usable(lapi: FakeLapi) -> None:
    """After a poll was cancelled the next one works, and asks for everything."""

    async def test() -> None:
        async with client(lapi.url) as made:
            await made.poll(startup=True)
            lapi.fault = hang()
            with pytest.raises(TimeoutError):
                await asyncio.wait_for(made.poll(startup=False), 0.1)
            lapi.fault = None
            assert (await made.poll(startup=False)).startup

    run(test())


def test_polls_leave_no_trace_in_the_task_that_awaits_them(lapi: FakeLapi) -> None:
    """After good, slow and cancelled polls the caller's own timeouts still work."""

    async def test() -> None:
        async with client(lapi.url, limits=HASTY) as made:
            for fault in (None, hang(), None, drip(0.2), None):
                lapi.fault = fault
                with suppress(LapiUnreachable):
                    await made.poll(startup=False)
            task = asyncio.current_task()
            assert task is not None
            assert task.cancelling() == 0
            lapi.fault = hang()
            with pytest.raises(TimeoutError):
                async with asyncio.timeout(0.1):
                    await made.poll(startup=True)
            assert len(asyncio.all_tasks()) == 1

    run(test())
