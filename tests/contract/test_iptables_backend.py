"""Mode iptables on the real kernel, through both kinds of iptables: sets, rules, packets."""

from __future__ import annotations

import time
from dataclasses import replace
from typing import TYPE_CHECKING

import pytest

from fwbouncer.config.schema import Deny
from fwbouncer.core.model import NEVER_BLOCK, Family, Kind, SetKey
from fwbouncer.core.policy import Action
from fwbouncer.errors import ConfigError
from fwbouncer.kernel.ipset_store import temporary_name
from fwbouncer.kernel.xtables import find
from tests.lab.shell import run
from tests.lab.xtables import CONFIG, VARIANTS, Bench, bans, bench, key, now, unbans

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.lab.net import Network
    from tests.lab.packets import Probe

# What only concerns the contents of sets is the same under both kinds of iptables.
CONTENTS = pytest.mark.parametrize("inside", ["nft"], indirect=True)
HOSTS = SetKey("crowdsec", Family.V4, Kind.HOSTS)
JUMP = "-j CROWDSEC_CHAIN"
REPLIES = "-m conntrack --ctdir REPLY -j RETURN"


@pytest.fixture(params=VARIANTS)
def inside(net: Network, request: pytest.FixtureRequest) -> Iterator[Bench]:
    """Be on the mail host, with one kind of iptables after the other."""
    with bench(net, request.param) as made:
        yield made


class TestBans:
    """What is banned is dropped, and nothing else."""

    @CONTENTS
    def test_nested_networks_have_timeouts_of_their_own(self, inside: Bench, probe: Probe) -> None:
        """A network's ban goes on when the one of a network or host inside it ends."""
        backend = inside.backend()
        backend.apply(bans("198.18.16.0/20", "198.18.17.0/24", "198.18.17.9"))
        backend.apply(unbans("198.18.17.0/24", "198.18.17.9"))
        assert not probe.passes("198.18.17.9")

    @CONTENTS
    def test_one_bad_entry_loses_no_other(self, inside: Bench, caplog: pytest.LogCaptureFixture) -> None:
        """What the kernel refuses is named in the log; everything before and behind it is in."""
        backend = inside.backend()
        good = [f"198.18.{n >> 8}.{n & 255}" for n in range(3000)]
        change = bans(*good)
        change[HOSTS].add.insert(1500, (b"\0\0\0\0\0", now() + 600_000))
        change[HOSTS].add.insert(10, (b"\1\0\0\0\x21", now() + 600_000))
        backend.apply(change)
        assert len(inside.members("crowdsec-blacklists-0")) == 3000
        assert "doesn't take 0.0.0.0/0" in caplog.text

    @CONTENTS
    def test_sets_without_timeouts_hold_elements_without(self, inside: Bench) -> None:
        """With ipset_disable_timeouts elements have none, and the layout says so, of sets to come, too."""
        backend = inside.backend(iptables=replace(CONFIG.iptables, ipset_timeouts=False))
        assert SetKey("never-seen", Family.V6, Kind.HOSTS) in backend.layout().timeless
        backend.apply(bans("198.18.0.7"))
        assert inside.members("crowdsec-blacklists-0") == {"198.18.0.7": None}
        backend.apply(unbans("198.18.0.7"))
        assert inside.members("crowdsec-blacklists-0") == {}

    @CONTENTS
    def test_a_set_of_hosts_refuses_networks_and_takes_hosts(
        self,
        inside: Bench,
        caplog: pytest.LogCaptureFixture,
    ) -> None:
        """With ipset_type hash:ip a network is left out with a word, never unrolled into its addresses."""
        backend = inside.backend(iptables=replace(CONFIG.iptables, ipset_type="hash:ip"))
        backend.apply(bans("198.18.0.7", "198.18.16.0/20", "2001:db8:ba0::7", "2001:db8:ba1::/48"))
        assert set(inside.members("crowdsec-blacklists-0")) == {"198.18.0.7"}
        assert set(inside.members("crowdsec6-blacklists-0")) == {"2001:db8:ba0::7"}
        assert "198.18.16.0/20: a hash:ip set holds no networks" in caplog.text


