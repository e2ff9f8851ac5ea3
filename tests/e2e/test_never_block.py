"""Who is never blocked gets through, whatever is banned around them: real packets, both families."""

from __future__ import annotations

import contextlib
import json
import shutil
import signal
import socket
import struct
import time
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests.lab.net import ATTACKER, MAIL, family_of
from tests.lab.packets import Greeter, _sender

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.conftest import MakeBouncer
    from tests.fake_lapi import FakeLapi
    from tests.lab.manager import Manager
    from tests.lab.net import Host, Network
    from tests.lab.packets import Probe

# As soon as an administrator would look.
WITHIN = 1.0
BANS = ["198.18.0.0/16", "2001:db8:bad::/48"]
BANNED = {"198.18.5.4", "198.18.5.6", "198.18.7.0", "2001:db8:bad::4", "2001:db8:bad:7::1"}
LISTED = ["198.18.5.5", "198.18.6.0/24", "2001:db8:bad::5", "2001:db8:bad:6::/64"]
SPARED = {"198.18.5.5", "198.18.6.0", "198.18.6.255", "2001:db8:bad::5", "2001:db8:bad:6::77"}


@pytest.fixture
def banning(fake_lapi: FakeLapi) -> FakeLapi:
    """Run a LAPI that bans a range of each family, and some addresses in them that are listed."""
    for value in (*BANS, "198.18.5.5", "2001:db8:bad::5", "198.18.6.0/28"):
        fake_lapi.ban(value)
    return fake_lapi


@contextlib.contextmanager
def own(host: Host, *addresses: str) -> Iterator[None]:
    """Give a host more addresses while the block runs."""
    for address in addresses:
        host.ip("address", "add", address, "dev", "lo")
    try:
        yield
    finally:
        for address in addresses:
            host.ip("address", "del", address, "dev", "lo")


@contextlib.contextmanager
def default_routes(host: Host) -> Iterator[None]:
    """Let a host have the attacker's machine as its gateway."""
    for number in (4, 6):
        host.ip(f"-{number}", "route", "add", "default", "via", ATTACKER[number])
    try:
        yield
    finally:
        for number in (4, 6):
            host.ip(f"-{number}", "route", "del", "default")


def reaches_itself(host: Host, probe: Probe, source: str) -> bool:
    """Tell whether a host's packets from one of its own addresses to another arrive."""
    with _sender(host, source) as sender:
        number = probe._send(sender, MAIL[family_of(source)])
    deadline = time.monotonic() + 0.3
    while number not in probe._arrivals and time.monotonic() < deadline:
        time.sleep(0.002)
    return number in probe._arrivals


def wait_for_itself(host: Host, probe: Probe, source: str) -> None:
    """Wait until they do, as long as is promised."""
    deadline = time.monotonic() + WITHIN
    while not reaches_itself(host, probe, source):
        assert time.monotonic() < deadline, f"{source} doesn't reach its own host"


def wait_blocked(probe: Probe, source: str, within: float) -> None:
    """Wait until packets from an address no longer pass; one that is late on a busy machine doesn't count."""
    deadline = time.monotonic() + within
    while probe.passes(source):
        assert time.monotonic() < deadline, f"{source} still passes"


def test_listed_peers_pass_and_their_neighbours_do_not(
    bouncer: MakeBouncer, banning: FakeLapi, probe: Probe
) -> None:
    """Listed addresses and networks are holes in a banned range, of exactly their size."""
    running = bouncer(api_url=banning.url, never_block=LISTED)
    running.start()
    assert probe.arriving(BANNED | SPARED) == SPARED
    told = running.status()["never_block"]
    assert told["sources"]["listed"] == LISTED
    assert told["count"] == len({address for some in told["sources"].values() for address in some})
    assert told["passed"]["packets"] >= len(SPARED)
    assert "4 listed" in running.ask("status")


