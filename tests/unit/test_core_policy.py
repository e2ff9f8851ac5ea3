"""Ports as sets, the first policy that matches, and names of sets that can't meet."""

from __future__ import annotations

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fwbouncer.core.book import Book
from fwbouncer.core.model import Label, Layout, Page, SetChange
from fwbouncer.core.names import USUAL, Groups, parts, set_group, with_policy
from fwbouncer.core.policy import NAME, Match, Policies, Policy
from fwbouncer.core.ports import LAST, NO_PORTS, Ports, words
from fwbouncer.core.sorting import Sorting

spans = st.tuples(st.integers(1, LAST), st.integers(0, 300)).map(lambda pair: (pair[0], min(LAST, sum(pair))))
port_sets = st.lists(spans, max_size=5).map(lambda several: Ports.of(*several))
SCENARIOS = ("apache-james/bf-auth", "x/bf-y", "")
policy_names = st.from_regex(NAME, fullmatch=True)
texts = st.sampled_from(
    ["apache-james/bf-auth", "linagora/x", "crowdsecurity/ssh-bf", "", "Manual 'ban'", "a/b"]
)
origins = st.sampled_from(["crowdsec", "cscli", "CAPI", "lists", "console", "odd one/with slash", ""])
kinds = st.sampled_from(["ban", "captcha", "Ban", "throttle"])
globs = st.lists(
    st.sampled_from(["*", "apache-*", "*/bf-*", "crowdsec", "c*", "ban", "capt?ha"]), max_size=2
).map(tuple)
matches = st.builds(Match, globs, globs, globs)
policy_lists = st.lists(
    st.builds(Policy, policy_names, matches, st.none() | port_sets, passes=st.booleans()),
    max_size=4,
    unique_by=lambda policy: policy.name,
)


class TestPorts:
    """Spans of ports."""

    @given(port_sets, port_sets)
    def test_they_are_sets(self, one: Ports, other: Ports) -> None:
        """Union, intersection and difference are those of the ports one by one."""
        a, b = set(one), set(other)
        assert set(one | other) == a | b
        assert set(one & other) == a & b
        assert set(one - other) == a - b
        assert (one - other) | (one & other) == one
        assert len(one) == len(a)
        assert all((port in one) == (port in a) for port in (1, 25, 143, LAST))

    @given(st.lists(st.integers(1, LAST), max_size=20))
    def test_equal_sets_are_equal(self, several: list[int]) -> None:
        """In whatever order and pieces ports are told, the result is the same and as short as can be."""
        assert Ports.of(*several) == Ports.of(*reversed(several)) == Ports.of(*sorted(set(several)))
        gaps = zip(Ports.of(*several).spans, Ports.of(*several).spans[1:], strict=False)
        assert all(after[0] > before[1] + 1 for before, after in gaps)

    @pytest.mark.parametrize("span", [0, -1, 65536, (5, 4), (0, 9), (9, 70000)])
    def test_what_is_no_port_is_refused(self, span: int | tuple[int, int]) -> None:
        """Ports are numbers from 1 to 65535."""
        with pytest.raises(ValueError, match="no ports"):
            Ports.of(span)

    def test_words(self) -> None:
        """Ports are written as people write them."""
        assert [words(ports) for ports in (None, NO_PORTS, Ports.of(25, 26, 4190, 143))] == [
            "all",
            "none",
            "25-26, 143, 4190",
        ]


class TestMatching:
    """Which policy a decision goes by."""

    @given(policy_lists, origins, texts, kinds)
    def test_the_first_that_matches_counts(
        self, named: list[Policy], origin: str, scenario: str, kind: str
    ) -> None:
        """No policy ahead of the chosen one matches; without any, the default takes what is supported."""
        policies = Policies(named=tuple(named))
        chosen = policies.of(origin, scenario, kind)
        fitting = [one for one in named if one.match.fits(origin, scenario, kind, policies.types)]
        if fitting:
            assert chosen is fitting[0]
        else:
            assert chosen == (policies.default if kind.lower() == "ban" else None)

    @pytest.mark.parametrize(
        ("match", "fits"),
        [
            (Match(), True),
            (Match(scenarios=("apache-james/*",)), True),
            (Match(scenarios=("*james*",)), True),
            (Match(scenarios=("apache-james/bf-?uth",)), True),
            (Match(scenarios=("apache-james",)), False),
            (Match(scenarios=("nope", "apache-james/bf-auth")), True),
            (Match(scenarios=("apache-james/*",), origins=("cscli",)), False),
            (Match(origins=("crowd*",)), True),
            (Match(types=("captcha",)), False),
            (Match(types=("*",)), True),
        ],
    )
    def test_globs(self, match: Match, fits: bool) -> None:
        """Stars and question marks stand for anything, one of each kind must fit, and an empty kind does."""
        assert match.fits("crowdsec", "Apache-James/bf-auth", "ban", frozenset({"ban"})) is fits

    def test_types_are_taken_where_they_are_named(self) -> None:
        """A policy that names a type takes it though nobody supports it; one that names none does not."""
        plain, named = Policy("plain"), Policy("named", Match(types=("captcha",)))
        assert Policies(named=(plain, named)).of("CAPI", "", "captcha") is named
        assert Policies(named=(plain,)).of("CAPI", "", "captcha") is None

    def test_what_can_be_closed_at_all(self) -> None:
        """The protected ports are those of all policies that block; `all` of one is all."""
        mail, web = Policy("mail", listed=Ports.of(25)), Policy("web", listed=Ports.of(80), passes=True)
        assert Policies(Policy(listed=Ports.of(143)), (mail, web)).protected() == Ports.of(25, 143)
        assert Policies(Policy(listed=None), (mail,)).protected() is None

    def test_james_adds_to_what_is_listed(self) -> None:
        """James's ports go to the policies that ask for them, and may change again."""
        policies = Policies(Policy(listed=Ports.of(22), james=True), (Policy("x", listed=Ports.of(80)),))
        for found in (Ports.of(25), Ports.of(143)):
            policies = policies.with_james(found)
            assert [policy.ports for policy in policies] == [Ports.of(80), Ports.of(22) | found]


