"""Mode ipset on the real kernel: the contents of the administrator's own sets, and nothing besides."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

import pytest

from fwbouncer.core.model import ONE_GROUP, Family, Kind, SetChange, SetKey
from fwbouncer.errors import KernelError, NoSuchObject
from tests.lab.shell import run
from tests.lab.xtables import VARIANTS, Bench, bans, bench, key

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.lab.net import Network
    from tests.lab.packets import Probe

MINE = SetKey(ONE_GROUP, Family.V4, Kind.HOSTS)


@pytest.fixture
def inside(net: Network) -> Iterator[Bench]:
    """Be on the mail host, with iptables as most systems have it."""
    with bench(net, "nft") as made:
        yield made


def make(*options: str, kind: str = "hash:net") -> None:
    """Make the administrator's sets."""
    run("ipset", "create", "mine", kind, *options)
    run("ipset", "create", "mine6", kind, "family", "inet6", *options)


def ban(*texts: str, seconds: float = 600) -> dict[SetKey, SetChange]:
    """Ban in the one group that this mode has."""
    return bans(*texts, group=ONE_GROUP, seconds=seconds)


@pytest.mark.parametrize("variant", VARIANTS)
def test_the_administrators_rules_do_the_dropping(net: Network, probe: Probe, variant: str) -> None:
    """Bans go into the sets that are there; the rules stay exactly as they were."""
    with bench(net, variant) as inside:
        make("timeout", "300")
        inside.iptables("-A", "INPUT", "-m", "set", "--match-set", "mine", "src", "-j", "DROP")
        inside.iptables("-A", "INPUT", "-m", "set", "--match-set", "mine6", "src", "-j", "DROP", family=6)
        before = inside.iptables("-S")
        backend = inside.contents()
        banned = ["198.18.0.7", "198.18.16.0/20", "2001:db8:ba0::7", "2001:db8:ba1::/48"]
        backend.apply(ban(*banned))
        earlier = {(c.group, c.family): c.packets for c in backend.counters()}
        sources = ["198.18.0.7", "198.18.31.255", "198.18.32.0", "2001:db8:ba1:2::3", "2001:db8:ba2::"]
        assert probe.arriving(sources) == {"198.18.32.0", "2001:db8:ba2::"}
        assert inside.iptables("-S") == before
        counted = {(c.group, c.family): c.packets for c in backend.counters()}
        assert counted[ONE_GROUP, Family.V4] == 2
        # an older iptables-nft counts nothing at a chain's policy
        processed = counted["processed", Family.V4] - earlier.get(("processed", Family.V4), 0)
        assert processed == 3 or (variant == "nft" and processed == 2)
        backend.remove()
        assert probe.arriving(sources) == set(sources)
        assert inside.sets() == {"mine", "mine6"}


def test_a_missing_set_is_an_error_that_says_how_to_make_it(inside: Bench) -> None:
    """Without its set the ban isn't in force: that is told, and it goes in once the set is there."""
    run("ipset", "create", "mine6", "hash:net", "family", "inet6", "timeout", "300")
    backend = inside.contents()
    assert not backend.whole()
    with pytest.raises(NoSuchObject, match="ipset create mine hash:net family inet timeout 300"):
        backend.apply(ban("198.18.0.7", "2001:db8:ba0::7"))
    assert set(inside.members("mine6")) == {"2001:db8:ba0::7"}
    run("ipset", "create", "mine", "hash:net", "timeout", "300")
    assert backend.disturbed() == "somebody (ipset mine appeared)"
    backend.dump()
    assert backend.whole()
    backend.apply(ban("198.18.0.7"))
    assert set(inside.members("mine")) == {"198.18.0.7"}


def test_what_the_administrator_put_in_stays(inside: Bench) -> None:
    """Permanent entries and exceptions are neither reported, nor removed, nor lost at a stop."""
    make("timeout", "300")
    run("ipset", "add", "mine", "198.51.100.0/24", "timeout", "0")
    run("ipset", "add", "mine", "198.18.16.5", "nomatch", "timeout", "0")
    run("ipset", "add", "mine", "198.18.0.99", "timeout", "50")
    backend = inside.contents()
    assert set(backend.dump()[MINE]) == {key("198.18.0.99")}
    backend.apply(ban("198.18.16.0/20"))
    backend.remove()
    assert set(inside.members("mine")) == {"198.51.100.0/24", "198.18.16.5"}


