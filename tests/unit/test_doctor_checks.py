"""What the doctor makes of facts: each sick host has its one finding, and a healthy one none."""

from __future__ import annotations

import subprocess
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from fwbouncer.config.load import draft
from fwbouncer.core.model import Family
from fwbouncer.doctor import examine as examine_module
from fwbouncer.doctor.examine import examine
from fwbouncer.doctor.facts import (
    INCUMBENT,
    INCUMBENT_UNIT,
    OUR_DAEMON,
    OUR_UNIT,
    Acquisition,
    Bouncer,
    Certificate,
    CrowdSecItem,
    Daemon,
    Engine,
    Facts,
    File,
    James,
    KeyUse,
    LapiAnswer,
    Lapis,
    Names,
    Process,
    Registry,
    Settings,
    System,
    Units,
    Unseen,
)
from fwbouncer.doctor.finding import Severity
from fwbouncer.doctor.rules import Nft, NftChain, NftRule, NftTable, Xtables
from fwbouncer.host.james import Reading
from fwbouncer.host.james_files import Bind, Problem, Server
from fwbouncer.kernel import iptables
from tests.unit.doctor_help import (
    CONFIG,
    NOW,
    OUR_PROPERTIES,
    PID,
    URL,
    bad,
    filter_table,
    healthy,
    ids,
    one,
    status,
    unit,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from fwbouncer.doctor.finding import Finding

IPTABLES = CONFIG.replace("nftables", "iptables") + "iptables_chains: [INPUT, FORWARD]\n"
IPSET = CONFIG.replace("nftables", "ipset")
SET_ONLY = CONFIG.replace("nftables", "set-only")
CONF = Path("/opt/james/conf")
LOGBACK = CONF / "logback.xml"
READING = Reading(
    CONF, (Server("smtp", CONF / "smtpserver.xml", 3, (Bind("0.0.0.0", 25), Bind("0.0.0.0", 587))),)
)
BEHIND = replace(READING, servers=(replace(READING.servers[0], proxied=True),))
GOOD_LOG = James(CONF, logback=LOGBACK, encoder="JsonEncoder", formatted=True)
SOURCE = Acquisition(
    Path("/etc/crowdsec/acquis.d/james.yaml"), "james", "file", ("/var/log/james/james.json",)
)
PARSER = CrowdSecItem(
    "parsers", "fwbouncer/james-logs", Path("/etc/crowdsec/parsers/s01-parse/james-logs.yaml")
)
SCENARIO = CrowdSecItem("scenarios", "fwbouncer/james-smtp-bf", Path("/etc/crowdsec/scenarios/j.yaml"))
ENGINE = Engine(Path("/etc/crowdsec"), (PARSER, SCENARIO), (SOURCE,))
SAMPLE = CrowdSecItem(
    "parsers", "linagora/james-auth", Path("/etc/crowdsec/parsers/s01-parse/l.yaml"), "message"
)


def lapi(**changes: Any) -> Lapis:
    """Return one LAPI's answer, with some of it changed."""
    return Lapis((replace(LapiAnswer(URL, 200, skew=0.0, took=0.01, metrics=True, local=True), **changes),))


def row(**changes: Any) -> Bouncer:
    """Return our row in the LAPI's list, with some of it changed."""
    ours = Bouncer("fw", "crowdsec-firewall-bouncer", "fwbouncer-1", "127.0.0.1", NOW - 3)
    return replace(ours, **changes)


def james_config(folder: Path) -> str:
    """Return a configuration that asks for James's ports, with a James in that folder."""
    (folder / "smtpserver.xml").write_text("<smtpservers/>")
    return f"{CONFIG}protect: {{ports: james, james_conf: {folder}}}\n"


def file(role: str, mode: int, **changes: Any) -> tuple[File, ...]:
    """Return one file."""
    told = File(role, Path(f"/etc/fwbouncer/{role}"), mode, "root", "fwbouncer", 10, NOW - 60)
    return (replace(told, **changes),)


def test_a_healthy_host(tmp_path: Path) -> None:
    """Where all is well nothing is said against it, and what was looked at is told."""
    found = examine(healthy(tmp_path))
    assert {finding.severity for finding in found} == {Severity.OK}
    assert len(found) > 10


SICK: dict[str, Callable[[Path], Facts]] = {
    # the daemon and its unit
    "service.stopped": lambda p: healthy(p, daemon=Daemon(None, "no daemon is running", running=False)),
    "service.silent": lambda p: healthy(p, daemon=Daemon(None, "the daemon hangs")),
    "service.no-capability": lambda p: healthy(p, processes=(Process(PID, OUR_DAEMON, 0, OUR_UNIT),)),
    "service.twice": lambda p: healthy(
        p, processes=(Process(PID, OUR_DAEMON, 1 << 12, OUR_UNIT), Process(7, OUR_DAEMON, 1 << 12))
    ),
    "service.disabled": lambda p: healthy(p, units=unit(UnitFileState="disabled")),
    "service.changed": lambda p: healthy(p, units=unit(NeedDaemonReload="yes")),
    "service.restarts": lambda p: healthy(p, units=unit(NRestarts="9")),
    "service.no-store": lambda p: healthy(p, units=unit(FileDescriptorStoreMax="0")),
    "service.not-owned": lambda p: healthy(p, daemon=status(owned=False)),
    # the kernel
    "kernel.no-owner": lambda p: healthy(p, system=System("5.10.0-8-amd64")),
    "kernel.conntrack-full": lambda p: healthy(p, system=System("6.1.0", conntrack=(900, 1000))),
    "kernel.no-early-reject": lambda p: healthy(
        p,
        CONFIG + "deny_action: REJECT\nnftables_hooks: [prerouting]\nnftables: {ipv4: {priority: -150}, "
        "ipv6: {priority: -150}}\n",
        system=System("5.4.0"),
    ),
    # the configuration
    "config.not-in-force": lambda p: healthy(p, daemon=status(mode="iptables")),
    # the incumbent
    "incumbent.running": lambda p: healthy(
        p, processes=(Process(PID, OUR_DAEMON, 1 << 12, OUR_UNIT), Process(9, INCUMBENT, 1 << 12))
    ),
    "incumbent.enabled": lambda p: healthy(
        p, units=Units(252, {OUR_UNIT: OUR_PROPERTIES, INCUMBENT_UNIT: {"UnitFileState": "enabled"}})
    ),
    "incumbent.table": lambda p: healthy(
        p,
        CONFIG + "nftables: {ipv4: {table: other}}\n",
        nft=Nft((NftTable("ip", "crowdsec"),), sets=(("ip", "crowdsec", "crowdsec-blacklists-CAPI"),)),
    ),
    "incumbent.rules": lambda p: healthy(p, xtables=filter_table("INPUT -j CROWDSEC_CHAIN", "CROWDSEC_CHAIN -j DROP")),
    "incumbent.sets": lambda p: healthy(p, xtables=Xtables(sets=("crowdsec-blacklists-0", "fail2ban-ssh"))),
    # the order of rules, and containers
    "order.no-input": lambda p: healthy(p, CONFIG + "nftables_hooks: [forward]\n"),
    "order.flowtable": lambda p: healthy(p, nft=Nft(flowtables=("inet fw ft",))),
    "order.untracked": lambda p: healthy(p, nft=Nft(rules=(NftRule("ip", "raw", "pre", ({"notrack": None},)),))),
    "docker.open": lambda p: healthy(
        p, CONFIG + "nftables_hooks: [input]\n", system=System("6.1.0", containers=True)
    ),
    # the LAPI
    "lapi.unreachable": lambda p: healthy(p, lapis=lapi(status=None, error="Connection refused")),
    "lapi.refused": lambda p: healthy(p, lapis=lapi(status=403)),
    "lapi.odd": lambda p: healthy(p, lapis=lapi(status=502)),
    "lapi.polls-fail": lambda p: healthy(p, daemon=status(lapi={"failing_since": 90.0, "error": "no answer"})),
    "lapi.no-snapshot": lambda p: healthy(p, daemon=status(lapi={"snapshot_age": 90_000.0})),
    "lapi.unencrypted": lambda p: healthy(p, lapis=lapi(name="http://lapi.example:8080/", local=False)),
    "lapi.unverified": lambda p: healthy(p, CONFIG + "insecure_skip_verify: true\n"),
    "lapi.too-old": lambda p: healthy(p, registry=Registry("1.3.4", (row(),))),
    "tls.ended": lambda p: healthy(p, lapis=replace(lapi(), certificates=(Certificate("ours", 0, NOW - 1),))),
    "tls.ends": lambda p: healthy(p, lapis=replace(lapi(), certificates=(Certificate("ours", 0, NOW + 9e5),))),
    "tls.not-yet": lambda p: healthy(p, lapis=lapi(certificate=Certificate("its", NOW + 60, NOW + 9e9))),
    "tls.unreadable": lambda p: healthy(p, lapis=replace(lapi(), unreadable=("/x: holds no certificate",))),
    "clock.skew": lambda p: healthy(p, lapis=lapi(skew=-400.0)),
    # the key
    "key.shared-james": lambda p: healthy(p, key_uses=(KeyUse(CONF / "crowdsec.properties", james=True),)),
    "key.shared": lambda p: healthy(p, key_uses=(KeyUse(Path("/etc/crowdsec/bouncers/nginx.conf")),)),
    "key.other-program": lambda p: healthy(p, registry=Registry("1.6.4", (row(kind="x"),), NOW, NOW - 3)),
    "key.other-poller": lambda p: healthy(p, registry=Registry("1.6.4", (row(last_pull=NOW),), NOW, NOW - 5)),
    # what the daemon complains of
    "drift.error": lambda p: healthy(p, daemon=status(kernel={"last_error": "no buffer space"})),
    "daemon.warning": lambda p: healthy(p, daemon=status(warnings=["the state can't be written"])),
    "capacity.full": lambda p: healthy(
        p,
        IPSET,
        daemon=status(mode="ipset"),
        xtables=replace(filter_table("INPUT -m set --match-set crowdsec-blacklists src -j DROP"),
                        sizes={"crowdsec-blacklists": (131072, 131072)}),
    ),
    "capacity.nearly-full": lambda p: healthy(
        p, IPSET, daemon=status(mode="ipset"), xtables=Xtables(sizes={"crowdsec-blacklists": (130000, 131072)})
    ),
    # who is never blocked
    "never-block.unresolved": lambda p: healthy(
        p, CONFIG + "never_block: [mx.example.org]\n", names=Names({"mx.example.org": ()})
    ),
    "never-block.wide": lambda p: healthy(p, CONFIG + "never_block: [198.0.0.0/8]\n"),
    # James
    "james.plain-log": lambda p: healthy(p, james=(replace(GOOD_LOG, encoder="plain"),), engine=ENGINE),
    "james.no-address": lambda p: healthy(p, james=(replace(GOOD_LOG, mdc=False),), engine=ENGINE),
    "james.unformatted": lambda p: healthy(p, james=(replace(GOOD_LOG, formatted=False),), engine=ENGINE),
    "james.quiet": lambda p: healthy(p, james=(replace(GOOD_LOG, quiet="WARN"),), engine=ENGINE),
    "james.lossy": lambda p: healthy(p, james=(replace(GOOD_LOG, lossy=("ASYNC",)),), engine=ENGINE),
    "james.no-parser": lambda p: healthy(p, james=(GOOD_LOG,), engine=replace(ENGINE, items=())),
    "james.no-scenario": lambda p: healthy(p, james=(GOOD_LOG,), engine=replace(ENGINE, items=(PARSER,))),
    "james.parser-mismatch": lambda p: healthy(
        p, james=(GOOD_LOG,), engine=replace(ENGINE, items=(SAMPLE, replace(SCENARIO, name="apache-james/bf-auth")))
    ),
    "james.no-acquisition": lambda p: healthy(p, james=(GOOD_LOG,), engine=replace(ENGINE, acquisitions=())),
    "james.no-file": lambda p: healthy(
        p, james=(GOOD_LOG,), engine=replace(ENGINE, acquisitions=(replace(SOURCE, missing=SOURCE.files),))
    ),
    "james.no-ports": lambda p: healthy(
        p, james_config(p), james=(James(p, reading=Reading(p)),), engine=ENGINE
    ),
    "james.ports": lambda p: healthy(
        p,
        james_config(p),
        james=(James(p, reading=replace(READING, problems=(Problem(p, 3, "is not a number"),))),),
        engine=ENGINE,
    ),
    "proxy.unnamed": lambda p: healthy(p, james=(replace(GOOD_LOG, reading=BEHIND),), engine=ENGINE),
    "proxy.bannable": lambda p: healthy(
        p,
        CONFIG + "protect: {proxies: [192.0.2.1]}\n",
        james=(replace(GOOD_LOG, reading=BEHIND, proxies=("192.0.2.1", "192.0.2.2")),),
        engine=ENGINE,
    ),
    "drift.held-back": lambda p: healthy(p, daemon=status(kernel={"held_back": 7})),
    # files
    "files.readable": lambda p: healthy(p, files=file("config", 0o644)),
    "files.writable": lambda p: healthy(p, files=file("list", 0o666)),
    "files.socket": lambda p: healthy(p, files=file("socket", 0o666)),
    "files.unreadable": lambda p: healthy(p, files=file("key", 0o600)),
    "state.missing": lambda p: healthy(p, files=file("state", 0, missing="No such file or directory")),
    "state.old": lambda p: healthy(p, files=file("state", 0o600, modified=NOW - 200_000)),
}  # fmt: skip


# A kernel that old lacks more than one thing.
ALSO = {"kernel.no-early-reject": {"kernel.no-owner"}}


@pytest.mark.parametrize("sickness", SICK)
def test_one_sickness_is_one_finding(sickness: str, tmp_path: Path) -> None:
    """What is wrong is told once, and nothing else is."""
    found = bad(SICK[sickness](tmp_path))
    assert {finding.id for finding in found} == {sickness} | ALSO.get(sickness, set())
    for finding in found:
        assert finding.what
        assert finding.why
        assert "a-key-of-ours" not in f"{finding}"


@pytest.mark.parametrize("sickness", SICK)
def test_what_mends_is_a_command(sickness: str, tmp_path: Path) -> None:
    """Every command that mends is one of a shell's, and begins with a program that a host has or README installs."""
    programs = {
        "fwbouncer", "systemctl", "journalctl", "nft", "iptables", "ip6tables", "ipset", "sysctl", "timedatectl",
        "cscli", "crowdsec", "apt-get", "chmod", "chgrp", "mkdir", "printf", "echo", "install", "cp", "rm", "kill",
        "grep", "getent", '"${EDITOR:-vi}"',
    }  # fmt: skip
    for finding in bad(SICK[sickness](tmp_path)):
        for command in finding.mend:
            subprocess.run(["sh", "-n", "-c", command], check=True, timeout=10)
            assert command.split()[0] in programs, command


def test_nothing_is_said_of_what_was_not_seen(tmp_path: Path) -> None:
    """A part that can't be looked at is told, with why, and nothing is guessed about it."""
    unseen = Unseen("permission denied")
    parts = ("system", "units", "processes", "nft", "xtables", "lapis", "registry", "key_uses", "james", "engine",
             "files", "names", "firewalld")  # fmt: skip
    facts = healthy(tmp_path, **dict.fromkeys(parts, unseen))
    assert ids(facts) == []
    told = [finding for finding in examine(facts) if finding.id == "doctor.unseen"]
    assert len(told) == len(parts)
    assert all("permission denied" in finding.what for finding in told)


def test_a_wrong_configuration(tmp_path: Path) -> None:
    """Each mistake is a finding with its line; the rest of the host is looked at all the same."""
    path = tmp_path / "f.yaml"
    path.write_text("mode: nftables\napi_url: http://127.0.0.1/\napi_keey: x\nupdate_frequency: soon\n")
    found = draft(path, {})
    facts = replace(healthy(tmp_path), settings=Settings(path, None, found.problems, found.warnings))
    assert [f.id for f in bad(facts)].count("config.wrong") == 3
    assert any(":3" in f.what and "api_key" in f.what for f in bad(facts))
    assert one(facts, "service.running")


def test_without_root(tmp_path: Path) -> None:
    """Who is not root is told so, and a socket that it can't open is no problem of the daemon's."""
    facts = healthy(tmp_path, root=False, daemon=Daemon(None, "not permitted to open the socket"))
    assert ids(facts) == []
    assert one(facts, "doctor.not-root").mend == ("sudo fwbouncer doctor",)


def test_the_tables_that_are_ours(tmp_path: Path) -> None:
    """Tables of the configured names are no leftovers; without a daemon they are told as what they are."""
    nft = Nft((NftTable("ip", "crowdsec"),), sets=(("ip", "crowdsec", "crowdsec-blacklists-cscli"),))
    assert ids(healthy(tmp_path, nft=nft)) == []
    alone = healthy(tmp_path, nft=nft, daemon=Daemon(None, "no daemon", running=False))
    assert ids(alone) == ["service.stopped"]
    assert "teardown" in one(alone, "leftover.table").mend[0]


def test_a_table_of_another_fwbouncer_is_left_alone(tmp_path: Path) -> None:
    """A table that belongs to a living socket is nobody's leftover."""
    nft = Nft((NftTable("ip", "crowdsec", 77),), sets=(("ip", "crowdsec", "crowdsec-blacklists-cscli"),))
    assert ids(healthy(tmp_path, CONFIG + "nftables: {ipv4: {table: other}}\n", nft=nft)) == []


def test_fail2ban_is_fine(tmp_path: Path) -> None:
    """Other programs' tables and chains are no business of ours."""
    nft = Nft((NftTable("inet", "f2b-table"),), sets=(("inet", "f2b-table", "addr-set-sshd"),))
    table = filter_table("INPUT -p tcp -j f2b-sshd", "f2b-sshd -j RETURN")
    assert ids(healthy(tmp_path, nft=nft, xtables=table)) == []


FIRST = "INPUT -j CROWDSEC_CHAIN"
FORWARDED = "FORWARD -j CROWDSEC_CHAIN"


@pytest.mark.parametrize(
    ("rules", "expected"),
    [
        ([FIRST, "INPUT -p tcp --dport 25 -j ACCEPT"], []),
        (["INPUT -i lo -j ACCEPT", FIRST], []),
        (["INPUT -m conntrack --ctstate RELATED,ESTABLISHED -j ACCEPT", FIRST], []),
        (["INPUT -m conntrack --ctstate INVALID -j DROP", FIRST], []),
        (["INPUT -p tcp --dport 25 -j ACCEPT", FIRST], ["order.accepted-first"]),
        (["INPUT -m conntrack --ctstate NEW,ESTABLISHED -j ACCEPT", FIRST], ["order.accepted-first"]),
        (["INPUT -j mail", FIRST, "mail -p tcp -j ACCEPT"], ["order.accepted-first"]),
        (["INPUT -j mail", FIRST, "mail -p tcp -j DROP"], []),
        (["INPUT -p tcp --dport 25 -j ACCEPT"], ["order.no-jump"]),
        (["INPUT -j loop", FIRST, "loop -j loop"], []),
        (["INPUT ! -i lo -j ACCEPT", FIRST], ["order.accepted-first"]),
        (["INPUT -m conntrack ! --ctstate INVALID -j ACCEPT", FIRST], ["order.accepted-first"]),
        (["INPUT -m conntrack ! --ctstate INVALID,NEW -j ACCEPT", FIRST], []),
        (["INPUT ! -s 10.0.0.0/8 -m conntrack --ctstate NEW -j ACCEPT", FIRST], ["order.accepted-first"]),
    ],
)
def test_order_in_iptables(rules: list[str], expected: list[str], tmp_path: Path) -> None:
    """Only what may accept a new packet from outside, ahead of the bans, is told."""
    v4 = filter_table(*rules, FORWARDED).tables[Family.V4]
    v6 = filter_table(FIRST, FORWARDED).tables[Family.V4]
    facts = healthy(
        tmp_path, IPTABLES, daemon=status(mode="iptables"), units=Unseen(""),
        processes=(Process(PID, OUR_DAEMON, 3 << 12),), xtables=Xtables({Family.V4: v4, Family.V6: v6}),
    )  # fmt: skip
    assert ids(facts) == expected


def test_docker_user_that_nobody_named(tmp_path: Path) -> None:
    """In mode iptables containers' ports are open where neither DOCKER-USER nor FORWARD leads to the bans."""
    text = IPTABLES.replace("[INPUT, FORWARD]", "[INPUT]")
    table = filter_table(FIRST, "FORWARD -j DOCKER-USER", "DOCKER-USER -j RETURN").tables[Family.V4]
    plain = iptables.parse(f"-A {FIRST}\n")
    facts = healthy(
        tmp_path, text, daemon=status(mode="iptables"), units=Unseen(""),
        processes=(Process(PID, OUR_DAEMON, 3 << 12),), xtables=Xtables({Family.V4: table, Family.V6: plain}),
    )  # fmt: skip
    assert ids(facts) == ["docker.open"]


def test_a_chain_that_is_jumped_to_too_late(tmp_path: Path) -> None:
    """The bans in DOCKER-USER are of no use to a packet that FORWARD accepts before it leads there."""
    text = IPTABLES.replace("[INPUT, FORWARD]", "[INPUT, DOCKER-USER]")
    table = filter_table(
        FIRST, "FORWARD -p tcp -j ACCEPT", "FORWARD -j DOCKER-USER", "DOCKER-USER -j CROWDSEC_CHAIN"
    ).tables[Family.V4]
    plain = iptables.parse(f"-A {FIRST}\n")
    facts = healthy(
        tmp_path, text, daemon=status(mode="iptables"), units=Unseen(""),
        processes=(Process(PID, OUR_DAEMON, 3 << 12),), xtables=Xtables({Family.V4: table, Family.V6: plain}),
    )  # fmt: skip
    assert ids(facts) == ["order.accepted-first"]


def _lookup(name: str) -> NftRule:
    source = {"payload": {"protocol": "ip", "field": "saddr"}}
    match = {"match": {"op": "==", "left": source, "right": f"@{name}"}}
    return NftRule("ip", "crowdsec", "input", (match, {"drop": None}))


def _accepting(*matches: dict[str, Any]) -> NftRule:
    return NftRule("ip", "crowdsec", "input", (*matches, {"accept": None}))


ESTABLISHED = {"match": {"op": "in", "left": {"ct": {"key": "state"}}, "right": ["established", "related"]}}
TO_25 = {"match": {"op": "==", "left": {"payload": {"protocol": "tcp", "field": "dport"}}, "right": 25}}
LOOPBACK = {"match": {"op": "==", "left": {"meta": {"key": "iif"}}, "right": "lo"}}


@pytest.mark.parametrize(
    ("rules", "expected"),
    [
        ((), ["order.unused-set"]),
        ((_lookup("crowdsec-blacklists"),), []),
        ((_accepting(ESTABLISHED), _accepting(LOOPBACK), _lookup("crowdsec-blacklists")), []),
        ((_accepting(TO_25), _lookup("crowdsec-blacklists")), ["order.accepted-first"]),
        ((_lookup("crowdsec-blacklists"), _accepting(TO_25)), []),
        ((_lookup("another"),), ["order.unused-set"]),
    ],
)
def test_set_only_needs_a_rule_of_yours(
    rules: tuple[NftRule, ...], expected: list[str], tmp_path: Path
) -> None:
    """A set that fwbouncer fills blocks nobody until a rule asks it, ahead of those that accept."""
    text = SET_ONLY + "disable_ipv6: true\n"
    facts = healthy(tmp_path, text, daemon=status(owned=False), nft=Nft(rules=rules))
    assert ids(facts) == expected


def test_an_ipset_needs_a_rule_of_yours(tmp_path: Path) -> None:
    """The same in mode ipset, once the set is there."""
    text = IPSET + "disable_ipv6: true\n"
    used = filter_table("INPUT -m set --match-set crowdsec-blacklists src -j DROP")
    unused = replace(filter_table("INPUT -j ACCEPT"), sets=("crowdsec-blacklists",))
    assert ids(healthy(tmp_path, text, daemon=status(mode="ipset"), xtables=used)) == []
    assert ids(healthy(tmp_path, text, daemon=status(mode="ipset"), xtables=unused)) == ["order.unused-set"]


def test_old_systemd_must_be_told_of_the_store(tmp_path: Path) -> None:
    """A unit that lost FDSTORE in its environment keeps no socket where systemd is older than 254."""
    old = healthy(tmp_path, units=unit(Environment=""))
    assert ids(old) == ["service.no-store"]
    assert "Environment=FDSTORE=4" in " ".join(one(old, "service.no-store").mend)
    units = Units(257, {OUR_UNIT: {**OUR_PROPERTIES, "Environment": ""}})
    assert ids(healthy(tmp_path, units=units)) == []


def test_two_lapis_and_one_is_down(tmp_path: Path) -> None:
    """As long as one LAPI answers, another's silence is a warning."""
    text = CONFIG.replace(
        "api_url: http://127.0.0.1:8080/", "api_urls: [http://127.0.0.1:8080/, http://127.0.0.1:9/]"
    )
    up, down = lapi().answers[0], LapiAnswer("http://127.0.0.1:9/", error="refused", local=True)
    facts = healthy(tmp_path, text, lapis=Lapis((up, down)))
    assert one(facts, "lapi.unreachable").severity is Severity.WARNING
    facts = healthy(tmp_path, text, lapis=Lapis((down, replace(down, name="http://127.0.0.1:8080/"))))
    assert {f.severity for f in bad(facts)} == {Severity.PROBLEM}


def test_our_own_poll_is_no_stranger(tmp_path: Path) -> None:
    """The LAPI's note of our own last poll, or none that can be compared, is no sign of a second one."""
    for registry in (
        Registry("1.6.4", (row(last_pull=NOW - 5.1),), NOW, NOW - 5),
        Registry("1.6.4", (row(last_pull=NOW),), NOW, None),
        Registry("1.6.4", (row(kind="x"), row()), NOW, NOW - 3),
        Registry("1.6.4", (), NOW, NOW - 3),
    ):
        assert ids(healthy(tmp_path, registry=registry)) == []


def test_you_over_ssh(tmp_path: Path) -> None:
    """Whoever is logged in from an address that a ban can reach is told how to be spared."""
    system = System("6.1.0", ssh_client="198.51.100.9")
    assert "198.51.100.9" in one(healthy(tmp_path, system=system), "never-block.yourself").what
    for spared in ("[ssh-peers]", "[198.51.100.0/24]"):
        facts = healthy(tmp_path, f"{CONFIG}never_block: {spared}\n", system=system)
        assert not [f for f in examine(facts) if f.id == "never-block.yourself"]


def test_firewalld(tmp_path: Path) -> None:
    """A firewalld that runs is no harm to tables that are owned, and flushes iptables' rules at a reload."""
    units = Units(252, {"firewalld.service": {"ActiveState": "active"}})
    assert ids(healthy(tmp_path, units=units)) == []
    facts = healthy(
        tmp_path, IPTABLES, units=units, daemon=status(mode="iptables"), firewalld={},
        processes=(Process(PID, OUR_DAEMON, 3 << 12),),
        xtables=Xtables(dict.fromkeys(Family, filter_table(FIRST, FORWARDED).tables[Family.V4])),
    )  # fmt: skip
    assert ids(facts) == ["firewalld.flushes"]
    assert ids(replace(facts, firewalld={"FlushAllOnReload": "no"})) == []


def test_two_collections_for_james(tmp_path: Path) -> None:
    """James's own sample beside our collection counts each attempt twice."""
    sample = replace(SAMPLE, text="formattedMessage")
    facts = healthy(tmp_path, james=(GOOD_LOG,), engine=replace(ENGINE, items=(PARSER, SCENARIO, sample)))
    assert ids(facts) == ["james.two-collections"]


def test_a_plain_log_that_is_read_as_such(tmp_path: Path) -> None:
    """Where CrowdSec is told that the log is plain, that is what was chosen."""
    engine = replace(ENGINE, acquisitions=(replace(SOURCE, kind="james-plain"),))
    assert ids(healthy(tmp_path, james=(replace(GOOD_LOG, encoder="plain", mdc=False),), engine=engine)) == []


def test_a_proxy_that_is_named(tmp_path: Path) -> None:
    """A proxy in front of James that the configuration spares is as it should be, and told once."""
    text = CONFIG + "protect: {proxies: [192.0.2.0/28]}\n"
    james = replace(GOOD_LOG, reading=BEHIND, proxies=("192.0.2.2",))
    told = status(warnings=list(BEHIND.warnings(asked=True)))
    assert ids(healthy(tmp_path, text, james=(james,), engine=ENGINE, daemon=told)) == []


def test_sessions_that_cant_be_cut(tmp_path: Path) -> None:
    """A kernel that can't end sockets is told of, by the daemon's word or by the kernel's options."""
    told = status(sessions={"unsupported": ["open sessions of newly banned peers can't be cut: x"]})
    assert "can't be cut" in one(healthy(tmp_path, daemon=told), "kernel.no-session-cut").what
    built = System("6.1.0", {"CONFIG_INET_DIAG_DESTROY": "n"})
    assert one(healthy(tmp_path, system=built), "kernel.no-session-cut")
    off = healthy(tmp_path, CONFIG + "on_ban: {close_sessions: false}\n", system=built)
    assert not [f for f in examine(off) if f.id == "kernel.no-session-cut"]


NAMED = CONFIG + "protect: {ports: [25, 993, 4190]}\ndisable_ipv6: true\n"
DROPPING = NftChain("inet", "fw", "in", "input", 0, "filter", "drop")


def _in(*statements: dict[str, Any]) -> NftRule:
    return NftRule("inet", "fw", "in", statements)


def _to(right: Any) -> dict[str, Any]:
    return {"match": {"op": "==", "left": {"payload": {"protocol": "tcp", "field": "dport"}}, "right": right}}


ACCEPT: dict[str, Any] = {"accept": None}


@pytest.mark.parametrize(
    ("rules", "shut"),
    [
        ([], "25, 993, 4190"),
        ([_in(_to(25), ACCEPT), _in(_to({"set": [993, {"range": [4000, 5000]}]}), ACCEPT)], ""),
        ([_in(_to({"range": [1, 1000]}), ACCEPT)], "4190"),
        ([_in(ESTABLISHED, ACCEPT), _in(LOOPBACK, ACCEPT), _in(_to(25), ACCEPT)], "993, 4190"),
        ([_in(_to(25), {"drop": None})], "25, 993, 4190"),
        ([_in(ACCEPT)], ""),
        ([_in({"jump": {"target": "mail"}})], ""),
        ([_in(_to("@mail"), ACCEPT)], ""),
        ([_in({"xt": None}, ACCEPT)], ""),
        ([_in({"match": {**ESTABLISHED["match"], "op": "!=", "right": "invalid"}}, ACCEPT)], ""),
        ([_in({"match": {**LOOPBACK["match"], "op": "!="}}, ACCEPT)], ""),
    ],
)
def test_ports_that_are_shut_anyway(rules: list[NftRule], shut: str, tmp_path: Path) -> None:
    """Only what is certain is told: a rule that isn't understood opens everything."""
    facts = healthy(tmp_path, NAMED, nft=Nft(chains=(DROPPING,), rules=tuple(rules)))
    told = [finding.what for finding in examine(facts) if finding.id == "ports.shut-anyway"]
    assert [text.partition("ports ")[2].partition(" are")[0] for text in told] == ([shut] if shut else [])
    assert ids(facts) == []


@pytest.mark.parametrize(
    ("rules", "shut"),
    [
        (
            [
                "INPUT -p tcp -m tcp --dport 25 -j ACCEPT",
                "INPUT -p tcp -m multiport --dports 993,4000:5000 -j ACCEPT",
            ],
            "",
        ),
        (["INPUT -p tcp -m tcp --dport 25 -j ACCEPT", "INPUT -i lo -j ACCEPT"], "993, 4190"),
        (["INPUT -j ufw-before-input"], ""),
        (["INPUT -m conntrack --ctstate RELATED,ESTABLISHED -j ACCEPT"], "25, 993, 4190"),
        (["INPUT -s 192.0.2.0/24 -j ACCEPT"], ""),
        (["INPUT -m conntrack ! --ctstate INVALID -j ACCEPT"], ""),
        (["INPUT -p tcp ! --dport 22 -j ACCEPT"], ""),
        (["INPUT ! -s 10.0.0.0/8 -p tcp --dport 25 -j ACCEPT"], "993, 4190"),
    ],
)
def test_ports_that_iptables_shuts(rules: list[str], shut: str, tmp_path: Path) -> None:
    """The same for iptables, where its policy is DROP."""
    table = replace(filter_table(*rules), policies={Family.V4: {"INPUT": "DROP"}})
    told = [f.what for f in examine(healthy(tmp_path, NAMED, xtables=table)) if f.id == "ports.shut-anyway"]
    assert [text.partition("ports ")[2].partition(" are")[0] for text in told] == ([shut] if shut else [])
    open_policy = replace(table, policies={Family.V4: {"INPUT": "ACCEPT"}})
    found = examine(healthy(tmp_path, NAMED, xtables=open_policy))
    assert not [f for f in found if f.id == "ports.shut-anyway"]


def test_a_check_that_fails_costs_no_other(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A mistake in one check is told as such, and all others speak."""

    def broken(facts: Facts) -> Iterator[Finding]:
        yield from examine_module.CHECKS[0](facts)
        raise KeyError("odd")

    everybody = examine(healthy(tmp_path))
    monkeypatch.setattr(examine_module, "CHECKS", (*examine_module.CHECKS, broken))
    found = examine(healthy(tmp_path))
    assert found[0].id == "doctor.failed"
    assert "KeyError" in found[0].what
    assert set(everybody) <= set(found)