def test_who_is_spared_is_put_back(
    bouncer: MakeBouncer, banning: FakeLapi, probe: Probe, net: Network
) -> None:
    """Somebody who empties the set of the never-blocked locks nobody out for long, nor does who deletes the rule."""
    running = bouncer(api_url=banning.url, never_block=LISTED)
    running.start()
    net.mail.run("nft", "flush", "set", "ip", "crowdsec", "crowdsec-never-block")
    probe.wait_until("198.18.5.5", passes=True, within=WITHIN)
    net.mail.run("nft", "flush", "chain", "ip6", "crowdsec6", "crowdsec6-chain-input")
    wait_blocked(probe, "2001:db8:bad::4", WITHIN)
    assert probe.arriving(BANNED | SPARED) == SPARED


def test_a_banned_own_address_or_gateway_passes(
    bouncer: MakeBouncer, fake_lapi: FakeLapi, probe: Probe, net: Network
) -> None:
    """A host never cuts itself off from itself or its gateway, whoever bans the networks that they are in."""
    for value in (
        "192.0.2.0/24",
        "2001:db8:25::/48",
        "198.51.100.0/24",
        "2001:db8:a::/64",
        MAIL[4],
        ATTACKER[4],
    ):
        fake_lapi.ban(value)
    with default_routes(net.mail):
        running = bouncer(api_url=fake_lapi.url)
        running.start()
        assert all(reaches_itself(net.mail, probe, source) for source in MAIL.values())
        neighbours = ["198.51.100.67", "2001:db8:a::67"]
        assert probe.arriving([*ATTACKER.values(), *neighbours]) == set(ATTACKER.values())
        assert running.status()["never_block"]["sources"]["gateways"] == [ATTACKER[4], ATTACKER[6]]


def test_changes_of_the_network_are_followed(
    bouncer: MakeBouncer, banning: FakeLapi, probe: Probe, net: Network
) -> None:
    """An address or a gateway that this host gets later is spared within a second, and no longer than it has it."""
    banning.ban("198.51.100.0/24")
    running = bouncer(api_url=banning.url)
    running.start()
    assert not probe.passes(ATTACKER[4])
    with own(net.mail, "198.18.77.77/32", "2001:db8:bad::77/128"):
        wait_for_itself(net.mail, probe, "198.18.77.77")
        wait_for_itself(net.mail, probe, "2001:db8:bad::77")
    with default_routes(net.mail):
        probe.wait_until(ATTACKER[4], passes=True, within=WITHIN)
    wait_blocked(probe, ATTACKER[4], WITHIN)
    wait_blocked(probe, "198.18.77.77", WITHIN)


def test_a_reload_applies_at_once(bouncer: MakeBouncer, banning: FakeLapi, probe: Probe) -> None:
    """What SIGHUP adds to the list passes within a second, and what it takes off the list is blocked again."""
    running = bouncer(api_url=banning.url, never_block=["198.18.5.4"])
    running.start()
    assert probe.arriving(["198.18.5.4", "2001:db8:bad::4"]) == {"198.18.5.4"}
    running.configure(never_block=["2001:db8:bad::4"])
    running.signal(signal.SIGHUP)
    probe.wait_until("2001:db8:bad::4", passes=True, within=WITHIN)
    wait_blocked(probe, "198.18.5.4", WITHIN)


def test_files_and_host_names(bouncer: MakeBouncer, banning: FakeLapi, probe: Probe, net: Network) -> None:
    """Files and host names are as good as addresses; what is wrong in them is told and harms nobody."""
    folder = Path("/etc/netns", net.mail.name)
    folder.mkdir(parents=True)
    try:
        folder.joinpath("hosts").write_text("198.18.5.6 friend.example\n127.0.0.1 liar.example\n")
        running = bouncer(api_url=banning.url)
        listed = running.config.with_name("never-block")
        listed.write_text(
            "# friends\n198.18.5.4  # one\nnonsense!\n2001:db8:bad::/64\n0.0.0.0/0\nliar.example\n"
        )
        running.configure(never_block=[f"file:{listed}", "friend.example"])
        running.start()
        assert probe.arriving(BANNED) == {"198.18.5.4", "198.18.5.6", "2001:db8:bad::4"}
        for wrong in (
            "never-block:3: 'nonsense!'",
            "never-block:5: '0.0.0.0/0'",
            "liar.example: the answer has no",
        ):
            assert wrong in running.log
        listed.unlink()
        running.signal(signal.SIGHUP)
        running.wait_log("its last 3 entries stay")
        assert probe.passes("198.18.5.4")
    finally:
        shutil.rmtree(folder)
        with contextlib.suppress(OSError):
            folder.parent.rmdir()


