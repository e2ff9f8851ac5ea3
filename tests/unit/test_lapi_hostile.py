"""A LAPI that means harm: memory and time stay bounded, and large honest answers are read smoothly."""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys
import time
from pathlib import Path

import pytest

from fwbouncer.errors import LapiBadAnswer, LapiError
from fwbouncer.lapi.client import Limits
from tests.fake_lapi import FakeLapi, Fault, answer, endless, static_page
from tests.unit.lapi_help import client, run

ROOT = Path(__file__).parents[2]
# Polls once in a process of its own and prints what came of it, and the most memory that it ever had, in MB.
ONE_POLL = """
import asyncio, re, sys
from pathlib import Path
from tests.unit.lapi_help import client
from fwbouncer.errors import LapiError
from fwbouncer.lapi.client import Limits

async def main():
    async with client(sys.argv[1], limits=Limits()) as made:
        try:
            page = await made.poll(startup=True)
            print(len(page.ids), len(page.ended))
        except LapiError as error:
            print(type(error).__name__, "-")
    print(int(re.search("VmHWM:\\s*(\\d+)", Path("/proc/self/status").read_text())[1]) // 1024)

asyncio.run(main())
"""


def poll_apart(url: str) -> tuple[str, int, float]:
    """Poll once in a new process; return what it said, its peak memory in MB, and the seconds it took."""
    began = time.monotonic()
    done = subprocess.run(
        [sys.executable, "-c", ONE_POLL, url], cwd=ROOT, check=True, capture_output=True, text=True
    )
    said, peak = done.stdout.splitlines()
    return said.split()[0], int(peak), time.monotonic() - began


ROWS = b"{},"
GIGABYTE: dict[str, Fault] = {
    "announced": endless(length=2**30 + 1),
    "one text": endless(b"x" * 65536, b'{"new":[{"value":"', 2**30),
    "one number": endless(b"1" * 65536, b'{"new":[{"id":', 2**30),
    "one nest": endless(b'{"a":[' * 10000, b'{"new":[', 2**30),
    "one key": endless(b"x" * 65536, b'{"', 2**30),
    "no JSON": endless(b"x" * 65536, b"", 2**30),
    "unknown list": endless(b"1," * 32768, b'{"x":[', 2**30),
    "an error's body": lambda handler: handler.answer(500, b"x" * 2**27),
}


@pytest.mark.parametrize("name", GIGABYTE)
def test_a_gigabyte_of_nonsense_ends_at_once(name: str) -> None:
    """Whatever fills the gigabyte, it is given up within seconds and never held."""
    with FakeLapi() as lapi:
        lapi.fault = GIGABYTE[name]
        said, peak, took = poll_apart(lapi.url)
    assert said == "LapiBadAnswer"
    assert peak < 100
    assert took < 10


def test_empty_decisions_without_end_are_bounded() -> None:
    """Millions of decisions with nothing in them end in a bad answer, too."""
    with FakeLapi() as lapi:
        lapi.fault = endless(ROWS * 20_000, b'{"new":[', 2**30)

        async def test() -> None:
            async with client(lapi.url, limits=Limits(size=1_000_000)) as made:
                with pytest.raises(LapiBadAnswer, match="longer than"):
                    await made.poll(startup=True)

        run(test())


def test_large_snapshots_take_little_memory() -> None:
    """300,000 decisions, 55 MB of JSON, need little more than the page that comes of them."""
    with FakeLapi() as lapi:
        lapi.page = static_page(hosts=300_000)
        said, peak, _ = poll_apart(lapi.url)
    assert said == "300000"
    assert peak < 150


def test_the_event_loop_runs_on_while_a_snapshot_is_read() -> None:
    """Others get their turn every few milliseconds, so the watchdog is fed."""

    async def test() -> None:
        with FakeLapi() as lapi:
            lapi.page = static_page(hosts=100_000)
            async with client(lapi.url) as made:
                await made.poll(startup=True)
                turns = 0

                async def others() -> None:
                    nonlocal turns
                    while True:
                        await asyncio.sleep(0)
                        turns += 1

                task = asyncio.create_task(others())
                await made.poll(startup=True)
                task.cancel()
                assert turns > 100_000 * 185 / 65536 / 2

    run(test())


@pytest.mark.parametrize(
    "raw",
    [
        b"",
        b"\0" * 1000,
        b"SSH-2.0-OpenSSH_9.2\r\n",
        b"HTTP/1.1 200 OK\r\n" + b"X: y\r\n" * 50_000 + b"\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: -5\r\n\r\n{}",
        b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\nContent-Length: 6\r\n\r\n{}",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nffffffffffffffffff\r\n{}",
        b"HTTP/1.1 200 OK\r\nContent-Length: " + b"9" * 5000 + b"\r\n\r\n",
        b"HTTP/1.1 99999 OK\r\n\r\n",
        b"HTTP/9.9 200 OK\r\n\r\n",
        b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: x\r\nConnection: upgrade\r\n\r\n",
        b"HTTP/1.1 100 Continue\r\n\r\n" * 1000,
        b"HTTP/1.1 200 OK\r\nContent-Encoding: \xff\xfe\r\nContent-Length: 2\r\n\r\n{}",
        b"HTTP/1.1 302 Found\r\nLocation: \xff\x01\r\nContent-Length: 0\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: \xb2\r\n\r\n{}",
    ],
)
def test_broken_http_is_a_lapi_error(raw: bytes) -> None:
    """Whatever comes back instead of HTTP, the poll ends as any failed poll."""

    def fault(handler: object) -> None:
        handler.wfile.write(raw)  # type: ignore[attr-defined]
        handler.wfile.flush()  # type: ignore[attr-defined]
        handler.cut(abruptly=False)  # type: ignore[attr-defined]

    async def test() -> None:
        with FakeLapi() as lapi:
            lapi.fault = fault
            async with client(lapi.url) as made:
                with pytest.raises(LapiError) as caught:
                    await made.poll(startup=True)
                assert str(caught.value).isascii()
                assert str(caught.value).isprintable()

    run(test())


def test_hostile_fields_come_out_counted_and_harmless() -> None:
    """Quotes, newlines, nft and shell syntax in every field: good bans go in, the others are counted."""
    evil = ['"; flush ruleset; "', "a\nb", "$(reboot)", "x" * 300, "{ 0.0.0.0/0 }", "\x1b[2J", "../../etc"]
    good = (
        b'{"id":%d,"value":"192.0.2.%d","duration":"1h","scope":"Ip","type":"ban","origin":%b,"scenario":%b}'
    )

    async def test() -> None:
        rows = [
            good % (number, number, json.dumps(text).encode(), json.dumps(text).encode())
            for number, text in enumerate(evil)
        ]
        with FakeLapi() as lapi:
            lapi.fault = answer(b'{"new":[%b],"deleted":null}' % b",".join(rows))
            async with client(lapi.url) as made:
                page = await made.poll(startup=True)
        assert len(page.ids) == len(evil)
        groups = {label.group for label in page.labels}
        assert len(groups) == len(evil)
        assert all(
            set(group) <= set("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_.-")
            for group in groups
        )

    run(test())
