"""The doctor on real hosts: what is wrong is found, what it says to do mends it, and it changes nothing itself."""

from __future__ import annotations

import json
import os
import shlex
import shutil
import signal
import time
from typing import TYPE_CHECKING, Any

from tests.lab import witness
from tests.lab.crowdsec import CHECKOUT, KEY, URL

if TYPE_CHECKING:
    from pathlib import Path

    from tests.conftest import MakeBouncer
    from tests.fake_lapi import FakeLapi
    from tests.lab.bouncer import Bouncer
    from tests.lab.crowdsec import CrowdSec
    from tests.lab.manager import Manager
    from tests.lab.net import Host, Network
    from tests.lab.packets import Probe


def look(running: Bouncer, expected: int | None = None) -> dict[str, dict[str, Any]]:
    """Run the doctor; return its findings by id, those that something is wrong with alone."""
    code, printed = running.attempt("doctor", "--json")
    told = json.loads(printed)
    found = {f["id"]: f for f in told["findings"] if f["severity"] in ("problem", "warning")}
    assert code == (1 if any(f["severity"] == "problem" for f in found.values()) else 0), printed
    assert expected is None or code == expected, printed
    return found


def mend(host: Host, finding: dict[str, Any]) -> None:
    """Do what a finding says, as a root shell would."""
    for command in finding["mend"]:
        host.run("sh", "-ec", command)


def test_all_is_well(bouncer: MakeBouncer, manager: Manager, lapi: CrowdSec, net: Network) -> None:
    """On a host where all is well the doctor finds nothing, for people and programs alike, and touches nothing."""
    lapi.ban("198.18.1.1")
    running = bouncer(manager)
    running.start()
    before = witness.generation(net.mail)
    assert look(running, 0) == {}
    code, page = running.attempt("doctor")
    assert code == 0
    assert "knows fwbouncer" in page
    assert "problem" not in page
    assert KEY not in page
    assert witness.generation(net.mail) == before


def test_the_doctor_takes_no_decision_from_the_daemon(
    bouncer: MakeBouncer, lapi: CrowdSec, probe: Probe
) -> None:
    """What the doctor asks of the LAPI leaves the daemon's cursor alone: the next ban arrives."""
    running = bouncer(update_frequency="1s")
    running.start()
    lapi.ban("198.18.1.1")
    running.ask("doctor")
    deadline = time.monotonic() + 30
    while probe.passes("198.18.1.1"):
        assert time.monotonic() < deadline


def test_no_daemon(bouncer: MakeBouncer, fake_lapi: FakeLapi) -> None:
    """Without a daemon that is the problem, and the rest is looked at all the same."""
    found = look(bouncer(api_url=fake_lapi.url), 1)
    assert set(found) == {"service.stopped"}


def test_a_daemon_that_hangs(bouncer: MakeBouncer, fake_lapi: FakeLapi) -> None:
    """A daemon that is alive and says nothing is told from one that is not there."""
    running = bouncer(api_url=fake_lapi.url)
    running.start()
    running.signal(signal.SIGSTOP)
    try:
        assert set(look(running, 1)) == {"service.silent"}
    finally:
        running.signal(signal.SIGCONT)


def test_no_lapi_and_one_that_refuses(bouncer: MakeBouncer, lapi: CrowdSec) -> None:
    """A LAPI that is down, and one that doesn't know the key, are two different problems."""
    running = bouncer()
    running.start()
    lapi.refuse()
    assert "lapi.refused" in look(running, 1)
    lapi.stop()
    assert "refused" in look(running, 1)["lapi.unreachable"]["what"]


def test_the_configuration_is_wrong(bouncer: MakeBouncer, fake_lapi: FakeLapi) -> None:
    """Each mistake is told with its line while the daemon runs on with what it was started with."""
    running = bouncer(api_url=fake_lapi.url)
    running.start()
    with running.config.open("a") as config:
        config.write("denny_log: true\n")
    finding = look(running, 1)["config.wrong"]
    assert "denny_log" in finding["what"]
    assert "deny_log" in finding["what"]


def test_the_incumbent_runs_here(
    bouncer: MakeBouncer, fake_lapi: FakeLapi, net: Network, tmp_path: Path
) -> None:
    """The incumbent is found where it works on the same network, and only there."""
    program = tmp_path / "crowdsec-firewall-bouncer"
    shutil.copy("/bin/sleep", program)
    running = bouncer(api_url=fake_lapi.url)
    running.start()
    with net.attacker.start(str(program), "60") as elsewhere:
        assert look(running, 0) == {}
        elsewhere.kill()
    with net.mail.start(str(program), "60") as here:
        try:
            finding = look(running, 1)["incumbent.running"]
            assert finding["mend"] == [f"kill {here.pid}"]
            mend(net.mail, finding)
            here.wait(30)
        finally:
            here.kill()
    assert look(running, 0) == {}


