"""A ban bites at once: open sessions of who is banned end, and nobody else's."""

from __future__ import annotations

import contextlib
import json
import signal
import socket
import time
from typing import TYPE_CHECKING, Any

import pytest

from tests.fake_lapi import answer, raw_decision
from tests.lab.lines import PATIENCE, Exchange, exchange, fate, many_files, sockets, tracked
from tests.lab.net import ATTACKER, HONEST, MAIL, Host
from tests.lab.shell import run

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from tests.conftest import MakeBouncer
    from tests.fake_lapi import FakeLapi
    from tests.lab.bouncer import Bouncer
    from tests.lab.net import Network
    from tests.lab.packets import Probe

ENDED = {"ECONNABORTED", "ETIMEDOUT"}  # what a server's recv says of a socket that was destroyed
OURS = {4: "198.51.100.1", 6: "2001:db8:a::1"}  # the mail host's end of the wire to the attacker
MODES = ("nftables", "iptables")
PUBLISHED = """
table ip nat {
    chain prerouting {
        type nat hook prerouting priority -100
        ip daddr 198.51.100.1 tcp dport 25 dnat to 172.17.0.2
    }
    chain postrouting {
        type nat hook postrouting priority 100
        ip saddr 172.17.0.0/16 oifname != "docker0" masquerade
    }
}
"""


@pytest.fixture
def mail(net: Network) -> Iterator[Exchange]:
    """Listen on the mail host's port 25 with one socket for both families, as Java does."""
    with exchange(net.mail) as made:
        yield made


@pytest.fixture
def start(bouncer: MakeBouncer, fake_lapi: FakeLapi) -> Callable[..., Bouncer]:
    """Return what starts the program on a LAPI that tells what a test wants."""

    def begin(mode: str = "nftables", **settings: Any) -> Bouncer:
        running = bouncer(None, api_url=fake_lapi.url, mode=mode, iptables_chains=["INPUT"], **settings)
        running.start()
        return running

    return begin


def eventually(condition: Callable[[], object]) -> None:
    """Wait until something is so."""
    deadline = time.monotonic() + PATIENCE
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.02)


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("version", [4, 6])
def test_the_sessions_of_a_banned_peer_end(  # noqa: PLR0913 - the lab's parts
    start: Callable[..., Bouncer], fake_lapi: FakeLapi, net: Network, mail: Exchange, mode: str, version: int
) -> None:
    """Server and peer see all their sessions end, nothing of them is left in the kernel; an honest peer's go on."""
    running = start(mode)
    theirs = mail.lines(net.attacker, [ATTACKER[version]] * 3)
    honest = mail.line(net.honest, HONEST[version])
    assert all(line.talks() for line in (*theirs, honest))
    assert len(tracked(net.mail, *theirs)) == 3
    fake_lapi.ban(ATTACKER[version])
    assert {fate(line.called) for line in theirs} <= ENDED
    assert {fate(line.caller) for line in theirs} == {"ECONNRESET"}
    eventually(lambda: not tracked(net.mail, *theirs))
    assert honest.talks()
    assert len(sockets(net.mail, "sport = :25")) == 1
    eventually(lambda: running.status()["sessions"]["cut"] == 3)
    assert running.status()["sessions"]["peers"] == 1
    assert "cut 3 sessions of newly banned" in running.log


def test_the_right_that_the_service_has_is_enough(
    bouncer: MakeBouncer, fake_lapi: FakeLapi, net: Network, mail: Exchange
) -> None:
    """CAP_NET_ADMIN alone, which is all that the unit leaves it, ends sessions and their tracking."""
    running = bouncer(None, api_url=fake_lapi.url)
    alone = "-all,+net_admin"
    running.inside = ("setpriv", f"--bounding-set={alone}", f"--inh-caps={alone}", "--no-new-privs")
    running.start()
    line = mail.line(net.attacker, ATTACKER[4])
    assert tracked(net.mail, line)
    fake_lapi.ban(ATTACKER[4])
    assert fate(line.called) in ENDED
    eventually(lambda: not tracked(net.mail, line))
    assert running.status()["sessions"]["unsupported"] == []


