"""Mode iptables watches: what others break is mended within two seconds, what they may do is left alone."""

from __future__ import annotations

import resource
import time
from dataclasses import replace
from typing import TYPE_CHECKING

import pytest

from fwbouncer.core.model import Change, Family, SetChange
from tests.lab.shell import run
from tests.lab.xtables import CONFIG, VARIANTS, Bench, bans, bench

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from fwbouncer.kernel.xtables_backend import IptablesBackend
    from tests.lab.net import Network
    from tests.lab.packets import Probe

ADDRESS = {4: "198.18.0.7", 6: "2001:db8:ba0::7"}
NAME = {4: "crowdsec-blacklists-0", 6: "crowdsec6-blacklists-0"}


@pytest.fixture(params=VARIANTS)
def inside(net: Network, request: pytest.FixtureRequest) -> Iterator[Bench]:
    """Be on the mail host, with one kind of iptables after the other."""
    with bench(net, request.param) as made:
        yield made


def difference(backend: IptablesBackend, wanted: Change) -> Change:
    """Read the kernel and say what it lacks and what it has too much of."""
    holding = backend.dump()
    change: Change = {}
    for target, part in wanted.items():
        held = holding.get(target, {})
        elements = {element for element, _ in part.add}
        change[target] = SetChange(
            add=[pair for pair in part.add if pair[0] not in held],
            remove=[element for element in held if element not in elements],
        )
    return change


def keep(backend: IptablesBackend, wanted: Change) -> str:
    """Do what the daemon does at a pulse: look, and mend what is noticed. Returns what was."""
    began = time.monotonic()
    noticed = backend.disturbed()
    assert noticed is not None
    backend.apply(difference(backend, wanted))
    assert time.monotonic() - began + (backend.pulse() or 2) < 2
    assert backend.whole()
    assert backend.disturbed() is None
    return noticed


def flushed(inside: Bench, _: int) -> None:
    """Flush every chain, as a firewall script's first line does."""
    for family in (4, 6):
        inside.iptables("-F", family=family)


def removed(inside: Bench, family: int) -> None:
    """Flush and delete every chain, then every set."""
    inside.iptables("-F", family=family)
    inside.iptables("-X", family=family)
    deadline = time.monotonic() + 1
    while NAME[family] in inside.sets() and time.monotonic() < deadline:
        run("ipset", "destroy", NAME[family], check=False)


def without_jump(inside: Bench, family: int) -> None:
    """Delete only the jump, as a firewalld reload does."""
    inside.iptables("-D", "INPUT", "-j", "CROWDSEC_CHAIN", family=family)


def emptied_chain(inside: Bench, family: int) -> None:
    """Empty our chain alone."""
    inside.iptables("-F", "CROWDSEC_CHAIN", family=family)


def overtaken(inside: Bench, family: int) -> None:
    """Put an accepting rule before our jump, as Docker does."""
    inside.iptables("-I", "INPUT", "-j", "ACCEPT", family=family)


def moved(inside: Bench, family: int) -> None:
    """Move the jump behind an accepting rule; the number of rules in the table stays the same."""
    words = "*filter\n-A INPUT -j ACCEPT\n-D INPUT -j CROWDSEC_CHAIN\n-A INPUT -j CROWDSEC_CHAIN\n"
    program = f"ip{'6' if family == 6 else ''}tables-{inside.variant}-restore"
    run(program, "--noflush", text=f"{words}-D CROWDSEC_CHAIN -m conntrack --ctdir REPLY -j RETURN\nCOMMIT\n")


def reloaded(inside: Bench, family: int) -> None:
    """Load a whole ruleset that doesn't know us, as netfilter-persistent does."""
    program = f"ip{'6' if family == 6 else ''}tables-{inside.variant}-restore"
    run(program, text="*filter\n:INPUT ACCEPT [0:0]\n:FORWARD ACCEPT [0:0]\n-A INPUT -j ACCEPT\nCOMMIT\n")


def emptied_set(_: Bench, family: int) -> None:
    """Empty our set."""
    run("ipset", "flush", NAME[family])


def emptied_sets(_: Bench, __: int) -> None:
    """Empty all sets."""
    run("ipset", "flush")


def taken_out(_: Bench, family: int) -> None:
    """Take one ban out by hand."""
    run("ipset", "del", NAME[family], ADDRESS[family])


