"""Which set holds which group: numbers are given once, remembered, and recognised after a restart."""

from __future__ import annotations

from fwbouncer.core.model import NEVER_BLOCK
from fwbouncer.kernel.ipset_store import temporary_name
from fwbouncer.kernel.xtables_names import Names


def fits(name: str, group: str) -> bool:
    """Find every set well made."""
    return bool(name and group)


def unfit(name: str, group: str) -> bool:
    """Find no set well made."""
    return not (name and group)


def test_the_lowest_free_number_is_given() -> None:
    """Groups get numbers from 0 up; a number that is taken, by anybody, is passed over."""
    names = Names("crowdsec-blacklists")
    assert names.give("CAPI", ()) == "crowdsec-blacklists-0"
    assert names.give("cscli", {"crowdsec-blacklists-1"}) == "crowdsec-blacklists-2"
    assert names.give("console", ()) == "crowdsec-blacklists-1"


def test_comments_tell_the_groups() -> None:
    """After a restart the origin in a rule's comment says what its set holds; lists may have a colon."""
    names = Names("b")
    names.recognise({"b-0", "b-1"}, {"b-0": "CAPI", "b-1": "lists:firehol"}, fits)
    assert names.of["CAPI"] == "b-0"
    assert [group for group, name in names.of.items() if name == "b-1"][0].startswith("lists")  # noqa: RUF015


def test_memory_goes_before_comments() -> None:
    """While we run, a set keeps its group even if somebody flushed the rules with the comments."""
    names = Names("b")
    names.give("CAPI", ())
    names.recognise({"b-0"}, {}, fits)
    assert names.of == {"CAPI": "b-0"}


def test_two_sets_of_one_origin() -> None:
    """Of two sets with the same origin one is the group's, the other stands for itself until it is empty."""
    names = Names("b")
    names.recognise({"b-0", "b-1"}, {"b-0": "CAPI", "b-1": "CAPI"}, fits)
    assert names.of == {"CAPI": "b-0", "b-1": "b-1"}
    assert names.is_leftover("b-1")
    assert not names.is_leftover("CAPI")


def test_a_set_of_unfit_make_stands_for_itself() -> None:
    """A set of another type is never used for new bans, also if we made it ourselves earlier."""
    names = Names("b")
    names.give("CAPI", ())
    names.recognise({"b-0"}, {"b-0": "CAPI"}, unfit)
    assert names.of == {"b-0": "b-0"}
    assert names.give("CAPI", {"b-0"}) == "b-1"


def test_a_set_that_no_rule_uses_is_nobodys() -> None:
    """A set without a rule blocks nothing, so there is nothing to keep."""
    names = Names("b")
    names.recognise({"b-0"}, {}, fits)
    assert names.of == {}


def test_who_is_never_blocked_has_a_name_of_its_own() -> None:
    """The set of those who pass takes no number, and is known by its name, with or without comments."""
    names = Names("b")
    assert names.give(NEVER_BLOCK, ()) == "b-ok"
    assert names.give("CAPI", ()) == "b-0"
    after = Names("b")
    after.recognise({"b-ok"}, {"b-ok": None}, fits)
    assert after.of == {NEVER_BLOCK: "b-ok"}


def test_only_exact_names_are_ours() -> None:
    """Names that merely begin like ours belong to somebody else."""
    names = Names("b.c")
    assert names.is_ours("b.c-0")
    assert names.is_ours("b.c-999")
    strangers = ("b.c", "b.c-", "b.c-00", "b.c-1000", "b.c-x", "b-c-1", "xb.c-1", "b.c-1\n", "b.c-1-2")
    assert not any(names.is_ours(name) for name in strangers)
    assert names.is_temporary(temporary_name("b.c-7"))
    assert not names.is_temporary(temporary_name("other-7"))


def test_an_earlier_configurations_sets_are_ours_by_their_comments() -> None:
    """After blacklists_ipv4 was renamed, the old sets block until they are emptied into the new ones."""
    names = Names("new")
    origins = {"old-0": "CAPI", "admins": None}
    names.claim(origins)
    names.recognise({"old-0"}, origins, fits)
    assert names.is_leftover("old-0")
    assert not names.is_ours("admins")