class TestNeverBlock:
    """Who passes whatever is banned."""

    def test_the_never_blocked_pass_ahead_of_every_ban(self, inside: Bench, probe: Probe) -> None:
        """Addresses and networks that are never blocked pass in the midst of banned ones, until they are not."""
        backend = inside.backend(iptables=replace(CONFIG.iptables, ipset_type="hash:net"))
        assert backend.layout().spares == set(Family)
        passing = ["198.18.16.5", "198.18.17.0/24", "2001:db8:ba1:5::/64"]
        change = {**bans(*passing, group=NEVER_BLOCK), **bans("198.18.16.0/20", "2001:db8:ba1::/48")}
        backend.apply(change)
        within = ["198.18.16.5", "198.18.17.200", "2001:db8:ba1:5::9"]
        dropped = ["198.18.16.6", "198.18.18.0", "2001:db8:ba1:6::9"]
        assert probe.arriving(within + dropped) == set(within)
        assert inside.sets() >= {"crowdsec-blacklists-0", "crowdsec-blacklists-ok"}
        assert {counted.group for counted in backend.counters()} == {"crowdsec", "processed"}
        following = inside.backend()
        assert following.whole()
        following.apply(unbans("198.18.17.0/24", group=NEVER_BLOCK))
        assert probe.arriving(within) == {"198.18.16.5", "2001:db8:ba1:5::9"}

    def test_whoever_is_let_pass_is_not_dropped_on_the_way(self, inside: Bench, probe: Probe) -> None:
        """A ban and its exception that come together never drop a packet of the excepted."""
        backend = inside.backend()
        backend.apply(bans("198.18.200.1"))
        with probe.stream("198.18.16.5") as stream:
            backend.apply({**bans("198.18.16.5", group=NEVER_BLOCK), **bans("198.18.16.0/20")})
            time.sleep(0.05)
        assert all(packet.arrived for packet in stream.packets)


class TestSizes:
    """Sets of any size, and bans of any length."""

    def test_a_full_set_grows_and_lets_nothing_through(self, inside: Bench, probe: Probe) -> None:
        """A set at its maxelem is exchanged for a larger one; a banned peer's packets pass at no moment."""
        backend = inside.backend(iptables=replace(CONFIG.iptables, ipset_size=100))
        backend.apply(bans("198.18.0.7", "2001:db8:ba0::7"))
        with probe.stream("198.18.0.7") as stream:
            time.sleep(0.05)
            for block in range(8):
                backend.apply(bans(*(f"198.19.{block}.{n}" for n in range(100))))
            time.sleep(0.05)
        assert len(inside.members("crowdsec-blacklists-0")) == 801
        assert not stream.arrived()
        assert not probe.passes("2001:db8:ba0::7")
        assert inside.sets() == {"crowdsec-blacklists-0", "crowdsec6-blacklists-0"}

    @CONTENTS
    def test_growing_keeps_the_timeouts(self, inside: Bench) -> None:
        """After a set has grown, no ban in it ends sooner than before."""
        backend = inside.backend(iptables=replace(CONFIG.iptables, ipset_size=10))
        began = time.monotonic()
        backend.apply(bans("198.18.0.7", seconds=100))
        backend.apply(bans(*(f"198.19.0.{n}" for n in range(30))))
        left = inside.members("crowdsec-blacklists-0")["198.18.0.7"]
        assert left is not None
        assert 99 - (time.monotonic() - began) <= left <= 101

    @CONTENTS
    def test_a_crash_while_growing_leaves_no_set_behind(self, inside: Bench) -> None:
        """The half-filled set of a process that died while growing another is swept by the next one."""
        backend = inside.backend()
        backend.apply(bans("198.18.0.7"))
        run("ipset", "create", temporary_name("crowdsec-blacklists-0"), "hash:net", "timeout", "300")
        following = inside.backend()
        following.apply({})
        assert inside.sets() == {"crowdsec-blacklists-0"}

    @CONTENTS
    def test_bans_beyond_the_longest_timeout_are_renewed(self, inside: Bench) -> None:
        """A ban longer than the kernel's longest timeout is capped, and renewed before the cap is reached."""
        backend = inside.backend(longest=2)
        backend.apply(bans("198.18.0.7", "198.18.0.8", seconds=600))
        backend.apply(unbans("198.18.0.8"))
        end = time.monotonic() + 3.2
        while time.monotonic() < end:
            assert backend.disturbed() is None
            assert set(inside.members("crowdsec-blacklists-0")) == {"198.18.0.7"}
            time.sleep(0.2)
        assert backend.dump()[HOSTS][key("198.18.0.7")] > now() + 500_000


