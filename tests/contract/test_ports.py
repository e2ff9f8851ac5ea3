"""Sets of a policy close its ports alone, in every kind of kernel, and are found again."""

from __future__ import annotations

import json
import time
from dataclasses import replace
from typing import TYPE_CHECKING

import pytest

from fwbouncer.config.schema import Deny, Iptables
from fwbouncer.core.model import NEVER_BLOCK, Family, Kind, SetChange, SetKey
from fwbouncer.core.policy import Action, Policies, Policy
from fwbouncer.core.ports import Ports
from tests.contract.kernels import KERNELS
from tests.contract.nft_subject import NftSubject
from tests.contract.subjects import MINUTE
from tests.contract.xtables_subject import IptablesSubject
from tests.lab.packets import PORT
from tests.lab.shell import run

if TYPE_CHECKING:
    from collections.abc import Callable

    from fwbouncer.core.model import Change
    from fwbouncer.kernel.backend import Backend

    Subject = NftSubject | IptablesSubject

PEER, OTHER, RANGE = "198.18.0.1", "2001:db8:ba0::1", "198.18.16.0/24"
HERE, ELSEWHERE = Ports.of(PORT), Ports.of(25, (6000, 6010))
able = [name for name, (kind, _) in KERNELS.items() if issubclass(kind, NftSubject | IptablesSubject)]
pytestmark = pytest.mark.parametrize("subject", able, indirect=True)


def choose(subject: Subject, *named: Policy, default: Ports | None = None, given: bool = False) -> None:
    """Configure policies, with the rules where we choose or where the administrator says."""
    chains = ("INPUT",) if given else ()
    subject.config = replace(
        subject.config,
        policies=Policies(Policy(listed=default), named),
        given_place=given,
        iptables=Iptables(v4_chains=chains, v6_chains=chains),
    )


def banning(subject: Subject, group: str) -> Change:
    """Ban an address of each family and a network."""
    return subject.change(add={PEER: 9 * MINUTE, OTHER: 9 * MINUTE, RANGE: 9 * MINUTE}, group=group)


def arriving(subject: Subject) -> set[str]:
    """Return which of the peers get through to the port of the probe."""
    return subject.passing(PEER, OTHER, "198.18.16.9", "198.18.0.9")


ALL = {PEER, OTHER, "198.18.16.9", "198.18.0.9"}
given = pytest.mark.parametrize("given", [False, True], ids=["early", "given"])


@given
def test_a_ban_closes_its_policys_ports(subject: Subject, given: bool) -> None:
    """A set whose policy names the port blocks there; one whose policy names others doesn't."""
    choose(subject, Policy("here", listed=HERE), default=ELSEWHERE, given=given)
    backend = subject.backend()
    backend.apply(banning(subject, "crowdsec"))
    assert arriving(subject) == ALL
    backend.apply(banning(subject, "crowdsec/here"))
    assert arriving(subject) == {"198.18.0.9"}


@given
def test_both_bans_of_an_address_hold(subject: Subject, given: bool) -> None:
    """An address that two policies ban stays banned by the one when the other's ban ends."""
    choose(subject, Policy("here", listed=HERE), default=HERE, given=given)
    backend = subject.backend()
    backend.apply(banning(subject, "crowdsec"))
    backend.apply(banning(subject, "crowdsec/here"))
    backend.apply(subject.change(remove=(PEER, OTHER, RANGE), group="crowdsec"))
    assert arriving(subject) == {"198.18.0.9"}


@given
def test_what_stands_is_found_again(subject: Subject, given: bool) -> None:
    """Another process finds the policies' sets as they were left, and has nothing to mend."""
    policies = (
        Policy("here", listed=HERE, reset=HERE),
        Policy("refuse", listed=ELSEWHERE, action=Action.REJECT),
        Policy("wide"),
    )
    choose(subject, *policies, default=Ports.of(25, (100, 140), *range(200, 250, 3), 40000), given=given)
    groups = ["crowdsec", *(f"crowdsec/{policy.name}" for policy in policies), "lists-x/wide"]
    backend = subject.backend()
    for group in groups:
        backend.apply(banning(subject, group))
    assert backend.whole()
    after = subject.open()
    subject.opened.append(after)
    held = after.dump()
    assert after.whole()
    assert {target.group for target in held} >= set(groups)
    counts = {group: sum(len(e) for t, e in held.items() if t.group == group) for group in groups}
    assert set(counts.values()) == {3}
    before = subject.generation()
    after.apply({})
    assert subject.generation() == before