def test_a_set_of_hosts_takes_hosts_alone(inside: Bench, caplog: pytest.LogCaptureFixture) -> None:
    """A hash:ip set gets no networks, and says so."""
    make("timeout", "300", kind="hash:ip")
    backend = inside.contents()
    backend.apply(ban("198.18.0.7", "198.18.16.0/20", "2001:db8:ba0::7"))
    assert set(inside.members("mine")) == {"198.18.0.7"}
    assert set(inside.members("mine6")) == {"2001:db8:ba0::7"}
    assert "holds no networks" in caplog.text


@pytest.mark.parametrize("options", [(), ("counters",), ("comment",), ("skbinfo",), ("forceadd",)])
def test_a_full_set_grows_with_all_that_it_is(inside: Bench, probe: Probe, options: tuple[str, ...]) -> None:
    """The larger set keeps the properties, the elements with their extensions, and the rule."""
    kind, more = ("hash:net", options) if options else ("hash:ip", ("netmask", "24"))
    make("timeout", "300", "maxelem", "4", *more, kind=kind)
    note = ("comment", "by hand") if "comment" in options else ()
    run("ipset", "add", "mine", "198.18.9.0", "timeout", "0", *note)
    inside.iptables("-A", "INPUT", "-m", "set", "--match-set", "mine", "src", "-j", "DROP")
    before = run("ipset", "list", "-t", "mine")
    backend = inside.contents()
    backend.apply(ban("198.18.0.7"))
    with probe.stream("198.18.0.7") as stream:
        for n in range(20, 40):
            backend.apply(ban(f"198.18.{n}.0"))
    assert not stream.arrived()
    after = run("ipset", "list", "-t", "mine")
    kept = [word for word in ("netmask 24", *options) if word in before]
    assert all(word in after for word in kept)
    assert len(inside.members("mine")) == 22
    assert "by hand" in run("ipset", "save", "mine") or not note


def test_a_set_within_a_set_grows(inside: Bench) -> None:
    """What uses a set follows it when it grows, another set as well as a rule."""
    make("timeout", "300", "maxelem", "4")
    run("ipset", "create", "both", "list:set")
    run("ipset", "add", "both", "mine")
    backend = inside.contents()
    backend.apply(ban(*(f"198.18.0.{n}" for n in range(20))))
    assert len(inside.members("mine")) == 20
    assert "mine" in run("ipset", "list", "both")


def test_a_set_of_a_kind_that_holds_no_addresses_is_refused(inside: Bench) -> None:
    """A set of ports or interfaces can't be kept, and the error names the types that can."""
    run("ipset", "create", "mine", "hash:net,port")
    run("ipset", "create", "mine6", "hash:net", "family", "inet6")
    with pytest.raises(KernelError, match="of type hash:net,port; it must be hash:net or hash:ip"):
        inside.contents()


def test_a_flush_is_noticed(inside: Bench) -> None:
    """An emptied set is noticed at the next look, an untouched one never."""
    make("timeout", "300")
    backend = inside.contents()
    backend.apply(ban("198.18.0.7", "198.18.0.8", "2001:db8:ba0::7"))
    time.sleep(0.1)
    assert backend.disturbed() is None
    run("ipset", "flush", "mine")
    assert backend.disturbed() == "somebody (ipset mine was emptied)"


@pytest.mark.parametrize("damage", [("flush", "mine"), ("del", "mine", "198.18.0.9"), ("destroy", "mine")])
def test_a_large_set_is_watched_like_a_small_one(inside: Bench, damage: tuple[str, ...]) -> None:
    """Whatever somebody does to a large set is noticed in time, and nothing is where nobody did anything."""
    make("timeout", "300", "maxelem", "100000")
    backend = inside.contents()
    backend.apply(ban(*(f"198.18.{n >> 8}.{n & 255}" for n in range(1, 25_000)), "2001:db8:ba0::7"))
    backend.apply(ban("198.19.0.1"))
    time.sleep(0.1)
    assert backend.disturbed() is None
    run("ipset", *damage)
    deadline = time.monotonic() + 30
    while (noticed := backend.disturbed()) is None:
        assert time.monotonic() < deadline, "never noticed"
        time.sleep(0.1)
    assert "mine" in noticed
