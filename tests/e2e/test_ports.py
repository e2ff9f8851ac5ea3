"""Bans that close some ports alone: what they close, what stays open, and what that costs a host under a flood."""

from __future__ import annotations

import contextlib
import signal
import socket
import time
from typing import TYPE_CHECKING, Any

import pytest

from tests.lab.net import ATTACKER, HONEST, MAIL
from tests.lab.packets import Greeter, dial, icmp_answer
from tests.lab.xtables import bench

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from tests.conftest import MakeBouncer
    from tests.fake_lapi import FakeLapi
    from tests.lab.bouncer import Bouncer
    from tests.lab.net import Host, Network
    from tests.lab.packets import Probe

GREETING = "220 mail.example.net"
PEER = {4: "198.18.1.1", 6: "2001:db8:bad::1"}
GUESSER = {"scenario": "apache-james/bf-auth", "origin": "crowdsec"}
BF = {"name": "james-bf", "scenario": "apache-james/*", "ports": ["imap", "imaps", "submission", "sieve"]}
# Where the rules stand: as we choose, or where the administrator says; and what the modes need for it.
PLACES: dict[str, dict[str, Any]] = {
    "early": {"mode": "nftables"},
    "hooks": {"mode": "nftables", "nftables_hooks": ["input", "forward"]},
    "iptables-early": {"mode": "iptables"},
    "iptables-chains": {"mode": "iptables", "iptables_chains": ["INPUT", "FORWARD"]},
}
places = pytest.mark.parametrize("place", PLACES)


@pytest.fixture(autouse=True)
def _tidy(net: Network) -> Iterator[None]:
    """Leave no rule of iptables and no set behind."""
    yield
    with bench(net, "nft"):
        pass  # it cleans up as it ends


@pytest.fixture
def services(net: Network) -> Iterator[None]:
    """Listen for SMTP, submission and IMAP."""
    with contextlib.ExitStack() as stack:
        for port in (25, 587, 143):
            stack.enter_context(contextlib.closing(Greeter(net.mail, port)))
        yield


def seen(net: Network, source: str, *ports: int, host: Host | None = None) -> list[str]:
    """Return what a peer sees of some ports."""
    answers = [dial(host or net.attacker, source, port=port, timeout=0.4) for port in ports]
    return ["open" if answer == GREETING else answer for answer in answers]


def until(condition: Any, within: float = 30) -> None:
    """Wait until something is so."""
    deadline = time.monotonic() + within
    while not condition():
        assert time.monotonic() < deadline, "waited in vain"
        time.sleep(0.05)


@places
def test_only_the_named_ports_close(  # noqa: PLR0913 - the lab's parts
    bouncer: MakeBouncer,
    fake_lapi: FakeLapi,
    net: Network,
    probe: Probe,
    services: None,
    place: str,
) -> None:
    """A ban closes the ports that are named, TCP and UDP, and leaves the others open; ping, too."""
    for source in PEER.values():
        fake_lapi.ban(source)
    bouncer(None, api_url=fake_lapi.url, protect={"ports": ["smtp", 143]}, **PLACES[place]).start()
    for version in (4, 6):
        assert seen(net, PEER[version], 25, 587, 143) == ["timeout", "open", "timeout"]
        assert probe.passes(PEER[version]), "UDP to port 4190"
        assert seen(net, HONEST[version], 25, 143, host=net.honest) == ["open", "open"]


@places
def test_udp_closes_with_its_port(  # noqa: PLR0913 - the lab's parts
    bouncer: MakeBouncer, fake_lapi: FakeLapi, net: Network, probe: Probe, services: None, place: str
) -> None:
    """A port is closed for UDP as for TCP, here by its service's name and within a range."""
    fake_lapi.ban(PEER[4])
    fake_lapi.ban("2001:db8:bad::/48", scope="Range")
    bouncer(None, api_url=fake_lapi.url, protect={"ports": ["sieve", "580-590"]}, **PLACES[place]).start()
    assert not probe.arriving(PEER.values())
    assert seen(net, PEER[4], 25, 587) == ["open", "timeout"]
    assert seen(net, PEER[6], 25, 587) == ["open", "timeout"]


