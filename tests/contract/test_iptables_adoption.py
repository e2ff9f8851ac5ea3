"""Mode iptables: what an earlier process left, what is ours and what is not, and what Docker has to do with it."""

from __future__ import annotations

import logging
from dataclasses import replace
from typing import TYPE_CHECKING

import pytest

from fwbouncer.config.schema import Deny, Iptables
from fwbouncer.core.model import Family, Kind, SetChange, SetKey
from fwbouncer.core.policy import Action
from tests.lab.shell import run
from tests.lab.xtables import CONFIG, VARIANTS, Bench, bans, bench, key

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.lab.net import Network
    from tests.lab.packets import Probe

JUMP = "-j CROWDSEC_CHAIN"
REPLIES = "-m conntrack --ctdir REPLY -j RETURN"


@pytest.fixture(params=VARIANTS)
def inside(net: Network, request: pytest.FixtureRequest) -> Iterator[Bench]:
    """Be on the mail host, with one kind of iptables after the other."""
    with bench(net, request.param) as made:
        yield made


class TestAdoption:
    """What an earlier process left goes on blocking, and is swept when it is no longer wanted."""

    def test_the_incumbents_leftovers_are_taken_over(self, inside: Bench, probe: Probe) -> None:
        """Sets and rules that a killed cs-firewall-bouncer left go on blocking, under their groups."""
        for number, origin, address in ((0, "CAPI", "198.18.0.7"), (1, "lists:fire hol", "198.18.0.8")):
            name = f"crowdsec-blacklists-{number}"
            run("ipset", "create", name, "hash:net", "timeout", "300", "maxelem", "131072")
            run("ipset", "add", name, address, "timeout", "1000")
            inside.iptables("-N" if not number else "-L", "CROWDSEC_CHAIN")
            inside.iptables("-I", "CROWDSEC_CHAIN", "-m", "set", "--match-set", name, "src", "-j", "DROP",
                            "-m", "comment", "--comment", f"CrowdSec: {origin}")  # fmt: skip
        inside.iptables("-I", "INPUT", "-j", "CROWDSEC_CHAIN")
        backend = inside.backend()
        held = {target.group: set(elements) for target, elements in backend.dump().items()}
        assert held.pop("CAPI") == {key("198.18.0.7")}
        assert list(held.values()) == [{key("198.18.0.8")}]
        with probe.stream("198.18.0.7") as stream:
            backend.apply({})
        assert not stream.arrived()
        assert inside.rules("CROWDSEC_CHAIN")[0] == REPLIES
        assert inside.backend().whole()

    def test_sets_without_comments_change_hands_without_a_gap(self, inside: Bench, probe: Probe) -> None:
        """Without comments old sets are groups of their own; they go once the new ones are in force."""
        bare = replace(CONFIG.iptables, rule_comments=False)
        inside.backend(iptables=bare).apply(bans("198.18.0.7", "198.18.0.8"))
        second = inside.backend(iptables=bare)
        (left, elements), = second.dump().items()  # fmt: skip
        assert left.group == "crowdsec-blacklists-0"
        assert second.whole()
        with probe.stream("198.18.0.7") as stream:
            second.apply({**bans("198.18.0.7"), left: SetChange(remove=list(elements))})
        assert not stream.arrived()
        assert inside.sets() == {"crowdsec-blacklists-1"}
        assert second.whole()
        assert probe.passes("198.18.0.8")

    def test_a_set_of_another_make_is_replaced_without_a_gap(self, inside: Bench, probe: Probe) -> None:
        """When ipset_disable_timeouts changes, the old set blocks until the new one does."""
        inside.backend().apply(bans("198.18.0.7"))
        second = inside.backend(iptables=replace(CONFIG.iptables, ipset_timeouts=False))
        left = SetKey("crowdsec-blacklists-0", Family.V4, Kind.HOSTS)
        with probe.stream("198.18.0.7") as stream:
            second.apply({**bans("198.18.0.7"), left: SetChange(remove=[key("198.18.0.7")])})
        assert not stream.arrived()
        assert inside.members("crowdsec-blacklists-1") == {"198.18.0.7": None}
        assert inside.sets() == {"crowdsec-blacklists-1"}

    def test_only_our_own_is_swept(self, inside: Bench) -> None:
        """A set of ours that no rule uses goes; other names, and what somebody's rule uses, stay."""
        for name in ("crowdsec-blacklists-3", "crowdsec-blacklists-4", "crowdsec-blacklists-x", "other-0"):
            run("ipset", "create", name, "hash:net")
        inside.iptables(
            "-A",
            "FORWARD",
            "-m",
            "set",
            "--match-set",
            "crowdsec-blacklists-4",
            "src",
            "-j",
            "DROP",
        )
        backend = inside.backend()
        backend.apply({})
        assert inside.sets() == {"crowdsec-blacklists-4", "crowdsec-blacklists-x", "other-0"}
        assert backend.whole()

    def test_renamed_sets_are_emptied_into_new_ones(self, inside: Bench, probe: Probe) -> None:
        """After blacklists_ipv4 was changed the old set blocks until the new one does, then it goes."""
        inside.backend().apply(bans("198.18.0.7"))
        names = {Family.V4: "fresh", Family.V6: "fresh6"}
        second = inside.backend(blacklists=names)
        left = SetKey("crowdsec-blacklists-0", Family.V4, Kind.HOSTS)
        assert left in second.dump()
        with probe.stream("198.18.0.7") as stream:
            second.apply({**bans("198.18.0.7"), left: SetChange(remove=[key("198.18.0.7")])})
        assert not stream.arrived()
        assert inside.sets() == {"fresh-0"}

    def test_a_chain_that_is_no_longer_configured_loses_its_jump(self, inside: Bench) -> None:
        """Chains taken out of iptables_chains are left as they were before us."""
        both = replace(CONFIG.iptables, v4_chains=("INPUT", "FORWARD"))
        inside.backend(iptables=both).apply({})
        assert inside.rules("FORWARD") == [JUMP]
        inside.backend().apply({})
        assert inside.rules("FORWARD") == []


