"""What the log tells: an event for each ban, unban, reject, repair, cut and outage; and what the kernel logs."""

from __future__ import annotations

import json
import os
import socket
import time
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from tests.fake_lapi import answer, static_page
from tests.lab.net import HONEST, MAIL

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.conftest import MakeBouncer
    from tests.fake_lapi import FakeLapi
    from tests.lab.bouncer import Bouncer
    from tests.lab.net import Network
    from tests.lab.packets import Greeter, Probe

BANNED = "198.18.1.1"
# The kernel tells of packets in other network namespaces than the first only if it is asked to.
_EVERYWHERE = Path("/proc/sys/net/netfilter/nf_log_all_netns")


def _wait_event(running: Bouncer, event: str, **values: object) -> dict[str, Any]:
    """Return the first event of a kind with these values, once it is in the log."""
    deadline = time.monotonic() + 30
    while time.monotonic() < deadline:
        for line in running.log.splitlines():
            found = json.loads(line)
            if found.get("event") == event and all(found.get(key) == value for key, value in values.items()):
                assert isinstance(found, dict)
                return found
        time.sleep(0.05)
    raise AssertionError(f"no event {event} with {values} in:\n{running.log}")


def test_every_event_has_its_decision(
    bouncer: MakeBouncer, fake_lapi: FakeLapi, greeter: Greeter, net: Network
) -> None:
    """With log_format json whatever happens is an object, which names the decision that it is about."""
    running = bouncer(api_url=fake_lapi.url, log_format="json", log_level="info")
    running.start()
    with net.honest.inside():
        client = socket.create_connection((MAIL[4], 25), source_address=(HONEST[4], 0))
    with client:
        assert client.recv(100)
        number = fake_lapi.ban(HONEST[4], origin="crowdsec", scenario="crowdsecurity/ssh-bf")
        ban = _wait_event(running, "ban", decision=number)
        assert (ban["address"], ban["origin"], ban["level"]) == (HONEST[4], "crowdsec", "info")
        assert ban["until"].endswith("Z")
        cut = _wait_event(running, "cut")
        assert (cut["addresses"], cut["decisions"], cut["sessions"]) == (HONEST[4], str(number), 1)
    fake_lapi.unban(number)
    assert _wait_event(running, "unban", decision=number)["why"] == "ended"
    bad = fake_lapi.ban("127.0.0.1")
    assert "loopback" in _wait_event(running, "reject", decision=bad)["msg"]
    net.mail.run("nft", "flush", "ruleset")
    assert "nft" in _wait_event(running, "repair")["by"]
    fake_lapi.stop()
    assert _wait_event(running, "outage")["level"] == "error"
    with net.mail.inside():
        fake_lapi.start()
    _wait_event(running, "outage_over")


def test_a_large_page_is_a_few_lines(bouncer: MakeBouncer, fake_lapi: FakeLapi) -> None:
    """A thousand new decisions are one line, and one more is an event of its own, in text, too."""
    fake_lapi.faults.append(answer(static_page(1000)))
    fake_lapi.page = b'{"new":null,"deleted":null}'
    running = bouncer(api_url=fake_lapi.url, log_level="info")
    running.start()
    running.wait_log('msg="1000 decisions added" event=added count=1000')
    assert len(running.log.splitlines()) < 20
    new = json.dumps(
        {
            "id": 9999,
            "origin": "cscli",
            "scenario": "manual",
            "scope": "Ip",
            "type": "ban",
            "duration": "1h",
            "value": BANNED,
        }
    )
    fake_lapi.faults.append(answer(f'{{"new":[{new}],"deleted":null}}'.encode()))
    running.wait_log(f'msg="{BANNED} is banned" event=ban decision=9999 address={BANNED} origin=cscli', 30)
    running.wait_log('msg="1 decision added" event=added count=1')


@contextmanager
def _kernel_log() -> Iterator[int]:
    """Open the kernel's log at its end, with the lines of all namespaces."""
    before = _EVERYWHERE.read_text()
    _EVERYWHERE.write_text("1")
    log = os.open("/dev/kmsg", os.O_RDONLY | os.O_NONBLOCK)
    try:
        os.lseek(log, 0, os.SEEK_END)
        yield log
    finally:
        os.close(log)
        _EVERYWHERE.write_text(before)


def _lines(log: int, word: str) -> int:
    found = 0
    while True:
        try:
            found += word.encode() in os.read(log, 8192)
        except BlockingIOError:
            return found
        except BrokenPipeError:  # older lines were overwritten
            continue


@pytest.mark.parametrize("source", ["198.18.7.7", "2001:db8:ba0::7"])
def test_a_flood_is_logged_at_a_limited_rate(
    bouncer: MakeBouncer, fake_lapi: FakeLapi, probe: Probe, source: str
) -> None:
    """With deny_log the kernel names dropped packets with the prefix, and a flood doesn't fill its log."""
    fake_lapi.ban(source)
    prefix = f"fwb{os.getpid()}{source[-1:]}{len(source)}: "
    running = bouncer(api_url=fake_lapi.url, deny_log=True, deny_log_prefix=prefix)
    running.start()
    with _kernel_log() as log:
        began = time.monotonic()
        with probe.stream(source, every=0.0005) as stream:
            time.sleep(2)
        logged = _lines(log, prefix)
        spent = time.monotonic() - began
    assert not stream.arrived()
    assert 0 < logged <= 50 + 10 * (spent + 1)  # what may come at once, then ten a second
    assert logged < len(stream.packets) / 3