@places
def test_a_guessers_ban_leaves_real_mail_alone(
    bouncer: MakeBouncer, fake_lapi: FakeLapi, net: Network, services: None, place: str
) -> None:
    """A ban for guessed passwords closes reading and submitting, and mail comes in; other bans close all."""
    fake_lapi.ban(PEER[4], **GUESSER)
    fake_lapi.ban("198.18.1.2", scenario="crowdsecurity/ssh-bf", origin="crowdsec")
    made = bouncer(None, api_url=fake_lapi.url, policies=[BF], **PLACES[place])
    made.start()
    assert seen(net, PEER[4], 25, 587, 143) == ["open", "timeout", "timeout"]
    all_closed = "iptables_chains" in PLACES[place] or PLACES[place]["mode"] == "nftables"
    if all_closed:  # in iptables mode nothing says where bans of everything stand unless chains are named
        assert seen(net, "198.18.1.2", 25) == ["timeout"]
    fake_lapi.ban(PEER[4], scenario="crowdsecurity/smtp-spam", origin="crowdsec")
    if all_closed:
        until(lambda: seen(net, PEER[4], 25) == ["timeout"])


@places
def test_mail_servers_hear_a_reset(
    bouncer: MakeBouncer, fake_lapi: FakeLapi, net: Network, services: None, place: str
) -> None:
    """On ports that are to be reset a banned client's TCP ends at once; the others stay silent."""
    for source in PEER.values():
        fake_lapi.ban(source)
    protect = {"ports": ["smtp", "imap"], "reset_ports": ["smtp"]}
    bouncer(None, api_url=fake_lapi.url, protect=protect, **PLACES[place]).start()
    for source in PEER.values():
        assert seen(net, source, 25, 143, 587) == ["refused", "timeout", "open"]


@places
def test_reject_is_told_per_policy(  # noqa: PLR0913 - the lab's parts
    bouncer: MakeBouncer, fake_lapi: FakeLapi, net: Network, probe: Probe, services: None, place: str
) -> None:
    """A policy that rejects resets TCP and names the reason for the rest, on its ports alone."""
    for source in PEER.values():
        fake_lapi.ban(source, **GUESSER)
    policies = [{**BF, "verdict": "reject"}]
    bouncer(None, api_url=fake_lapi.url, policies=policies, **PLACES[place]).start()
    for source in PEER.values():
        assert seen(net, source, 143, 25) == ["refused", "open"]
    assert icmp_answer(net.attacker, PEER[4]) == (3, 13)
    assert icmp_answer(net.attacker, PEER[6], version=6) == (1, 1)


def test_a_policy_can_let_pass(
    bouncer: MakeBouncer, fake_lapi: FakeLapi, net: Network, services: None
) -> None:
    """Decisions of a policy whose verdict is pass block nobody; another decision on the same peer does."""
    fake_lapi.ban(PEER[4], origin="CAPI", scenario="http:scan")
    running = bouncer(
        None, api_url=fake_lapi.url, policies=[{"name": "mild", "scenario": "http:*", "verdict": "pass"}]
    )
    running.start()
    assert seen(net, PEER[4], 25) == ["open"]
    assert running.status()["ignored"] == {"policy mild": 1}
    fake_lapi.ban(PEER[4], origin="CAPI", scenario="smtp:spam")
    until(lambda: seen(net, PEER[4], 25) == ["timeout"])


def test_a_policy_takes_types_that_nobody_else_does(
    bouncer: MakeBouncer, fake_lapi: FakeLapi, net: Network, services: None
) -> None:
    """A policy that names a type enforces it, though supported_decisions_types doesn't have it."""
    fake_lapi.ban(PEER[4], type="captcha")
    policies = [{"name": "captchas", "type": "captcha", "ports": [587]}]
    bouncer(None, api_url=fake_lapi.url, policies=policies).start()
    assert seen(net, PEER[4], 25, 587) == ["open", "timeout"]


@places
def test_who_is_never_blocked_reaches_everything(
    bouncer: MakeBouncer, fake_lapi: FakeLapi, net: Network, services: None, place: str
) -> None:
    """A never-blocked peer and a listed proxy pass ahead of every policy."""
    fake_lapi.ban("198.18.0.0/15", scope="Range", **GUESSER)
    running = bouncer(
        None,
        api_url=fake_lapi.url,
        never_block=[PEER[4]],
        protect={"proxies": ["198.18.9.9"], "ports": ["smtp", "imap"]},
        policies=[BF],
        **PLACES[place],
    )
    running.start()
    assert seen(net, PEER[4], 25, 143) == ["open", "open"]
    assert seen(net, "198.18.9.9", 143) == ["open"]
    assert seen(net, "198.18.9.8", 143) == ["timeout"]
    assert running.status()["never_block"]["sources"]["proxies"] == ["198.18.9.9"]