class TestRemoval:
    """The end: ours goes, others' stays."""

    def test_nothing_of_ours_stays_and_nothing_else_goes(self, inside: Bench) -> None:
        """Removal takes jumps, chains and sets, and leaves the administrator's rules and sets."""
        run("ipset", "create", "other-0", "hash:net")
        inside.iptables("-A", "INPUT", "-s", "203.0.113.99", "-j", "DROP")
        backend = inside.backend(deny=Deny(Action.REJECT))
        backend.apply(bans("198.18.0.7", "2001:db8:ba0::7"))
        inside.backend(deny=Deny(log=True)).apply({})
        backend.remove()
        assert inside.sets() == {"other-0"}
        assert inside.chains() == inside.chains(6) == {"INPUT", "FORWARD", "OUTPUT"}
        assert inside.rules("INPUT") == ["-s 203.0.113.99/32 -j DROP"]

    def test_a_chain_that_somebody_elses_rule_uses_is_only_emptied(self, inside: Bench) -> None:
        """The administrator's own rule to our chain stays, and finds the chain empty."""
        backend = inside.backend()
        backend.apply(bans("198.18.0.7"))
        inside.iptables("-A", "FORWARD", "-p", "tcp", "-j", "CROWDSEC_CHAIN")
        backend.remove()
        assert inside.rules("FORWARD") == ["-p tcp -j CROWDSEC_CHAIN"]
        assert inside.rules("CROWDSEC_CHAIN") == []
        assert not inside.sets()


def test_docker_that_is_not_protected_is_told(inside: Bench, caplog: pytest.LogCaptureFixture) -> None:
    """A host with DOCKER-USER that isn't in iptables_chains is warned, once."""
    inside.iptables("-N", "DOCKER-USER")
    with caplog.at_level(logging.WARNING):
        backend = inside.backend()
        backend.dump()
    assert caplog.text.count("DOCKER-USER exists for IPv4") == 1


def test_a_chain_that_is_missing_is_told_and_used_once_it_is_there(
    inside: Bench,
    caplog: pytest.LogCaptureFixture,
) -> None:
    """DOCKER-USER that Docker makes after our start gets its jump by itself."""
    named = Iptables(v4_chains=("INPUT", "DOCKER-USER"), v6_chains=("INPUT",))
    backend = inside.backend(iptables=named)
    backend.apply({})
    assert "there is no chain DOCKER-USER" in caplog.text
    inside.iptables("-N", "DOCKER-USER")
    inside.iptables("-A", "DOCKER-USER", "-j", "RETURN")
    assert "DOCKER-USER" in inside.settle(backend)
    assert inside.rules("DOCKER-USER") == [JUMP, "-j RETURN"]
