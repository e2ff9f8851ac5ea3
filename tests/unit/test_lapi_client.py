"""The client against a real server: what it asks, and what it makes of every kind of answer."""

from __future__ import annotations

import asyncio
import time
from contextlib import suppress
from typing import TYPE_CHECKING, Any

import pytest

from fwbouncer.errors import ConfigError, LapiBadAnswer, LapiError, LapiRefused, LapiUnreachable
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
    from pathlib import Path


@pytest.fixture
def lapi() -> Iterator[FakeLapi]:
    """Start a LAPI with two bans."""
    with FakeLapi() as made:
        made.ban("192.0.2.1", "4h")
        made.ban("2001:db8::/32", "1h", origin="lists", scenario="firehol")
        yield made


def test_a_poll_asks_as_the_lapi_wants_it(lapi: FakeLapi) -> None:
    """Key, user agent and parameters are what the LAPI expects, with dedup always off."""

    async def test() -> None:
        async with client(lapi.url) as made:
            await made.poll(startup=True)
            await made.poll(startup=False)

    run(test())
    first, second = lapi.requests
    assert first.path == "/v1/decisions/stream"
    assert first.params == {"startup": "true", "dedup": "false", "scopes": "ip,range"}
    assert second.params["startup"] == "false"
    assert first.headers["x-api-key"] == "secret-key"
    assert first.headers["user-agent"].startswith("crowdsec-firewall-bouncer/fwbouncer-")
    assert first.headers["user-agent"].count("/") == 1
    assert first.headers["accept-encoding"] == "identity"
    assert first.headers["host"] == f"127.0.0.1:{lapi.port}"


def test_filters_are_passed_on(lapi: FakeLapi) -> None:
    """What the configuration filters by is asked of the LAPI, joined by commas."""

    async def test() -> None:
        filters: dict[str, Any] = {
            "scopes": ("ip",),
            "origins": ("cscli", "lists"),
            "scenarios_containing": ("ssh", "smtp"),
            "scenarios_not_containing": ("http",),
        }
        async with client(lapi.url, **filters) as made:
            await made.poll(startup=True)

    run(test())
    params = lapi.requests[0].params
    assert params["scopes"] == "ip"
    assert params["origins"] == "cscli,lists"
    assert params["scenarios_containing"] == "ssh,smtp"
    assert params["scenarios_not_containing"] == "http"


def test_pages_carry_what_the_lapi_holds_and_what_changed(lapi: FakeLapi) -> None:
    """A snapshot has all bans, a delta has the changes since."""

    async def test() -> None:
        async with client(lapi.url, clock=lambda: 1000) as made:
            everything = await made.poll(startup=True)
            lapi.unban(1)
            third = lapi.ban("203.0.113.9", "1h")
            changes = await made.poll(startup=False)
            assert everything.startup
            assert list(everything.ids) == [1, 2]
            assert [label.group for label in everything.labels] == ["cscli", "lists-firehol"]
            assert everything.deadlines[1] == pytest.approx(1000 + 3_600_000, abs=2000)
            assert not changes.startup
            assert list(changes.ids) == [third]
            assert list(changes.ended) == [1]

    run(test())


def test_the_first_poll_is_a_snapshot_whoever_asks(lapi: FakeLapi) -> None:
    """Without a page to build on, a delta is not asked for."""

    async def test() -> None:
        async with client(lapi.url) as made:
            page = await made.poll(startup=False)
            assert page.startup

    run(test())
    assert lapi.requests[0].params["startup"] == "true"


def test_one_connection_serves_all_polls(lapi: FakeLapi) -> None:
    """The connection is kept between polls."""

    async def test() -> None:
        async with client(lapi.url) as made:
            for _ in range(5):
                await made.poll(startup=False)

    run(test())
    assert len({request.connection for request in lapi.requests}) == 1


def test_a_connection_closed_while_idle_is_no_outage(lapi: FakeLapi) -> None:
    """The LAPI may close a kept connection between polls; the next poll goes on where it was."""

    async def test() -> None:
        async with client(lapi.url) as made:
            await made.poll(startup=False)
            lapi.drop_connections()
            await asyncio.sleep(0.1)
            page = await made.poll(startup=False)
            assert not page.startup
            assert made.failures == 0

    run(test())


def test_a_connection_closed_as_it_is_used_costs_a_snapshot(lapi: FakeLapi) -> None:
    """The LAPI may have read the request and moved its cursor: the silent second try asks for everything."""

    async def test() -> None:
        async with client(lapi.url) as made:
            await made.poll(startup=True)
            lapi.faults.append(hang_up())
            page = await made.poll(startup=False)
            assert page.startup
            assert made.failures == 0

    run(test())
    assert [request.params["startup"] for request in lapi.requests] == ["true", "false", "true"]