def test_unblocking_for_a_while(bouncer: MakeBouncer, banning: FakeLapi, probe: Probe) -> None:
    """`unblock` bites at once and ends by itself; it can be listed and cancelled."""
    running = bouncer(api_url=banning.url)
    running.start()
    printed = running.ask("unblock", "198.18.5.4", "--for", "2s")
    assert "banned by cscli" in printed
    assert probe.arriving(["198.18.5.4", "198.18.5.6"]) == {"198.18.5.4"}
    running.ask("unblock", "2001:db8:bad::/64")
    assert probe.passes("2001:db8:bad::4")
    assert set(json.loads(running.ask("unblock", "--list", "--json"))["unblocked"]) == {
        "198.18.5.4",
        "2001:db8:bad::/64",
    }
    running.ask("unblock", "--cancel", "2001:db8:bad::/64")
    assert not probe.passes("2001:db8:bad::4")
    wait_blocked(probe, "198.18.5.4", 2)
    assert running.ask("unblock", "--list") == ""
    assert running.attempt("unblock", "--cancel", "192.0.2.9") == (
        1,
        "fwbouncer: 192.0.2.9 is not unblocked\n",
    )


def test_unblocking_outlives_the_daemon(
    bouncer: MakeBouncer, manager: Manager, banning: FakeLapi, probe: Probe
) -> None:
    """Who is unblocked passes while no daemon runs, and with the next one; with none, the command says so."""
    running = bouncer(manager, api_url=banning.url)
    running.start()
    running.ask("unblock", "198.18.5.4", "--for", "30m")
    running.kill()
    assert probe.arriving(["198.18.5.4", "198.18.5.6"]) == {"198.18.5.4"}
    code, printed = running.attempt("unblock", "198.18.5.6")
    assert (code, "no daemon is running" in printed) == (1, True)
    with probe.stream("198.18.5.4") as stream:
        running.start()
        assert not probe.passes("198.18.5.6")
    assert stream.arrived() == len(stream.packets)
    assert 1700 < json.loads(running.ask("unblock", "--list", "--json"))["unblocked"]["198.18.5.4"] <= 1800


def test_adopted_bans_spare_who_is_listed_now(
    bouncer: MakeBouncer, manager: Manager, banning: FakeLapi, probe: Probe
) -> None:
    """Bans of an earlier run that no LAPI has confirmed yet spare the newly listed, and stay for all others."""
    running = bouncer(manager, api_url=banning.url, state_file="none")
    running.start()
    running.kill()
    banning.stop()
    running.configure(never_block=["198.18.5.4"])
    running.start(ready=False)
    probe.wait_until("198.18.5.4", passes=True, within=5)
    assert not probe.passes("198.18.5.6")


INTERVAL = """
table ip crowdsec {
    set crowdsec-blacklists { type ipv4_addr; flags interval, timeout; }
    chain mine {
        type filter hook input priority 0; policy accept;
        ip saddr @crowdsec-blacklists counter drop
    }
}
"""


def test_in_the_admins_set_they_are_left_out(
    bouncer: MakeBouncer, banning: FakeLapi, probe: Probe, net: Network
) -> None:
    """Where the rules are the administrator's, the bans themselves have holes, which come and go as told."""
    net.mail.run("nft", "-f", "-", text=INTERVAL)
    running = bouncer(
        api_url=banning.url,
        never_block=LISTED[:2],
        disable_ipv6=True,
        nftables={"ipv4": {"enabled": True, "set-only": True}, "ipv6": {"enabled": False}},
    )
    running.start()
    watched = {address for address in BANNED | SPARED if family_of(address) == 4}
    assert probe.arriving(watched) == SPARED & watched
    running.ask("unblock", "198.18.5.6", "--for", "2s")
    assert probe.passes("198.18.5.6")
    assert not probe.passes("198.18.5.4")
    wait_blocked(probe, "198.18.5.6", 3)
    assert probe.arriving(watched) == SPARED & watched