def test_a_server_of_ipv4_alone(start: Callable[..., Bouncer], fake_lapi: FakeLapi, net: Network) -> None:
    """Sessions of a server that listens on IPv4 alone are found, too."""
    start()
    with exchange(net.mail, 143, "0.0.0.0") as server:
        line = server.line(net.attacker, ATTACKER[4])
        fake_lapi.ban(ATTACKER[4])
        assert fate(line.called) in ENDED


@pytest.mark.parametrize("mode", MODES)
def test_a_banned_range(
    start: Callable[..., Bouncer], fake_lapi: FakeLapi, net: Network, mail: Exchange, mode: str
) -> None:
    """All sessions from inside a banned range end, first and last address alike; those beside it go on."""
    start(mode)
    inside = mail.lines(net.attacker, ["198.18.8.0", "198.18.9.77", "198.18.11.255"])
    inside += mail.lines(net.attacker, ["2001:db8:bad::", "2001:db8:bad:ffff:ffff:ffff:ffff:ffff"])
    beside = mail.lines(
        net.attacker, ["198.18.7.255", "198.18.12.0", "2001:db8:bac:ffff::1", "2001:db8:bae::"]
    )
    fake_lapi.ban("198.18.8.0/22")
    fake_lapi.ban("2001:db8:bad::/48")
    assert {fate(line.called) for line in inside} <= ENDED
    assert all(line.talks() for line in beside)


@pytest.mark.parametrize("mode", MODES)
def test_who_is_never_blocked_goes_on(
    start: Callable[..., Bouncer], fake_lapi: FakeLapi, net: Network, mail: Exchange, mode: str
) -> None:
    """In a banned range the sessions of who is listed or unblocked live, until that is taken back."""
    running = start(mode, never_block=["198.18.8.1"])
    listed, unblocked, other = mail.lines(net.attacker, ["198.18.8.1", "198.18.8.2", "198.18.8.3"])
    running.ask("unblock", "198.18.8.2", "--for", "1h")
    fake_lapi.ban("198.18.8.0/24")
    assert fate(other.called) in ENDED
    assert listed.talks()
    assert unblocked.talks()
    running.ask("unblock", "--cancel", "198.18.8.2")
    assert fate(unblocked.called) in ENDED
    assert listed.talks()


def test_the_end_of_an_unblocking_by_itself(
    start: Callable[..., Bouncer], fake_lapi: FakeLapi, net: Network, mail: Exchange
) -> None:
    """When the time is over for which a banned peer was unblocked, its sessions end as well."""
    running = start()
    fake_lapi.ban(ATTACKER[4])
    eventually(lambda: running.status()["decisions"]["total"] == 1)
    running.ask("unblock", ATTACKER[4], "--for", "2s")
    line = mail.line(net.attacker, ATTACKER[4])
    assert fate(line.called) in ENDED


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("version", [4, 6])
def test_our_own_connections_go_on(  # noqa: PLR0913 - the lab's parts
    start: Callable[..., Bouncer], fake_lapi: FakeLapi, net: Network, mail: Exchange, mode: str, version: int
) -> None:
    """While the sessions that a banned peer opened end, the mail that we deliver to it flows on."""
    start(mode)
    with exchange(net.attacker, 25) as theirs:
        delivery = theirs.line(net.mail, OURS[version], ATTACKER[version])
        line = mail.line(net.attacker, ATTACKER[version])
        fake_lapi.ban(ATTACKER[version])
        assert fate(line.called) in ENDED
        assert delivery.talks()


@pytest.mark.parametrize("mode", MODES)
def test_our_own_connections_where_replies_are_dropped(
    start: Callable[..., Bouncer], fake_lapi: FakeLapi, net: Network, mode: str
) -> None:
    """With `protect.replies: drop` our connections to who is banned end, too."""
    start(mode, protect={"replies": "drop"})
    with exchange(net.attacker, 25) as theirs:
        delivery = theirs.line(net.mail, OURS[4], ATTACKER[4])
        fake_lapi.ban(ATTACKER[4])
        assert fate(delivery.caller) in ENDED