@places
def test_our_own_mail_gets_its_answers(
    bouncer: MakeBouncer, fake_lapi: FakeLapi, net: Network, place: str
) -> None:
    """Mail to a banned host goes out, also where the closed ports are those that our connections come from."""
    ours = {4: "198.51.100.1", 6: "2001:db8:a::1"}
    for source in ATTACKER.values():
        fake_lapi.ban(source)
    with contextlib.closing(Greeter(net.attacker)), contextlib.closing(Greeter(net.mail, 40000)):
        protect = {"ports": ["smtp", "30000-65535"]}
        bouncer(None, api_url=fake_lapi.url, protect=protect, **PLACES[place]).start()
        for version in (4, 6):
            assert dial(net.mail, ours[version], ATTACKER[version], timeout=10) == GREETING
            assert seen(net, ATTACKER[version], 40000) == ["timeout"]


@places
def test_a_flood_leaves_the_connection_table_alone(
    bouncer: MakeBouncer, fake_lapi: FakeLapi, net: Network, services: None, place: str
) -> None:
    """A banned network's flood of new connections leaves nothing in the table of connections."""
    fake_lapi.ban("198.18.0.0/15", scope="Range")
    bouncer(None, api_url=fake_lapi.url, protect={"ports": ["smtp"]}, **PLACES[place]).start()
    net.mail.run("conntrack", "-F")
    flood(net.attacker, 3000)
    tracked = net.mail.run("conntrack", "-L", "-p", "tcp", "--dport", "25", check=False)
    assert "198.18." not in tracked


def flood(host: Host, count: int) -> None:
    """Begin that many connections, each from another address."""
    with host.inside():
        pending = []
        for number in range(count):
            client = socket.socket(socket.AF_INET, socket.SOCK_STREAM | socket.SOCK_NONBLOCK)
            client.setsockopt(socket.IPPROTO_IP, 15, 1)
            client.bind((f"198.18.{number >> 8}.{number & 255}", 0))
            client.connect_ex((MAIL[4], 25))
            pending.append(client)
            if len(pending) > 500:
                pending.pop(0).close()
        for client in pending:
            client.close()


RESETTING = {**BF, "reset_ports": ["sieve"]}


class TestReload:
    """Policies and ports change under way."""

    @pytest.mark.parametrize("place", ["early", "hooks", "iptables-early", "iptables-chains"])
    def test_no_ban_is_lifted_while_policies_change(
        self, bouncer: MakeBouncer, fake_lapi: FakeLapi, probe: Probe, place: str
    ) -> None:
        """While decisions move to another policy's sets, no packet that both would stop comes through."""
        fake_lapi.ban(PEER[4], **GUESSER)
        fake_lapi.ban("198.18.0.0/15", scope="Range", **GUESSER)
        running = bouncer(None, api_url=fake_lapi.url, protect={"ports": ["sieve"]}, **PLACES[place])
        running.start()
        with probe.stream(PEER[4]) as stream:
            for policies in ([BF], [{**BF, "name": "other"}], [{**BF, "ports": ["sieve"]}], [RESETTING], []):
                reload(running, policies=policies)
        assert len(stream.packets) > 100
        assert stream.arrived() == 0

    def test_bans_are_where_the_new_policies_want_them(
        self, bouncer: MakeBouncer, fake_lapi: FakeLapi, net: Network, services: None
    ) -> None:
        """After a reload known bans close what the new policies say; verdict pass ends them, and gives them back."""
        fake_lapi.ban(PEER[4], **GUESSER)
        running = bouncer(None, api_url=fake_lapi.url, protect={"ports": ["smtp"]})
        running.start()
        assert seen(net, PEER[4], 25, 143) == ["timeout", "open"]
        reload(running, policies=[BF])
        assert seen(net, PEER[4], 25, 143) == ["open", "timeout"]
        reload(running, policies=[{**BF, "verdict": "pass"}])
        assert seen(net, PEER[4], 25, 143) == ["open", "open"]
        reload(running, policies=[])
        until(lambda: seen(net, PEER[4], 25, 143) == ["timeout", "open"])

    def test_a_restart_finds_everything_in_place(
        self, bouncer: MakeBouncer, fake_lapi: FakeLapi, probe: Probe
    ) -> None:
        """A crash and a start with other policies let no packet of a banned peer through."""
        fake_lapi.ban(PEER[4], **GUESSER)
        running = bouncer(None, api_url=fake_lapi.url, protect={"ports": ["sieve"]}, policies=[BF])
        running.start()
        with probe.stream(PEER[4]) as stream:
            for policies in ([BF], []):
                running.kill()
                running.configure(policies=policies)
                running.start()
        assert stream.arrived() == 0

    def test_somebody_elses_changes_are_mended(
        self, bouncer: MakeBouncer, fake_lapi: FakeLapi, net: Network, services: None
    ) -> None:
        """A chain of a policy that somebody empties is filled again."""
        fake_lapi.ban(PEER[4], **GUESSER)
        running = bouncer(None, api_url=fake_lapi.url, policies=[BF])
        running.start()
        net.mail.run("nft", "flush", "chain", "ip", "crowdsec", "crowdsec-chain-ports-james-bf")
        until(lambda: seen(net, PEER[4], 143) == ["timeout"])
        net.mail.run("nft", "flush", "ruleset")
        until(lambda: seen(net, PEER[4], 143, 25) == ["timeout", "open"])