@given
def test_counters_are_the_origins(subject: Subject, given: bool) -> None:
    """What an origin's bans cost is one sum, whatever policies they go by; each packet counts once."""
    choose(subject, Policy("here", listed=HERE), Policy("wide"), default=ELSEWHERE, given=True)
    backend = subject.backend()
    for group in ("crowdsec/here", "cscli", "crowdsec/wide"):
        backend.apply(subject.change(add={PEER: MINUTE}, group=group))
    backend.apply(subject.change(add={OTHER: MINUTE}, group="crowdsec/wide"))
    for _ in range(3):
        arriving(subject)
    assert _packets(backend, "crowdsec") == 6
    assert _packets(backend, "cscli") == 0
    assert not [one for one in backend.counters() if "/" in one.group]


@given
def test_who_is_never_blocked_passes_ahead_of_every_policy(subject: Subject, given: bool) -> None:
    """A never-blocked network is let through to closed ports."""
    choose(subject, Policy("here", listed=HERE), default=HERE, given=given)
    backend = subject.backend()
    kind = Kind.RANGES if subject.flat else Kind.HOSTS
    element = bytes((198, 18, 0, 0, 198, 18, 0, 255)) if subject.flat else bytes((198, 18, 0, 0, 24))
    spared = {SetKey(NEVER_BLOCK, Family.V4, kind): SetChange(add=[(element, subject.now() + MINUTE)])}
    backend.apply({**banning(subject, "crowdsec/here"), **banning(subject, "cscli"), **spared})
    assert arriving(subject) == {PEER, "198.18.0.9"}


def test_a_policy_that_is_gone_leaves_its_bans_to_the_default(subject: Subject) -> None:
    """Until somebody moves them, bans in the sets of a policy that is configured no more go by the default."""
    choose(subject, Policy("here", listed=HERE), default=ELSEWHERE)
    subject.backend().apply(banning(subject, "crowdsec/here"))
    choose(subject, default=HERE)
    backend = subject.backend()
    assert not backend.whole()
    backend.apply({})
    assert arriving(subject) == {"198.18.0.9"}


def test_empty_sets_of_a_policy_that_is_gone_go(subject: Subject) -> None:
    """Once its bans are elsewhere, nothing of such a policy is left; what is banned stays so meanwhile."""
    choose(subject, Policy("here", listed=HERE), default=HERE)
    subject.backend().apply(banning(subject, "crowdsec/here"))
    choose(subject, default=HERE)
    with subject.watched(PEER) as seen:
        backend = subject.backend()
        gone = subject.change(remove=(PEER, OTHER, RANGE), group="crowdsec/here")
        backend.apply({**banning(subject, "crowdsec"), **gone})
        held = backend.dump()
        if any(target.group == "crowdsec/here" for target in held):
            assert not backend.whole()
            backend.apply({})
        assert backend.whole()
        assert not [target for target in backend.dump() if target.group == "crowdsec/here"]
        assert backend.whole()
    assert not any(seen)
    names = (
        run("ipset", "list", "-name")
        if isinstance(subject, IptablesSubject)
        else run("nft", "list", "ruleset")
    )
    assert "/here" not in names
    choose(subject, Policy("here", listed=HERE), default=HERE)
    again = subject.backend()
    again.apply({**banning(subject, "crowdsec/here"), **subject.change(remove=(PEER,), group="crowdsec")})
    assert arriving(subject) == {"198.18.0.9"}