def test_ten_thousand_bans_against_five_thousand_sessions(
    start: Callable[..., Bouncer], fake_lapi: FakeLapi, net: Network, mail: Exchange
) -> None:
    """Of 5,000 sessions all 4,900 end whose peers are among 10,000 that are banned at once, and no others."""
    hosts = [f"198.18.{n >> 8}.{n & 255}" for n in range(3000)]
    hosts += [f"2001:db8:bad::{n:x}" for n in range(1, 901)]
    in_ranges = [f"198.19.{n % 50}.{n // 50}" for n in range(1000)]
    honest = [f"198.18.100.{n}" for n in range(50)] + [f"2001:db8:bae::{n:x}" for n in range(50)]
    bans = hosts + [f"198.19.{n}.0/24" for n in range(50)]
    bans += [f"100.64.{n >> 8}.{n & 255}" for n in range(10_000 - len(bans))]
    running = start()
    with many_files(12_000):
        lines = mail.lines(net.attacker, [*hosts, *in_ranges, *honest])
        rows = [raw_decision(n, v, scope="Range" if "/" in v else "Ip") for n, v in enumerate(bans, 1)]
        fake_lapi.faults.append(answer(json.dumps({"new": rows, "deleted": None}).encode()))
        fake_lapi.page = b'{"new":null,"deleted":null}'
        eventually(lambda: running.status()["sessions"]["cut"] >= 4900)
        assert {fate(line.called) for line in lines[:4900]} <= ENDED
        assert all(line.talks() for line in lines[4900:])
        mail.close()
    said = running.status()["sessions"]
    assert (said["cut"], said["peers"]) == (4900, 4900)
    print(f"4,900 of 5,000 sessions cut {said['last_cut_ms']:.0f} ms after the kernel had 10,000 bans")


def test_sessions_from_before_the_start(
    start: Callable[..., Bouncer], fake_lapi: FakeLapi, net: Network, mail: Exchange
) -> None:
    """Who is banned when we start has no sessions left, whoever spoke last in them."""
    lines = mail.lines(net.attacker, [ATTACKER[4], ATTACKER[6], "198.18.0.9"])
    fake_lapi.ban(ATTACKER[4])
    fake_lapi.ban("198.18.0.0/16")
    fake_lapi.ban("2001:db8:a::/64")
    start()
    assert {fate(line.called) for line in lines} <= ENDED


def test_a_session_that_tracking_met_halfway(
    start: Callable[..., Bouncer], fake_lapi: FakeLapi, net: Network, mail: Exchange
) -> None:
    """A session from before connection tracking began is the peer's, even if tracking takes it for ours."""
    line = mail.line(net.attacker, ATTACKER[4])
    start()
    line.called.sendall(b"* BYE\r\n")  # the first that tracking sees of it
    eventually(lambda: f"src={MAIL[4]}" in "".join(tracked(net.mail, line)))
    fake_lapi.ban(ATTACKER[4])
    assert fate(line.called) in ENDED
    eventually(lambda: not tracked(net.mail, line))


def test_the_ports_that_a_ban_closes(
    start: Callable[..., Bouncer], fake_lapi: FakeLapi, net: Network, mail: Exchange
) -> None:
    """Sessions end on the ports that a ban closes, by its policy, and go on where it closes nothing."""
    start(
        protect={"ports": ["smtp", "imap"]},
        policies=[{"name": "imap-bf", "scenario": "apache-james/*", "ports": ["imap"]}],
    )
    with exchange(net.mail, 143) as reading, exchange(net.mail, 80) as web:
        peers = ("198.18.0.1", "198.18.0.2")
        to = {
            name: server.lines(net.attacker, peers)
            for name, server in (("smtp", mail), ("imap", reading), ("http", web))
        }
        fake_lapi.ban(peers[0], scenario="apache-james/bf-auth")
        fake_lapi.ban(peers[1])
        assert fate(to["imap"][0].called) in ENDED
        assert fate(to["imap"][1].called) in ENDED
        assert fate(to["smtp"][1].called) in ENDED
        assert to["smtp"][0].talks()
        assert all(line.talks() for line in to["http"])


