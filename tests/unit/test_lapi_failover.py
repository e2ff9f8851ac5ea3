"""Several LAPIs: the first that answers, in order, and back."""

from __future__ import annotations

import pytest

from fwbouncer.errors import LapiBadAnswer, LapiRefused, LapiUnreachable
from fwbouncer.lapi.failover import LOOK_BACK
from tests.fake_lapi import FakeLapi, hang_up, status
from tests.unit.lapi_help import client, run


class Clock:
    """A clock that is set by hand."""

    def __init__(self) -> None:
        self.now = 0

    def __call__(self) -> int:
        """Tell the time."""
        return self.now


def test_the_next_one_serves_until_the_first_is_back() -> None:
    """Each change of the LAPI brings a snapshot, since each has a cursor of its own."""

    async def test() -> None:
        clock = Clock()
        with FakeLapi() as first, FakeLapi() as second:
            async with client(first.url, second.url, clock=clock) as made:
                assert (await made.poll(startup=True)).startup
                assert not (await made.poll(startup=False)).startup
                first.stop()
                assert (await made.poll(startup=False)).startup
                assert made.url == second.url
                assert not (await made.poll(startup=False)).startup
                first.start()
                assert not (await made.poll(startup=False)).startup
                clock.now += LOOK_BACK
                assert (await made.poll(startup=False)).startup
                assert made.url == first.url
                assert not second.faults

    run(test())


def test_looking_back_in_vain_costs_no_snapshot() -> None:
    """While the first one's port is closed, trying it now and then leaves the second one's deltas alone."""

    async def test() -> None:
        clock = Clock()
        with FakeLapi() as first, FakeLapi() as second:
            first.stop()
            async with client(first.url, second.url, clock=clock) as made:
                await made.poll(startup=True)
                for _ in range(3):
                    clock.now += LOOK_BACK
                    assert not (await made.poll(startup=False)).startup
                assert made.failures == 4

    run(test())


def test_a_first_one_that_took_the_request_casts_doubt_on_the_cursor() -> None:
    """Two LAPIs on one database share a cursor: what broke at one makes the other's next page whole."""

    async def test() -> None:
        clock = Clock()
        with FakeLapi() as first, FakeLapi() as second:
            first.fault = hang_up()
            async with client(first.url, second.url, clock=clock) as made:
                await made.poll(startup=True)
                clock.now += LOOK_BACK
                assert (await made.poll(startup=False)).startup

    run(test())


def test_when_none_answers_all_are_named() -> None:
    """The error has a line for each; it is a refusal only if all refuse."""

    async def test() -> None:
        with FakeLapi() as first, FakeLapi() as second:
            first.fault, second.fault = status(403), status(500)
            async with client(first.url, second.url) as made:
                with pytest.raises(LapiBadAnswer) as caught:
                    await made.poll(startup=True)
                assert len(str(caught.value).split("\n")) == 2
                second.fault = status(403)
                with pytest.raises(LapiRefused):
                    await made.poll(startup=True)
                second.stop()
                with pytest.raises(LapiUnreachable):
                    await made.poll(startup=True)

    run(test())