class TestVerdicts:
    """The rules, and what they do to a packet."""

    def test_the_rules_stand_as_the_incumbent_writes_them(self, inside: Bench) -> None:
        """A jump from each chain, a rule for each set with its origin in the comment, replies let through."""
        backend = inside.backend()
        backend.apply(bans("198.18.0.7", "2001:db8:ba0::7", group="CAPI"))
        for family, name in ((4, "crowdsec-blacklists-0"), (6, "crowdsec6-blacklists-0")):
            rule = f'-m set --match-set {name} src -m comment --comment "CrowdSec: CAPI" -j DROP'
            assert inside.rules("CROWDSEC_CHAIN", family)[0] == REPLIES
            assert inside.rules("CROWDSEC_CHAIN", family)[-1] == rule
            assert inside.rules("INPUT", family) == [JUMP]

    @pytest.mark.parametrize(
        "deny",
        [Deny(action, log) for action in (Action.DROP, Action.REJECT, Action.LOG) for log in (False, True)],
    )
    def test_what_was_written_is_recognised(self, inside: Bench, deny: Deny) -> None:
        """Whatever the verdict, the rules are read back as those that were written."""
        backend = inside.backend(deny=replace(deny, log_prefix='blocked "by" \\ crowdsec: '))
        backend.apply(bans("198.18.0.7"))
        following = inside.backend(deny=replace(deny, log_prefix='blocked "by" \\ crowdsec: '))
        assert following.whole()
        assert following.disturbed() is None

    def test_denials_are_logged_at_a_limited_rate(self, inside: Bench, probe: Probe) -> None:
        """With deny_log a flood from a banned peer is dropped whole and logged only a few times a second."""
        backend = inside.backend(deny=Deny(log=True, log_prefix="blocked by crowdsec"))
        backend.apply(bans("198.18.0.7"))
        with probe.stream("198.18.0.7", every=0.0005) as stream:
            time.sleep(0.3)
        assert not stream.arrived()
        rules = inside.iptables("-S", "CROWDSEC_LOG", "-v").splitlines()[1:]
        assert len(rules) == 2
        logged, dropped = (int(rule.split(" -c ")[1].split()[0]) for rule in rules)
        assert 0 < logged <= 30 < dropped
        assert "blocked by crowdsec" in rules[0]

    def test_an_action_that_needs_a_missing_extension_is_refused(self, inside: Bench) -> None:
        """TARPIT isn't in mainline kernels: without it the error names the action."""
        with pytest.raises(ConfigError, match="TARPIT"):
            inside.backend(deny=Deny(Action.TARPIT))
        assert inside.chains() == {"INPUT", "FORWARD", "OUTPUT"}

    def test_a_missing_program_is_named(self) -> None:
        """Without iptables the error says what to install."""
        with pytest.raises(ConfigError, match="unable to find iptables-missing: install iptables"):
            find("iptables-missing")

    def test_counters_tell_what_each_origin_dropped(self, inside: Bench, probe: Probe) -> None:
        """Dropped packets are counted by group, seen ones as processed, and a new rule loses neither."""
        backend = inside.backend()
        backend.apply(bans("198.18.0.7", group="CAPI"))
        probe.arriving(["198.18.0.7", "198.18.0.8", "198.18.0.7"])
        backend.apply(bans("198.18.0.9", group="cscli"))
        counted = {(c.group, c.family): c for c in backend.counters()}
        size = 20 + 8 + 8
        assert (counted["CAPI", Family.V4].packets, counted["CAPI", Family.V4].bytes) == (2, 2 * size)
        assert counted["processed", Family.V4].packets == 3
        assert counted["cscli", Family.V4].packets == 0