SHAPES: list[Callable[[Subject], None]] = [
    lambda subject: choose(subject, Policy("here", listed=HERE), default=ELSEWHERE),
    lambda subject: choose(subject, Policy("here"), default=HERE, given=True),
    lambda subject: choose(subject, Policy("here", listed=HERE, action=Action.REJECT), default=HERE),
    lambda subject: choose(subject, Policy("here", listed=HERE, reset=HERE), default=None, given=True),
    lambda subject: choose(subject, Policy("here", listed=HERE | ELSEWHERE), default=HERE),
    lambda subject: choose(subject, default=HERE, given=True),
]


def test_rules_change_their_place_without_a_gap(subject: Subject) -> None:
    """While ports, verdicts and places change, no packet comes through that is closed before and after."""
    SHAPES[0](subject)
    subject.backend().apply(banning(subject, "crowdsec/here"))
    with subject.watched(PEER) as seen:
        for shape in [*SHAPES, *SHAPES[::2], *SHAPES[::-1]]:
            shape(subject)
            subject.backend().apply({})
            time.sleep(0.01)
    assert len(seen) > 100
    assert not any(seen)


def test_somebody_elses_change_is_noticed(subject: Subject) -> None:
    """A flushed chain of a policy is seen at the next look and filled again; an owned table can't be flushed."""
    choose(subject, Policy("here", listed=HERE), default=ELSEWHERE)
    backend = subject.backend()
    backend.apply(banning(subject, "crowdsec/here"))
    if isinstance(subject, IptablesSubject):
        subject.bench.iptables("-t", "raw", "-F", "CROWDSEC_P-here")
    else:
        run("nft", "flush", "chain", "ip", "crowdsec", "crowdsec-chain-ports-here", check=False)
    assert (backend.disturbed() is None) == (isinstance(subject, NftSubject) and subject.owned)
    backend.dump()
    backend.apply({})
    assert arriving(subject) == {"198.18.0.9"}


@given
def test_removing_leaves_nothing(subject: Subject, given: bool) -> None:
    """Chains, sets and jumps of every policy go, in every table, also by one who is configured otherwise."""
    choose(subject, Policy("here", listed=HERE, reset=HERE), Policy("wide"), default=ELSEWHERE, given=given)
    subject.config = replace(subject.config, deny=Deny(log=True))
    backend = subject.backend()
    for group in ("crowdsec", "crowdsec/here", "cscli/wide"):
        backend.apply(banning(subject, group))
    choose(subject)
    subject.backend().remove()
    assert subject.empty()
    if isinstance(subject, IptablesSubject):
        for family in (4, 6):
            shown = subject.bench.iptables("-t", "raw", "-S", family=family)
            assert all(line.startswith("-P") for line in shown.splitlines())
    assert arriving(subject) == ALL


def test_the_rules_are_what_an_administrator_reads(subject: Subject) -> None:
    """The tools show the ports by number, ahead of tracking, in chains with the policy's name."""
    choose(subject, Policy("here", listed=HERE), default=ELSEWHERE)
    subject.backend().apply(banning(subject, "crowdsec/here"))
    if isinstance(subject, IptablesSubject):
        rules = subject.bench.iptables("-t", "raw", "-S").splitlines()
        assert "-A PREROUTING -j CROWDSEC_CHAIN" in rules
        assert "-A CROWDSEC_CHAIN -p tcp -m multiport --dports 4190 -j CROWDSEC_P-here" in rules
        assert "-A CROWDSEC_CHAIN -p udp -m multiport --dports 25,6000:6010 -j CROWDSEC_PORTS" in rules
        return
    listing = json.loads(run("nft", "-j", "list", "table", "ip", "crowdsec"))["nftables"]
    chain = next(e["chain"] for e in listing if e.get("chain", {}).get("name") == "crowdsec-chain-prerouting")
    assert (chain["hook"], chain["prio"]) == ("prerouting", -300)
    text = run("nft", "list", "chain", "ip", "crowdsec", "crowdsec-chain-prerouting")
    assert "meta l4proto { tcp, udp } th dport 4190 jump crowdsec-chain-ports-here" in text.replace(
        "{ 4190 }", "4190"
    )
    assert "th dport { 25, 6000-6010 } jump crowdsec-chain-ports" in text


def _packets(backend: Backend, group: str) -> int:
    return sum(one.packets for one in backend.counters() if one.group == group)