def test_a_port_that_james_opens_later(
    start: Callable[..., Bouncer], fake_lapi: FakeLapi, net: Network, mail: Exchange, tmp_path: Path
) -> None:
    """With James's own ports, a banned peer's session ends once James's files name its port."""
    reading = "<imapservers><imapserver><bind>0.0.0.0:143</bind></imapserver></imapservers>"
    (tmp_path / "imapserver.xml").write_text(reading)
    start(protect={"ports": "james", "james_conf": str(tmp_path)})
    line = mail.line(net.attacker, ATTACKER[4])
    with exchange(net.mail, 143) as server:
        read = server.line(net.attacker, ATTACKER[4])
        fake_lapi.ban(ATTACKER[4])
        assert fate(read.called) in ENDED
    assert line.talks()
    receiving = "<smtpservers><smtpserver><bind>0.0.0.0:25</bind></smtpserver></smtpservers>"
    (tmp_path / "smtpserver.xml").write_text(receiving)
    assert fate(line.called) in ENDED


@pytest.mark.parametrize("ports", ["all", [143]])
def test_sessions_behind_a_redirection(
    start: Callable[..., Bouncer], fake_lapi: FakeLapi, net: Network, ports: object
) -> None:
    """Sessions on a port that is redirected to another one are found, too, by the port that was called."""
    net.mail.run(
        "nft",
        "-f",
        "-",
        text="table ip nat {\nchain pre {\ntype nat hook prerouting priority -100\n"
        "tcp dport 143 redirect to :1143\n}\n}\n",
    )
    start(protect={"ports": ports})
    with exchange(net.mail, 1143) as server:
        line = server.line(net.attacker, ATTACKER[4], port=143)
        fake_lapi.ban(ATTACKER[4])
        assert fate(line.called) in ENDED
        eventually(lambda: not tracked(net.mail, line))


@pytest.fixture
def container(net: Network) -> Iterator[Host]:
    """Run a container beside the mail host, with port 25 published as Docker does it."""
    host = Host(f"{net.mail.name}-ct")
    run("ip", "netns", "add", host.name)
    try:
        net.mail.ip("link", "add", "docker0", "type", "veth", "peer", "name", "eth0", "netns", host.name)
        for there, device, address in (
            (net.mail, "docker0", "172.17.0.1/16"),
            (host, "eth0", "172.17.0.2/16"),
        ):
            there.ip("link", "set", device, "up")
            there.ip("address", "add", address, "dev", device)
        host.ip("route", "add", "default", "via", "172.17.0.1")
        net.mail.run("sysctl", "-q", "net.ipv4.ip_forward=1")
        net.mail.run("nft", "-f", "-", text=PUBLISHED)
        yield host
    finally:
        net.mail.run("sysctl", "-q", "net.ipv4.ip_forward=0")
        net.mail.run("ip", "link", "delete", "docker0", check=False)
        run("ip", "netns", "delete", host.name)


@pytest.mark.parametrize("mode", MODES)
def test_a_session_with_a_container_is_not_revived(  # noqa: PLR0913 - the lab's parts
    bouncer: MakeBouncer, fake_lapi: FakeLapi, net: Network, container: Host, probe: Probe, mode: str
) -> None:
    """Of a banned peer's session with a container nothing gets in any more, however much the container says."""
    running = bouncer(None, api_url=fake_lapi.url, mode=mode, iptables_chains=["INPUT", "FORWARD"])
    running.start()
    with exchange(container) as server:
        line = server.line(net.attacker, ATTACKER[4], OURS[4])
        line.called.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        assert line.talks()
        fake_lapi.ban(ATTACKER[4])
        eventually(lambda: not probe.passes(ATTACKER[4]))
        line.caller.sendall(b"MAIL FROM:<>\r\n")
        for _ in range(5):  # keeps it talking past the first retransmissions
            line.called.sendall(b"* still here\r\n")
            assert fate(line.called, 0.3) == "open"