DAMAGES = (
    *(flushed, removed, without_jump, emptied_chain, overtaken, moved, reloaded),
    *(emptied_set, emptied_sets, taken_out),
)


@pytest.mark.parametrize(("damage", "family"), [(d, 6 if n % 2 else 4) for n, d in enumerate(DAMAGES)])
def test_damage_is_mended_within_two_seconds(
    inside: Bench,
    probe: Probe,
    damage: Callable[[Bench, int], None],
    family: int,
) -> None:
    """However rules or sets were broken, a banned peer's packets pass for two seconds at most."""
    backend = inside.backend()
    wanted = bans(ADDRESS[4], ADDRESS[6], "198.18.16.0/20", "2001:db8:ba1::/48")
    backend.apply(wanted)
    with probe.stream(ADDRESS[family]) as stream:
        damage(inside, family)
        keep(backend, wanted)
        mended = time.monotonic_ns()
        time.sleep(0.05)
    assert stream.arrived() <= 2000
    assert stream.arrived(since=mended) == 0
    assert inside.rules("INPUT", family)[0] == "-j CROWDSEC_CHAIN"


def test_what_was_put_into_a_set_by_hand_is_taken_out(inside: Bench, probe: Probe) -> None:
    """An address that somebody adds to a set of ours is noticed and removed."""
    backend = inside.backend()
    wanted = bans(ADDRESS[4])
    backend.apply(wanted)
    run("ipset", "add", NAME[4], "198.18.0.8")
    assert "not ours" in keep(backend, wanted)
    assert probe.passes("198.18.0.8")


def test_others_may_change_what_is_theirs(inside: Bench) -> None:
    """Rules behind our jump, other tables, other sets, nftables: none of them is taken for damage."""
    backend = inside.backend()
    backend.apply(bans(ADDRESS[4], ADDRESS[6]))
    inside.iptables("-A", "INPUT", "-s", "203.0.113.99", "-j", "DROP")
    inside.iptables("-t", "mangle", "-A", "INPUT", "-s", "203.0.113.99", "-j", "DROP")
    run("ipset", "create", "other", "hash:net")
    run("nft", "add", "table", "inet", "other")
    assert backend.disturbed() is None
    run("nft", "delete", "table", "inet", "other")
    assert inside.rules("INPUT")[-1] == "-s 203.0.113.99/32 -j DROP"


@pytest.mark.parametrize("inside", ["nft"], indirect=True)
def test_bans_that_end_are_no_damage(inside: Bench) -> None:
    """Elements that time out, or that we remove, never look like somebody's work."""
    backend = inside.backend()
    for n in range(20):
        backend.apply(bans(f"198.18.1.{n}", seconds=0.2 + n / 20))
    end = time.monotonic() + 2.5
    while time.monotonic() < end:
        assert backend.disturbed() is None
        time.sleep(0.05)
    assert inside.members(NAME[4]) == {}


def test_our_own_changes_are_no_damage(inside: Bench) -> None:
    """Additions, removals, new groups and grown sets of ours go unremarked."""
    backend = inside.backend(iptables=replace(CONFIG.iptables, ipset_size=10))
    for n in range(30):
        backend.apply(bans(f"198.18.2.{n}", group=f"list-{n % 3}"))
        assert backend.disturbed() is None
    backend.dump()
    assert backend.disturbed() is None


def test_watching_costs_next_to_nothing(inside: Bench) -> None:
    """With 100,000 bans in the sets, watching takes less than one hundredth of a processor."""
    backend = inside.backend()
    wanted = bans(*(f"198.{18 + (n >> 16)}.{n >> 8 & 255}.{n & 255}" for n in range(100_000)))
    backend.apply(wanted)
    backend.disturbed()
    usage = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    for _ in range(40):
        assert backend.disturbed() is None
    after = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    spent = (
        sum(b.ru_utime + b.ru_stime - a.ru_utime - a.ru_stime for a, b in zip(usage, after, strict=True)) / 40
    )
    share = spent / (backend.pulse() or 1)
    print(f"\n{inside.variant}: a look takes {spent * 1000:.2f} ms, {share:.2%} of a processor")
    assert share < 0.01
    assert Family.V4 in {target.family for target in wanted}
