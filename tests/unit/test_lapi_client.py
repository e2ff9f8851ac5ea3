"""The client against a real server: what it asks, where, and how it keeps its place."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import pytest

from fwbouncer.errors import ConfigError, LapiBadAnswer, LapiUnreachable
from tests.fake_lapi import (
    FakeLapi,
    hang_up,
    redirect,
)
from tests.unit.lapi_help import client, run

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
