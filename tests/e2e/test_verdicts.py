"""What a banned client sees, what the kernel writes down, and where the chains stand."""

from __future__ import annotations

import re
import subprocess
import time
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests.lab.packets import dial, icmp_answer

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.conftest import MakeBouncer
    from tests.lab.crowdsec import CrowdSec
    from tests.lab.net import Network
    from tests.lab.packets import Greeter, Probe

BANNED = {4: "198.18.1.1", 6: "2001:db8:bad::1"}


def ban_both(lapi: CrowdSec) -> None:
    """Ban one address of each family."""
    for source in BANNED.values():
        lapi.ban(source)


def test_reject_resets_tcp_and_names_the_reason(
    bouncer: MakeBouncer, lapi: CrowdSec, net: Network, probe: Probe, greeter: Greeter
) -> None:
    """With REJECT a banned client's TCP ends at once with a reset, and all else with the right ICMP code."""
    ban_both(lapi)
    bouncer(deny_action="REJECT").start()
    for source in BANNED.values():
        assert dial(net.attacker, source) == "refused"
    assert icmp_answer(net.attacker, BANNED[4]) == (3, 13), "destination unreachable, prohibited by a filter"
    assert icmp_answer(net.attacker, BANNED[6], version=6) == (1, 1), "the same in ICMPv6"


def test_drop_answers_nothing(
    bouncer: MakeBouncer, lapi: CrowdSec, net: Network, probe: Probe, greeter: Greeter
) -> None:
    """With DROP a banned client hears nothing at all."""
    ban_both(lapi)
    bouncer().start()
    for version, source in BANNED.items():
        assert dial(net.attacker, source, timeout=0.3) == "timeout"
        assert icmp_answer(net.attacker, source, 0.3, version=version) is None


@pytest.fixture
def kernel_log() -> Iterator[None]:
    """Let namespaces write to the kernel's log while a test runs."""
    switch = Path("/proc/sys/net/netfilter/nf_log_all_netns")
    if not switch.exists():
        pytest.fail("this kernel has no log for namespaces")
    before = switch.read_text()
    switch.write_text("1")
    yield
    switch.write_text(before)


def kernel_lines(prefix: str) -> list[str]:
    """Return the kernel log's lines with a prefix."""
    log = subprocess.run(["dmesg"], capture_output=True, text=True, check=True).stdout
    return [line for line in log.splitlines() if prefix in line]


@pytest.mark.parametrize("action", ["DROP", "REJECT"])
def test_a_flood_does_not_fill_the_log(
    bouncer: MakeBouncer, lapi: CrowdSec, probe: Probe, kernel_log: None, action: str
) -> None:
    """deny_log writes a banned peer's packets down under the chosen prefix, at a limited rate."""
    prefix = f"fwbouncer-test-{time.monotonic_ns()}: "
    lapi.ban(BANNED[4])
    bouncer(deny_log=True, deny_log_prefix=prefix, deny_action=action).start()
    with probe.stream(BANNED[4]) as stream:
        time.sleep(1.5)
    lines = kernel_lines(prefix)
    assert stream.arrived() == 0
    assert len(stream.packets) > 1000
    assert 10 <= len(lines) <= 100
    assert f"SRC={BANNED[4]}" in lines[0]


def test_chains_stand_where_they_are_told(bouncer: MakeBouncer, lapi: CrowdSec, probe: Probe) -> None:
    """Hooks and priorities of the configuration are those of the chains, and a ban bites there too."""
    lapi.ban(BANNED[4])
    running = bouncer(nftables_hooks=["prerouting"], nftables={"ipv4": {"priority": -150}})
    running.start()
    table = running.host.run("nft", "-nn", "list", "table", "ip", "crowdsec")
    assert re.search(
        r"chain crowdsec-chain-prerouting \{\s+type filter hook prerouting priority -150;", table
    )
    assert not probe.passes(BANNED[4])


def test_counters_count(bouncer: MakeBouncer, lapi: CrowdSec, probe: Probe) -> None:
    """The named counters say how many packets were seen and how many each origin's bans cost."""
    lapi.ban(BANNED[4])
    running = bouncer()
    running.start()
    probe.arriving([BANNED[4]] * 5 + ["198.18.1.2"] * 3)
    table = running.host.run("nft", "list", "table", "ip", "crowdsec")
    dropped = re.search(r"counter crowdsec-blacklists-cscli \{\s+packets (\d+)", table)
    seen = re.search(r"counter processed \{\s+packets (\d+)", table)
    assert dropped
    assert int(dropped[1]) == 5
    assert seen
    assert int(seen[1]) >= 8


def test_a_mode_that_writes_nothing(bouncer: MakeBouncer, lapi: CrowdSec, probe: Probe) -> None:
    """dry-run follows the LAPI and leaves the kernel alone."""
    lapi.ban(BANNED[4])
    running = bouncer(mode="dry-run")
    running.start()
    time.sleep(0.5)
    assert probe.passes(BANNED[4])
    assert running.host.run("nft", "list", "ruleset") == ""