def test_what_another_bouncer_left(bouncer: MakeBouncer, fake_lapi: FakeLapi, net: Network) -> None:
    """Tables, rules and sets that another bouncer left are found, and gone after what the doctor says to do."""
    net.mail.run("nft", "-f", "-", text="""
        table ip crowdsec { set crowdsec-blacklists-CAPI { type ipv4_addr; flags timeout; }; }
        table inet admins { chain in { type filter hook input priority 0; tcp dport 25 accept; }; }
    """)  # fmt: skip
    for command in (
        "ipset create crowdsec-blacklists-0 hash:net timeout 100",
        "iptables -N CROWDSEC_CHAIN",
        "iptables -A CROWDSEC_CHAIN -m set --match-set crowdsec-blacklists-0 src -j DROP",
        "iptables -I INPUT -j CROWDSEC_CHAIN",
    ):
        net.mail.run(*shlex.split(command))
    running = bouncer(api_url=fake_lapi.url, nftables={"ipv4": {"table": "bans"}, "ipv6": {"table": "bans6"}})
    running.start()
    found = look(running, 0)
    assert set(found) == {"incumbent.table", "incumbent.rules", "incumbent.sets"}
    for id_ in ("incumbent.table", "incumbent.rules"):
        mend(net.mail, found[id_])
    time.sleep(0.5)  # iptables-nft lets go of a set a moment after its rule is gone
    mend(net.mail, found["incumbent.sets"])
    assert look(running, 0) == {}
    assert ("inet", "admins") in witness.tables(net.mail)


def test_a_set_that_nobody_asks(
    bouncer: MakeBouncer, fake_lapi: FakeLapi, net: Network, probe: Probe
) -> None:
    """In mode set-only a set without a rule is a problem; the rule that the doctor names closes the host."""
    net.mail.run("nft", "-f", "-", text="""
        table ip crowdsec {
            set crowdsec-blacklists { type ipv4_addr; flags interval, timeout; }
            chain input { type filter hook input priority 0; tcp dport 25 accept; }
        }
    """)  # fmt: skip
    fake_lapi.ban("198.18.1.1", "4h")
    running = bouncer(api_url=fake_lapi.url, mode="set-only", disable_ipv6=True)
    running.start()
    assert probe.passes("198.18.1.1")
    finding = look(running, 1)["order.unused-set"]
    mend(net.mail, finding)
    assert not probe.passes("198.18.1.1")
    assert look(running, 0) == {}
    net.mail.run("nft", "insert", "rule", "ip", "crowdsec", "input", "tcp", "dport", "25", "accept")
    assert "accept packets before" in look(running, 0)["order.accepted-first"]["what"]


def test_accepted_ahead_of_the_bans(
    bouncer: MakeBouncer, fake_lapi: FakeLapi, net: Network, probe: Probe
) -> None:
    """In mode iptables a rule that lets mail in ahead of the bans is a problem, and is what packets meet."""
    fake_lapi.ban("198.18.1.1", "4h")
    running = bouncer(api_url=fake_lapi.url, mode="iptables", iptables_chains=["INPUT"], disable_ipv6=True)
    running.start()
    assert not probe.passes("198.18.1.1")
    assert "order.accepted-first" not in look(running)
    running.kill()  # while it lives it puts its rule back in front
    net.mail.run("iptables", "-I", "INPUT", "-p", "tcp", "-j", "ACCEPT")
    found = look(running, 1)
    assert set(found) == {"service.stopped", "order.accepted-first"}
    assert "-p tcp -j ACCEPT" in found["order.accepted-first"]["what"]
    running.ask("teardown")


def test_a_large_set_of_the_admins(bouncer: MakeBouncer, fake_lapi: FakeLapi, net: Network) -> None:
    """Sets of any size cost nothing, because their elements are not read: to read these takes nft six seconds."""
    elements = ", ".join(f"10.{n >> 16}.{n >> 8 & 255}.{n & 255}" for n in range(300_000))
    head = "table inet admins { set s { type ipv4_addr; }; }\nadd element inet admins s { "
    net.mail.run("nft", "-f", "-", text=f"{head}{elements} }}\n")
    running = bouncer(api_url=fake_lapi.url)
    running.start()
    code, printed = running.attempt("doctor", "--json")
    assert code == 0
    assert "rules in nftables" not in printed