def test_a_new_connection_that_breaks_is_an_outage(lapi: FakeLapi) -> None:
    """There is no second try where the connection was fresh, nor after the second try."""
    lapi.fault = hang_up()

    async def test() -> None:
        async with client(lapi.url) as made:
            with pytest.raises(LapiUnreachable):
                await made.poll(startup=True)
            assert len(lapi.requests) == 1
            lapi.fault = None
            await made.poll(startup=True)
            lapi.fault = hang_up()
            with pytest.raises(LapiUnreachable):
                await made.poll(startup=False)
            assert len(lapi.requests) == 4
            assert made.failures == 2

    run(test())


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
    "endless text": (endless(b"x" * 10_000, b'{"new":[{"value":"'), LapiBadAnswer, "longer than 65536"),
    "endless nesting": (endless(b"[" * 10_000), LapiBadAnswer, "nested too deeply"),
    "gigabytes announced": (endless(length=2**31), LapiBadAnswer, "longer than"),
    "a body cut short": (endless(b"", b'{"new":[', 0, length=100), LapiUnreachable, "."),
}


@pytest.mark.parametrize("name", FAULTS)
def test_every_fault_is_a_lapi_error_and_heals(lapi: FakeLapi, name: str) -> None:
    """The poll fails in time, in words fit for the log, and the next answer is a snapshot."""
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
            assert page.startup
            assert list(page.ids) == [1, 2]

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
        async with client(lapi.url, limits=Limits(body=0.3, pace=200_000)) as made:
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


def test_nothing_is_sent_to_a_redirect_target(lapi: FakeLapi) -> None:
    """A redirect to another server leads no request, and so no key, there."""

    async def test() -> None:
        with FakeLapi() as other:
            lapi.fault = redirect(f"{other.url}v1/decisions/stream")
            async with client(lapi.url) as made:
                with pytest.raises(LapiBadAnswer):
                    await made.poll(startup=True)
            assert not other.requests

    run(test())


def test_proxies_of_the_environment_are_not_used(lapi: FakeLapi, monkeypatch: pytest.MonkeyPatch) -> None:
    """What http_proxy says doesn't concern us."""
    for name in ("http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY"):
        monkeypatch.setenv(name, "http://127.0.0.1:9/")

    async def test() -> None:
        async with client(lapi.url) as made:
            await made.poll(startup=True)

    run(test())
    assert len(lapi.requests) == 1


@pytest.mark.parametrize("form", ["{}", "{}/", "unix://{}"])
def test_unix_sockets_work(tmp_path: Path, form: str) -> None:
    """The socket's path, with or without a slash behind it, is a URL, and so is unix://."""
    path = tmp_path / "lapi.sock"

    async def test() -> None:
        with FakeLapi(socket=path) as lapi:
            lapi.ban("192.0.2.1")
            async with client(form.format(path)) as made:
                assert made.url == str(path)
                assert list((await made.poll(startup=True)).ids) == [1]
                await made.poll(startup=False)
                assert len({request.connection for request in lapi.requests}) == 1
                lapi.stop()
                with pytest.raises(LapiUnreachable, match=r"lapi\.sock: "):
                    await made.poll(startup=False)

    run(test())


def test_a_url_may_have_a_path_and_a_login(lapi: FakeLapi) -> None:
    """A proxy in front of the LAPI may want both; the password is not shown."""

    async def test() -> None:
        url = lapi.url.replace("http://", "http://user:p%40ss@") + "crowdsec/"
        async with client(url) as made:
            assert made.url == f"{lapi.url}crowdsec/"
            with pytest.raises(LapiBadAnswer, match="404"):
                await made.poll(startup=True)

    run(test())
    assert lapi.requests[0].path == "/crowdsec/v1/decisions/stream"
    assert lapi.requests[0].headers["authorization"] == "Basic dXNlcjpwQHNz"


@pytest.mark.parametrize(
    "url", ["", "localhost:8080", "ftp://x/", "http://", "http://[::1/", "http://x:99999/", "lapi.sock"]
)
def test_what_is_no_url_is_a_mistake_of_the_configuration(url: str) -> None:
    """It is found before anything is asked."""

    async def test() -> None:
        async with client(url):
            pass

    with pytest.raises(ConfigError):
        run(test())


@pytest.mark.parametrize("key", ["line\nbreak", "ключ", "a\0b"])
def test_an_impossible_key_is_found_and_not_shown(key: str) -> None:
    """A key that can't be sent is refused at once, in words that don't have it in them."""

    async def test() -> None:
        async with client("http://127.0.0.1:1/", key=key):
            pass

    with pytest.raises(ConfigError) as caught:
        run(test())
    assert key not in str(caught.value)
