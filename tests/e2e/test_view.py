"""The commands that show what is going on, beside a daemon with no, one and many decisions."""

from __future__ import annotations

import json
import socket
import subprocess
from typing import TYPE_CHECKING, Any

import pytest

from tests.fake_lapi import answer, static_page
from tests.lab.crowdsec import CHECKOUT
from tests.lab.net import HONEST, MAIL

if TYPE_CHECKING:
    from tests.conftest import MakeBouncer
    from tests.fake_lapi import FakeLapi
    from tests.lab.bouncer import Bouncer
    from tests.lab.net import Network
    from tests.lab.packets import Greeter, Probe

NOTHING = b'{"new":null,"deleted":null}'
BANNED, SPARED = "198.18.1.1", "198.18.9.0/24"


@pytest.fixture(params=[0, 1, 100_000])
def loaded(request: pytest.FixtureRequest, bouncer: MakeBouncer, fake_lapi: FakeLapi) -> tuple[Bouncer, int]:
    """Run it with so many decisions, and return how many they are."""
    size: int = request.param
    if size == 1:
        fake_lapi.ban(BANNED)
    else:
        fake_lapi.faults.append(answer(static_page(size - size // 100, size // 200, size // 200)))
        fake_lapi.page = NOTHING
    running = bouncer(api_url=fake_lapi.url, log_level="info", update_frequency="1s", never_block=[SPARED])
    running.start()
    return running, size


@pytest.fixture
def small(bouncer: MakeBouncer, fake_lapi: FakeLapi) -> Bouncer:
    """Run it with a handful of decisions that overlap."""
    fake_lapi.ban(BANNED, origin="crowdsec", scenario="crowdsecurity/ssh-bf")
    fake_lapi.ban(BANNED, "30m", origin="cscli", scenario="manual")
    fake_lapi.ban("198.18.0.0/16", origin="CAPI", scenario="http:scan", scope="Range")
    fake_lapi.ban(
        "2001:db8:ba0::/64", "24h", origin="crowdsec", scenario="crowdsecurity/ssh-slow-bf", scope="Range"
    )
    running = bouncer(api_url=fake_lapi.url, never_block=[SPARED])
    running.start()
    return running


def _told(running: Bouncer, *words: str) -> Any:
    return json.loads(running.attempt(*words, "--json")[1])


def _rows(running: Bouncer, *words: str) -> list[dict[str, Any]]:
    return [json.loads(line) for line in running.ask("list", "--json", *words).splitlines()]


def test_every_command_answers(loaded: tuple[Bouncer, int]) -> None:
    """With no, one and 100,000 decisions each command says what is so."""
    running, size = loaded
    status = running.status()
    assert status["decisions"]["total"] == size
    assert status["kernel"]["settled"]
    assert status["loading"] is None
    assert sum(status["decisions"]["by_type"].values()) == size
    assert len(running.ask("list").splitlines()) == size
    rows = _rows(running)
    assert len({row["id"] for row in rows}) == size
    assert _rows(running, "--scenario", "no such") == []
    assert len(_rows(running, "--limit", "7")) == min(7, size)
    assert running.attempt("explain", "203.0.113.99")[0] == 4
    for row in (*rows[:1], *rows[-1:]):
        code, printed = running.attempt("explain", row["value"])
        assert (code, printed.splitlines()[0]) == (0, f"{row['value']} is blocked")
    assert running.attempt("explain", "0.0.0.0/0")[0] == (5 if size else 4)
    assert "everything seen" in running.ask("top", "--once", "--every", "0.1")
    assert "passes for 5 min" in running.ask("unblock", BANNED, "--for", "5m")
    assert running.ask("unblock", "--list").startswith(BANNED)


def test_explain_tells_every_decision(small: Bouncer) -> None:
    """All decisions that ban an address are told, and the sets and rules of the kernel that hold it."""
    code, printed = small.attempt("explain", BANNED)
    assert code == 0
    for words in (
        "1 on 198.18.1.1 by crowdsec: crowdsecurity/ssh-bf (ban)",
        "2 on 198.18.1.1 by cscli: manual (ban)",
        "3 on 198.18.0.0/16 by CAPI: http:scan",
        "ip crowdsec crowdsec-blacklists-crowdsec holds it, for 3 h 59 min still",
        "ip crowdsec crowdsec-blacklists-CAPI-ranges holds it",
        "used by crowdsec-chain-input: banned by CAPI",
    ):
        assert words in printed
    told = _told(small, "explain", BANNED)
    assert told["verdict"] == "blocked"
    assert [row["id"] for row in told["decisions"]] == [2, 1, 3]
    assert told["difference"] is None


def test_explain_knows_who_is_spared(small: Bouncer, probe: Probe) -> None:
    """A carve-out and an unblocked address are not blocked, and the page says why; packets agree."""
    code, printed = small.attempt("explain", "198.18.9.9")
    assert (code, probe.passes("198.18.9.9")) == (4, True)
    assert "198.18.9.0/24 is never blocked: listed" in printed
    small.ask("unblock", BANNED, "--for", "30m")
    code, printed = small.attempt("explain", BANNED)
    assert (code, probe.passes(BANNED)) == (4, True)
    assert "198.18.1.1 is never blocked: unblocked, for 29 min" in printed
    small.ask("unblock", "--cancel", BANNED)
    assert (small.attempt("explain", BANNED)[0], probe.passes(BANNED)) == (0, False)


def test_explain_a_range(small: Bouncer) -> None:
    """Of a range it is told how much of it is blocked, and by whom."""
    told = _told(small, "explain", "198.18.0.0/15")
    assert told["verdict"] == "partly blocked"
    assert told["addresses"] == {"total": 2**17, "banned": 2**16 - 256}
    assert told["by_origin"] == {"crowdsec": 1, "cscli": 1, "CAPI": 1}
    assert small.attempt("explain", "198.18.4.0/24")[0] == 0
    assert small.attempt("explain", "198.18.9.0/25")[0] == 4
    assert small.attempt("explain", "2001:db8:ba0::/65")[0] == 0
    assert small.attempt("explain", "198.18.0.7/15")[0] == 2  # an address inside a network: said, not guessed


@pytest.mark.parametrize(
    ("words", "ids"),
    [
        ((), [1, 2, 3, 4]),
        (("--origin", "cs*"), [2]),
        (("--origin", "capi"), [3]),
        (("--scenario", "*SSH*"), [1, 4]),
        (("--type", "captcha"), []),
        (("-6",), [4]),
        (("--range", "198.18.1.0/24"), [1, 2, 3]),
        (("--expiring-within", "1h"), [2]),
        (("--sort", "left"), [2, 1, 3, 4]),
        (("--sort", "left", "--limit", "1"), [2]),
        (("--sort", "value"), [3, 1, 2, 4]),
    ],
)
def test_list_filters(small: Bouncer, words: tuple[str, ...], ids: list[int]) -> None:
    """A list holds what was asked for, and nothing else."""
    found = [row["id"] for row in _rows(small, *words)]
    assert (found if "--sort" in words else sorted(found)) == ids


def test_top_counts_packets(small: Bouncer, probe: Probe) -> None:
    """Packets that are dropped show as so many a second of their origin."""
    with (
        small.host.start(
            "env",
            f"PYTHONPATH={CHECKOUT}",
            *small.command("top", "--json", "--every", "1", "--count", "3"),
            stdout=subprocess.PIPE,
        ) as process,
        probe.stream("198.18.4.4", every=0.01),
    ):
        printed, _ = process.communicate(timeout=60)
    rates = [json.loads(line)["dropped"]["CAPI"]["packets_per_second"] for line in printed.splitlines()]
    assert len(rates) == 3
    assert max(rates) > 10


def test_hostile_words_are_harmless(bouncer: MakeBouncer, fake_lapi: FakeLapi) -> None:
    """Whatever an origin or a scenario is made of, no command prints what a terminal would obey."""
    nasty = 'x\x1b[2J\x1b]0;owned\x07\n"quoted" \u202e\udcff'
    fake_lapi.ban(BANNED, origin=nasty, scenario=nasty)
    running = bouncer(api_url=fake_lapi.url)
    running.start()
    for words in (("status",), ("explain", BANNED), ("list",), ("top", "--every", "0.1", "--count", "1")):
        for more in ((), ("--json",)):
            code, printed = running.attempt(*words, *more)
            assert code == 0
            assert all(char.isprintable() or char == "\n" for char in printed), printed
    assert "\x1b" not in running.log


@pytest.mark.parametrize("loaded", [100_000], indirect=True)
def test_a_list_may_be_left(loaded: tuple[Bouncer, int]) -> None:
    """`list | head` ends at once and without a word of complaint."""
    running, _ = loaded
    words = " ".join(running.command("list"))
    code, printed = _shell(running, f"{words} | head -n 3; echo done")
    assert code == 0
    assert len(printed.splitlines()) == 4
    assert "Traceback" not in printed
    assert running.running()


def _shell(running: Bouncer, script: str) -> tuple[int, str]:
    done = running.host.start(
        "sh", "-c", script, env={"PYTHONPATH": str(CHECKOUT), "PATH": "/usr/bin:/bin"},
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
    )  # fmt: skip
    with done:
        printed, _ = done.communicate(timeout=60)
    return done.returncode, printed.decode()


def test_explain_tells_policy_and_ports(bouncer: MakeBouncer, fake_lapi: FakeLapi) -> None:
    """Where a ban closes some ports alone, the page says which, and by which policy."""
    fake_lapi.ban(BANNED, scenario="crowdsecurity/postfix-spam")
    policy = {"name": "smtp", "scenario": "*spam*", "ports": [25, 587]}
    running = bouncer(api_url=fake_lapi.url, policies=[policy])
    running.start()
    code, printed = running.attempt("explain", BANNED)
    assert code == 0
    assert f"{BANNED} is blocked, on ports 25, 587" in printed
    assert "policy smtp: ports 25, 587, DROP" in printed
    assert "banned by cscli/smtp" in printed
    assert _rows(running)[0]["policy"] == "smtp"


def test_explain_counts_sessions(small: Bouncer, greeter: Greeter, net: Network) -> None:
    """Open connections of a peer are told, of a network's peers too."""
    with net.honest.inside():
        client = socket.create_connection((MAIL[4], 25), source_address=(HONEST[4], 0))
    with client:
        assert client.recv(100)
        assert _told(small, "explain", HONEST[4])["sessions"] == 1
        assert _told(small, "explain", "203.0.113.0/24")["sessions"] == 1
        assert _told(small, "explain", BANNED)["sessions"] == 0