class TestNames:
    """A group for each origin and policy."""

    @given(
        origins | st.text(max_size=120), texts, policy_names, origins | st.text(max_size=120), policy_names
    )
    def test_groups_never_meet(
        self, origin: str, scenario: str, policy: str, other: str, another: str
    ) -> None:
        """Two groups have one name only if origin and policy are the same; an origin alone never has a policy's."""
        one, two = set_group(origin, scenario), set_group(other, scenario)
        assert (with_policy(one, policy) == with_policy(two, another)) == ((one, policy) == (two, another))
        assert with_policy(one, policy) != two
        assert parts(with_policy(one, policy)) == (one, policy)
        kernel = {f"{group}{end}" for group in (one, with_policy(one, policy)) for end in ("", "-ranges")}
        assert len(kernel) == 4, "sets of hosts and of ranges"

    @pytest.mark.parametrize(
        "name", ["default", "x-ranges", "a-never-block", "-a", "a-", "A", "a/b", "a" * 17, "", "a b", "a.b"]
    )
    def test_names_that_would_mean_something_else(self, name: str) -> None:
        """A policy can't be called as the default is, nor end as other sets do."""
        assert NAME.fullmatch(name) is None

    @given(st.lists(st.tuples(st.text(max_size=8), policy_names), max_size=60))
    def test_their_number_is_bounded(self, told: list[tuple[str, str]]) -> None:
        """However many origins a LAPI invents, they get so many groups, and one of the rest for each policy."""
        groups = Groups(limit=5)
        given_out = {groups(origin, "", policy) for origin, policy in told}
        strange = {group for group in given_out if parts(group)[0] not in USUAL}
        assert len(strange) <= 5


class TestSorting:
    """Decisions go to groups, and move when policies change."""

    def test_reasons(self) -> None:
        """What is not enforced has a reason: its type, or the policy that lets it pass."""
        sorting = Sorting(Policies(named=(Policy("mild", Match(scenarios=("http*",)), passes=True),)))
        assert sorting.label("CAPI", "http-scan", "ban") == "policy mild"
        assert sorting.label("CAPI", "ssh", "captcha") == "type captcha"
        assert sorting.label("CAPI", "ssh", "Ban") == Label("CAPI", "ssh", "ban", "CAPI")

    def test_a_move_is_one_change(self) -> None:
        """Known bans leave the old sets and enter the new ones in the same change; who may pass leaves alone."""
        policies = Policies()
        sorting = Sorting(policies)
        book = Book()
        page = Page(startup=True)
        for number, scenario in enumerate(("james/bf", "http/scan", "ssh/bf")):
            label = sorting.label("crowdsec", scenario, "ban")
            assert isinstance(label, Label)
            page.ids.append(number)
            page.keys.append(bytes((198, 18, 0, number)))
            page.deadlines.append(10**9)
            page.labels.append(label)
        book.rebase({}, Layout(flatten=True), 0)
        book.take(page, 0)
        book.done(book.plan(0))
        named = (
            Policy("bf", Match(scenarios=("james/*",))),
            Policy("mild", Match(scenarios=("http/*",)), passes=True),
        )
        assert sorting.change_to(Policies(named=named))
        assert book.sort_anew(sorting) == 2
        change = {target.group: part for target, part in book.plan(0).items()}
        assert change["crowdsec/bf"] == SetChange(add=[(bytes((198, 18, 0, 0)), 10**9)])
        assert sorted(change["crowdsec"].remove) == [bytes((198, 18, 0, n)) for n in (0, 1)]
        assert len(book.ledger) == 2
        assert sorting.change_to(policies)
        assert not sorting.change_to(policies.with_james(Ports.of(25)))
        book.sort_anew(sorting)
        moved = {target.group for target, part in book.plan(0).items() if len(part)}
        assert moved <= {"crowdsec", "crowdsec/bf"}

    @given(policy_lists, policy_lists)
    def test_sorting_anew_is_sorting_from_the_start(self, before: list[Policy], after: list[Policy]) -> None:
        """Claims that were moved stand where they would have been put by the new policies at once."""
        first, second = Policies(named=tuple(before)), Policies(named=tuple(after))
        moved, fresh = Book(), Book()
        moving, straight = Sorting(first), Sorting(second)
        for book, sorting in ((moved, moving), (fresh, straight)):
            page = Page(startup=True)
            for number, (origin, scenario) in enumerate(itertools.product(("crowdsec", "CAPI"), SCENARIOS)):
                label = sorting.label(origin, scenario, "ban")
                if isinstance(label, Label):
                    page.ids.append(number)
                    page.keys.append(bytes((198, 18, 0, number)))
                    page.deadlines.append(10**9)
                    page.labels.append(label)
            book.take(page, 0)
        known = set(moved.ledger.section(0, moved.ledger.rows)[1])
        moving.change_to(second)
        moved.sort_anew(moving)
        placed = [{(g, k) for g, k, _ in book.ledger.addresses()} for book in (moved, fresh)]
        assert placed[0] == {(group, key) for group, key in placed[1] if key in known}