def reload(running: Bouncer, **changes: Any) -> None:
    """Change the configuration under way, and wait until it is taken over."""
    before = running.log.count("configuration read again")
    running.configure(**changes)
    running.signal(signal.SIGHUP)
    until(lambda: running.log.count("configuration read again") > before)


SMTP = """\
<?xml version="1.0"?>
<smtpservers>
  <smtpserver enabled="true"><bind>0.0.0.0:25</bind></smtpserver>
  <smtpserver enabled="{submission}"><bind>0.0.0.0:587</bind></smtpserver>
  <smtpserver enabled="true"><bind>127.0.0.1:10025</bind></smtpserver>
</smtpservers>
"""


class TestJames:
    """The ports stand in James's own files."""

    def test_ports_follow_james(
        self, bouncer: MakeBouncer, fake_lapi: FakeLapi, net: Network, services: None, tmp_path: Path
    ) -> None:
        """With `ports: james` a ban closes what James listens on, and follows when that changes."""
        conf = james(tmp_path, smtpserver=SMTP.format(submission="false"))
        fake_lapi.ban(PEER[4])
        running = bouncer(None, api_url=fake_lapi.url, protect={"ports": "james", "james_conf": str(conf)})
        running.start()
        assert seen(net, PEER[4], 25, 587, 143) == ["timeout", "open", "open"]
        assert running.status()["protect"]["ports"] == "25"
        james(tmp_path, smtpserver=SMTP.format(submission="true"))
        until(lambda: seen(net, PEER[4], 25, 587) == ["timeout", "timeout"])
        james(tmp_path, smtpserver=SMTP[:100])  # half of it is written
        running.wait_log("what it said last counts", within=30)
        assert seen(net, PEER[4], 25, 587, 143) == ["timeout", "timeout", "open"]
        assert "25, 587 closed to the banned" in running.ask("status")

    def test_a_proxy_is_told(self, bouncer: MakeBouncer, fake_lapi: FakeLapi, tmp_path: Path) -> None:
        """Where James takes connections from a proxy alone, status says that bans belong there."""
        text = SMTP.format(submission="true").replace(
            "</smtpserver>", "<proxyRequired>true</proxyRequired></smtpserver>", 1
        )
        conf = james(tmp_path, smtpserver=text)
        running = bouncer(None, api_url=fake_lapi.url, protect={"ports": "james", "james_conf": str(conf)})
        running.start()
        status = running.status()
        assert status["protect"]["proxied"] == "25"
        assert any("bans must be enforced on the proxy" in warning for warning in status["warnings"])

    def test_without_james_there_is_no_start(
        self, bouncer: MakeBouncer, fake_lapi: FakeLapi, tmp_path: Path
    ) -> None:
        """A folder that isn't James's is a mistake, told with its line and what to do."""
        running = bouncer(
            None, api_url=fake_lapi.url, protect={"ports": "james", "james_conf": str(tmp_path / "none")}
        )
        code, said = running.attempt("check-config")
        assert code == 2
        assert "protect.james_conf" in said
        assert "can't be read: No such file or directory" in said


def james(folder: Path, **files: str) -> Path:
    """Write files of James's."""
    conf = folder / "james"
    conf.mkdir(exist_ok=True)
    for name, text in files.items():
        (conf / f"{name}.xml").write_text(text)
    return conf