def test_ports_that_are_shut_anyway(
    bouncer: MakeBouncer, fake_lapi: FakeLapi, net: Network, probe: Probe
) -> None:
    """Rules of nftables and of iptables are read as the kernel has them: what they shut for all is told, and is so."""
    net.mail.run("nft", "-f", "-", text="""
        table inet admins {
            chain in {
                type filter hook input priority 0; policy drop;
                ct state established,related accept
                iif lo accept
                tcp dport { 25, 5000-5010 } accept
                udp dport 2525 accept
            }
        }
    """)  # fmt: skip
    for rule in (
        "-P INPUT DROP",
        "-A INPUT -p tcp -m multiport --dports 25,465 -j ACCEPT",
        "-A INPUT -i lo -j ACCEPT",
    ):
        net.mail.run("iptables", *rule.split())
    protect = {"ports": [25, 465, "5000-5010"]}
    running = bouncer(api_url=fake_lapi.url, protect=protect, disable_ipv6=True)
    running.start()
    _, printed = running.attempt("doctor", "--json")
    told = [f["what"] for f in json.loads(printed)["findings"] if f["id"] == "ports.shut-anyway"]
    assert told == ["IPv4: ports 465, 5000-5010 are closed to everybody by other rules of this host"]
    net.mail.run("iptables", "-P", "INPUT", "ACCEPT")


def test_without_root(bouncer: MakeBouncer, fake_lapi: FakeLapi) -> None:
    """Who is not root is told so, and what can't be seen is no problem of the host's."""
    running = bouncer(api_url=fake_lapi.url)
    running.start()
    running.config.chmod(0o644)
    folder = running.config.parent
    for each in (folder, *folder.parents[:3]):
        each.chmod(0o755)
    running.host.run("chmod", "a+x", str(folder), str(folder.parent))
    nobody = ("setpriv", "--reuid=65534", "--regid=65534", "--clear-groups", "env", f"PYTHONPATH={CHECKOUT}")
    done = running.host.run(*nobody, *running.command("doctor", "--json"))
    found = {f["id"]: f for f in json.loads(done)["findings"]}
    assert found["doctor.not-root"]["mend"] == ["sudo fwbouncer doctor"]
    assert not [f for f in found.values() if f["severity"] == "problem"]


def _with_cscli(lapi: CrowdSec, folder: Path) -> str:
    """Return a PATH on which cscli is that of the LAPI under test."""
    words = lapi._command("cscli")
    program = folder / "bin" / "cscli"
    program.parent.mkdir()
    program.write_text(f'#!/bin/sh\nexec {shlex.join(words)} "$@"\n')
    program.chmod(0o755)
    return f"{program.parent}:{os.environ['PATH']}"


def test_somebody_else_polls_with_our_key(
    bouncer: MakeBouncer, lapi: CrowdSec, net: Network, tmp_path: Path, monkeypatch: Any
) -> None:
    """A second program on the same key is seen in the LAPI's own list, whatever it calls itself; ours alone is not."""
    monkeypatch.setenv("PATH", _with_cscli(lapi, tmp_path))
    running = bouncer(update_frequency="20s")
    running.start()
    assert look(running, 0) == {}
    poll = (
        "curl",
        "-sf",
        "-o",
        "/dev/null",
        "-H",
        f"X-Api-Key: {KEY}",
        f"{URL}v1/decisions/stream?startup=true",
    )
    # Well away from polls of our own, before and after: either would hide the stranger's.
    while (seen := running.status()["lapi"])["last_answer_ago"] < 3 or seen["next_poll_in"] < 8:
        time.sleep(0.2)
    net.mail.run(*poll, "-A", "crowdsec-firewall-bouncer/fwbouncer-0")
    assert set(look(running, 0)) == {"key.other-poller"}
    net.mail.run(*poll, "-A", "ReactorNetty/1.1")
    assert set(look(running, 0)) == {"key.other-program"}


def test_interrupted_readers_and_odd_files(bouncer: MakeBouncer, fake_lapi: FakeLapi, net: Network) -> None:
    """A reader that has seen enough, and files that are none, end in words and never in a traceback."""
    running = bouncer(api_url=fake_lapi.url)
    cut = shlex.join(running.command("doctor"))
    done = net.mail.run("sh", "-c", f"cd {shlex.quote(str(CHECKOUT))}; {cut} 2>&1 | head -n 1")
    assert "Traceback" not in done
    running.config.unlink()
    running.config.mkdir()
    code, printed = running.attempt("doctor")
    assert code == 1
    assert "Traceback" not in printed
    assert str(running.config) in printed