def test_in_the_admins_ipset_they_are_left_out(
    bouncer: MakeBouncer, banning: FakeLapi, probe: Probe, net: Network
) -> None:
    """The same with ipset's nested networks."""
    net.mail.run("ipset", "create", "mine", "hash:net", "timeout", "300")
    rule = ("INPUT", "-m", "set", "--match-set", "mine", "src", "-j", "DROP")
    net.mail.run("iptables-nft", "-I", *rule)
    try:
        running = bouncer(
            api_url=banning.url,
            mode="ipset",
            blacklists_ipv4="mine",
            disable_ipv6=True,
            never_block=LISTED[:2],
        )
        running.start()
        watched = {address for address in BANNED | SPARED if family_of(address) == 4}
        assert probe.arriving(watched) == SPARED & watched
        running.configure(never_block=["198.18.5.4"])
        running.signal(signal.SIGHUP)
        probe.wait_until("198.18.5.4", passes=True, within=WITHIN)
        assert probe.arriving(watched) == {"198.18.5.4"}
        assert running.stop() == 0
    finally:
        net.mail.run("iptables-nft", "-D", *rule)
        net.mail.run("ipset", "destroy", "mine")


def test_in_iptables_mode(bouncer: MakeBouncer, banning: FakeLapi, probe: Probe, net: Network) -> None:
    """A set and a rule of its own lets the spared pass ahead of the bans, those unblocked for a while, too."""
    running = bouncer(api_url=banning.url, mode="iptables", iptables_chains=["INPUT"], never_block=LISTED)
    running.start()
    assert probe.arriving(BANNED | SPARED) == SPARED
    assert reaches_itself(net.mail, probe, MAIL[4])
    running.ask("unblock", "198.18.5.4", "--for", "2s")
    running.ask("unblock", "2001:db8:bad:7::/64")
    assert probe.arriving(BANNED) == {"198.18.5.4", "2001:db8:bad:7::1"}
    running.configure(never_block=[])
    running.signal(signal.SIGHUP)
    wait_blocked(probe, "198.18.5.5", WITHIN)
    wait_blocked(probe, "198.18.5.4", 3)
    assert probe.arriving(BANNED | SPARED) == {"2001:db8:bad:7::1"}
    assert running.stop() == 0
    assert net.mail.run("ipset", "list", "-n") == ""


def login_record(address: str) -> bytes:
    """Write down a login as utmp does."""
    packed = socket.inet_aton(address)
    return struct.pack(
        "=h2xi32s4s32s256s16x16s20x", 7, 4711, b"pts/0", b"ts/0", b"root", b"", packed.ljust(16, b"\0")
    )


@pytest.mark.parametrize("listed", [True, False])
def test_ssh_peers(
    bouncer: MakeBouncer, fake_lapi: FakeLapi, probe: Probe, net: Network, listed: bool
) -> None:
    """Who is logged in over SSH passes where `ssh-peers` is listed; elsewhere log and status name who is cut off."""
    admin, guesser = "198.18.9.9", "198.18.9.10"
    fake_lapi.ban("198.18.9.0/24", scenario="ssh-bf")
    running = bouncer(api_url=fake_lapi.url, never_block=["ssh-peers"] if listed else [])
    running.config.with_name("utmp").write_bytes(login_record(admin))
    # A mount namespace of its own, in which /run has that login and nothing else.
    mounts = f'mount -t tmpfs none /run && cp {running.config.with_name("utmp")} /run/utmp && exec "$@"'
    running.inside = ("unshare", "-m", "sh", "-c", mounts, "sh")
    with contextlib.closing(Greeter(net.mail, 22)), net.attacker.inside(), contextlib.ExitStack() as stack:
        for source in (admin, guesser):
            client = stack.enter_context(socket.socket())
            client.setsockopt(socket.IPPROTO_IP, 15, 1)  # IP_FREEBIND
            client.bind((source, 0))
            client.connect((MAIL[4], 22))
        running.start()
        assert probe.arriving([admin, guesser]) == ({admin} if listed else set())
        if not listed:
            running.wait_log(f"{admin} is logged in over SSH, and blocked by cscli (ssh-bf)", within=WITHIN)
            assert any(admin in warning for warning in running.status()["warnings"])
        assert f"{guesser} is logged in" not in running.log