def test_a_conversation_over_udp_is_not_revived(
    start: Callable[..., Bouncer], fake_lapi: FakeLapi, net: Network, probe: Probe
) -> None:
    """What this host goes on to send to a banned peer over UDP lets no answer in."""
    start()
    with net.mail.inside():
        ours = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    with net.attacker.inside():
        theirs = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    with ours, theirs:
        ours.bind((MAIL[4], 1194))
        theirs.bind((ATTACKER[4], 0))
        theirs.connect((MAIL[4], 1194))
        for end in (ours, theirs):
            end.settimeout(PATIENCE)
        theirs.send(b"hello")
        _, peer = ours.recvfrom(100)
        ours.sendto(b"hello", peer)
        assert theirs.recv(100) == b"hello"
        fake_lapi.ban(ATTACKER[4])
        eventually(lambda: not probe.passes(ATTACKER[4]))
        ours.sendto(b"keepalive", peer)
        assert theirs.recv(100) == b"keepalive"
        theirs.send(b"not in vain?")
        ours.settimeout(0.5)
        with pytest.raises(TimeoutError):
            ours.recv(100)


def test_sockets_that_nobody_holds_any_more(
    start: Callable[..., Bouncer], fake_lapi: FakeLapi, net: Network, mail: Exchange
) -> None:
    """What the kernel still tries to deliver for a server that has closed, or has not accepted yet, ends as well."""
    start()
    line = mail.line(net.attacker, ATTACKER[4])
    line.called.setblocking(False)
    with contextlib.suppress(BlockingIOError):
        while True:
            line.called.send(bytes(65536))
    line.called.close()
    assert sockets(net.mail, "sport = :25")
    fake_lapi.ban(ATTACKER[4])
    eventually(lambda: not sockets(net.mail, "sport = :25"))


def test_it_can_be_turned_off_and_on(
    start: Callable[..., Bouncer], fake_lapi: FakeLapi, net: Network, mail: Exchange
) -> None:
    """Turned off, a ban leaves sessions as they are; a reload that turns it on ends them."""
    running = start(on_ban={"close_sessions": False})
    line = mail.line(net.attacker, ATTACKER[4])
    fake_lapi.ban(ATTACKER[4])
    eventually(lambda: running.status()["kernel"]["elements"] == 1)
    time.sleep(0.5)
    assert line.is_open()
    assert not running.status()["sessions"]["on"]
    running.configure(on_ban={"close_sessions": True})
    running.signal(signal.SIGHUP)
    assert fate(line.called) in ENDED
    assert running.status()["sessions"]["on"]


@pytest.mark.parametrize("asked", [False, True])
def test_where_the_rules_are_the_administrators(
    start: Callable[..., Bouncer], fake_lapi: FakeLapi, net: Network, mail: Exchange, asked: bool
) -> None:
    """In set-only nobody knows what the rules do, so sessions end only where the configuration says so."""
    for family, table in (("ip", "crowdsec"), ("ip6", "crowdsec6")):
        net.mail.run("nft", "add", "table", family, table)
    settings = {"on_ban": {"close_sessions": True}} if asked else {}
    running = start("set-only", **settings)
    line = mail.line(net.attacker, ATTACKER[4])
    fake_lapi.ban(ATTACKER[4])
    eventually(lambda: running.status()["kernel"]["elements"] == 1)
    time.sleep(0.5)
    assert line.is_open() is not asked


def test_a_dry_run_cuts_nothing(
    start: Callable[..., Bouncer], fake_lapi: FakeLapi, net: Network, mail: Exchange
) -> None:
    """Mode dry-run leaves every session alone."""
    running = start("dry-run", on_ban={"close_sessions": True})
    line = mail.line(net.attacker, ATTACKER[4])
    fake_lapi.ban(ATTACKER[4])
    eventually(lambda: "backend.Add() called" in running.log)
    time.sleep(0.5)
    assert line.talks()
