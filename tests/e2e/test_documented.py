"""What the README and the manual tell people to type, typed beside a running daemon."""

from __future__ import annotations

from typing import TYPE_CHECKING

from fwbouncer.exits import NOT_BLOCKED
from tests.lab import witness
from tests.lab.documented import page_commands, readme_commands, written

if TYPE_CHECKING:
    from pathlib import Path

    from tests.conftest import MakeBouncer
    from tests.fake_lapi import FakeLapi
    from tests.lab.net import Network

# These only look, or ask the daemon for something.
HERE = {
    "status",
    "explain",
    "list",
    "top",
    "unblock",
    "doctor",
    "check-config",
    "-t",
    "-T",
    "-V",
    "--version",
}
# These become a daemon, change the host or build namespaces of their own; other tests run them, with care.
ELSEWHERE = {"run", "demo", "migrate", "install-service", "teardown"}


def _with_values(words: list[str]) -> list[str]:
    """Leave out which file is meant, and put an address in the place of the word for one."""
    at = words.index("-c") if "-c" in words else len(words)
    words = ["192.0.2.10" if word == "ADDRESS" else word for word in words[:at] + words[at + 2 :]]
    for flag in ("--every", "--count"):  # nobody waits for a minute here
        if flag in words:
            words[words.index(flag) + 1] = "1"
    return words


def test_every_documented_command_works(
    bouncer: MakeBouncer, fake_lapi: FakeLapi, net: Network, tmp_path: Path
) -> None:
    """Each command line in the README and in the manual does its work and ends with 0."""
    page = written("manual", tmp_path / "man") / "fwbouncer.8"
    fake_lapi.ban("192.0.2.10")
    running = bouncer(api_url=fake_lapi.url)
    running.start()
    typed = []
    for words in map(_with_values, (*page_commands(page), *readme_commands())):
        if not words or words[0] in ELSEWHERE:
            continue
        assert words[0] in HERE, f"{words}: to be run here, or in a test of its own"
        code, printed = running.attempt(*words)
        # What is unblocked is not blocked, and `explain` says so by its code, too.
        assert code == 0 or (words[0] == "explain" and code == NOT_BLOCKED), (words, printed)
        assert "Traceback" not in printed
        typed.append(words[0])
    assert {"status", "unblock", "doctor", "check-config", "-T"} <= set(typed)
    running.ask("teardown")
    assert witness.tables(net.mail) == set()
