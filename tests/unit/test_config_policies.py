"""`protect` and `policies` in a configuration file, and every complaint with its line."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from fwbouncer.config.show import merged
from fwbouncer.core.policy import Action, Match, Policy
from fwbouncer.core.ports import NO_PORTS, Ports
from tests.unit.test_config_load import BASE, config, problems, warnings, write

if TYPE_CHECKING:
    from pathlib import Path

POLICIES = """\
policies:
  - name: james-bf
    scenario: ["apache-james/*", linagora/*]
    origin: Crowdsec
    ports: [imap, "6000-6010", $PORT]
  - name: mild
    type: captcha
    verdict: PASS
"""
HEAD = "policies:\n  - name: a\n"


class TestPorts:
    """What `protect.ports` may hold."""

    @pytest.mark.parametrize(
        ("text", "ports"),
        [
            ("all", None),
            ("ALL", None),
            ("25", Ports.of(25)),
            ("smtp, imaps", Ports.of(25, 993)),
            ("[25, 465, submission]", Ports.of(25, 465, 587)),
            ("[6000-6010, 6011]", Ports.of((6000, 6011))),
            ("[1-65535]", Ports.of((1, 65535))),
            ("[Submissions, pop3, pop3s, sieve, jmap]", Ports.of(465, 110, 995, 4190, 80)),
            ("[ntp]", Ports.of(123)),  # of /etc/services
            ("['6000 - 6001']", Ports.of(6000, 6001)),
        ],
    )
    def test_what_is_meant(self, tmp_path: Path, text: str, ports: Ports | None) -> None:
        """Numbers, ranges, names in any case and `all`, as a list or in one line."""
        assert config(tmp_path, BASE + f"protect:\n  ports: {text}\n").policies.default.ports == ports

    @pytest.mark.parametrize(
        ("text", "said"),
        [
            (
                "[25, smpt]",
                "c.yaml:5: protect.ports: 'smpt' is neither a port nor a known service; did you mean smtp?",
            ),
            ("[0]", "c.yaml:5: protect.ports: '0' is out of range; ports are numbers from 1 to 65535"),
            ("65536", "c.yaml:5: protect.ports: '65536' is out of range; ports are numbers from 1 to 65535"),
            ("[70-60]", "c.yaml:5: protect.ports: '70-60' ends before it begins; write 60-70"),
            (
                "[all, 25]",
                "c.yaml:5: protect.ports: 'all' stands beside other ports; keep it alone, or remove it",
            ),
            (
                "[-25]",
                "c.yaml:5: protect.ports: '-25' is neither a port nor a known service; write the port's number",
            ),
            (
                "{a: 1}",
                "c.yaml:5: protect.ports: takes a list, and this is a block; see the example configuration",
            ),
            (
                "[25, [26]]",
                "c.yaml:5: protect.ports: a list in which an item is not one value; write one value an item",
            ),
        ],
    )
    def test_what_is_not_understood(self, tmp_path: Path, text: str, said: str) -> None:
        """A complaint names the line, the word, and what was probably meant."""
        found = problems(tmp_path, BASE + f"protect:\n  ports: {text}\n")
        assert len(found) == 1
        assert found[0].startswith(said)

    def test_hostile_words(self, tmp_path: Path) -> None:
        """A word that a terminal would obey is shown harmless."""
        said = problems(tmp_path, BASE + 'protect:\n  ports: ["\\e[31mx"]\n')
        assert "\x1b" not in said[0]

    def test_james_needs_a_folder(self, tmp_path: Path) -> None:
        """Without a folder of James's, `james` is a mistake that says what to do; numbers may stand beside it."""
        folder = tmp_path / "conf"
        text = BASE + f"protect:\n  ports: [james, 22]\n  james_conf: {folder}\n"
        assert "can't be read: No such file or directory" in problems(tmp_path, text)[0]
        folder.mkdir()
        assert "holds none of smtpserver.xml" in problems(tmp_path, text)[0]
        (folder / "smtpserver.xml").write_text("<smtpservers/>")
        made = config(tmp_path, text)
        assert (made.policies.default.listed, made.policies.default.james) == (Ports.of(22), True)
        assert made.james_conf == folder
        said = problems(tmp_path, BASE + "protect:\n  ports: james\n  james_conf: conf\n")
        assert "is not absolute" in said[0]

    def test_where_only_sets_are_filled(self, tmp_path: Path) -> None:
        """Where the rules are the administrator's, ports can't be enforced, and a warning says so."""
        for mode in ("set-only", "ipset"):
            text = (
                BASE.replace("nftables", mode) + "protect:\n  ports: [25]\n  reset_ports: [25]\n" + POLICIES
            )
            said = warnings(tmp_path, text, PORT="1")
            assert len([line for line in said if f"the rules are yours in mode {mode}" in line]) == 3
        assert not warnings(tmp_path, BASE + "protect: {ports: [25]}\n")

    def test_an_early_place_needs_no_replies(self, tmp_path: Path) -> None:
        """Chains ahead of tracking drop no replies where some ports alone are closed, and say nothing of it."""
        place = "nftables_hooks: [prerouting]\nnftables: {ipv4: {priority: -300}, ipv6: {priority: -300}}\n"
        assert not warnings(tmp_path, BASE + place + "protect: {ports: [25]}\n")
        assert warnings(tmp_path, BASE + place)
        assert warnings(tmp_path, BASE + place + "protect: {ports: [40000]}\n")

    @pytest.mark.parametrize(
        ("text", "given"),
        [
            ("", False),
            ("nftables_hooks: [input]\n", True),
            ("nftables: {ipv6: {priority: -5}}\n", True),
            ("nftables: {ipv4: {table: mine}}\n", False),
            ("iptables_chains: [INPUT]\n", False),
        ],
    )
    def test_who_says_where_rules_stand(self, tmp_path: Path, text: str, given: bool) -> None:
        """Hooks and priorities that are written down are obeyed; without them early is best."""
        assert config(tmp_path, BASE + text).given_place is given

    def test_iptables_without_chains(self, tmp_path: Path) -> None:
        """In iptables mode a ban of everything needs a chain, and one of some ports doesn't."""
        text = BASE.replace("nftables", "iptables")
        assert "names no chain" in warnings(tmp_path, text)[0]
        assert not warnings(tmp_path, text + "protect: {ports: [25]}\n")
        assert config(tmp_path, text + "iptables_chains: [INPUT]\n").given_place

    def test_proxies(self, tmp_path: Path) -> None:
        """Proxies are addresses or networks, never names."""
        made = config(tmp_path, BASE + "protect: {proxies: [192.0.2.80, 2001:db8::/64]}\n")
        assert len(made.proxies) == 2
        assert "is no address" in problems(tmp_path, BASE + "protect: {proxies: [proxy.example]}\n")[0]


class TestPolicies:
    """The list of policies."""

    def test_what_is_meant(self, tmp_path: Path) -> None:
        """Globs in lower case, ports with variables put in, verdicts; what is left out comes from `protect`."""
        text = BASE + "protect: {ports: [25], reset_ports: [smtp]}\n" + POLICIES
        bf, mild = config(tmp_path, text, PORT="587").policies.named
        match = Match(("apache-james/*", "linagora/*"), ("crowdsec",))
        assert bf == Policy("james-bf", match, Ports.of(143, (6000, 6010), 587), reset=Ports.of(25))
        assert mild == Policy(
            "mild", Match(types=("captcha",)), Ports.of(25), passes=True, reset=Ports.of(25)
        )

    def test_verdicts(self, tmp_path: Path) -> None:
        """Drop and reject are a policy's own; without a verdict deny_action counts."""
        text = BASE + "policies: [{name: a, origin: x, verdict: reject}, {name: b, origin: x, ports: all}]\n"
        named = config(tmp_path, text).policies.named
        assert [policy.action for policy in named] == [Action.REJECT, None]
        assert named[1].ports is None
        assert named[1].reset == NO_PORTS

    @pytest.mark.parametrize(
        ("text", "said"),
        [
            ("policies: [{origin: x}]", "4: policies: a policy without a name; add `name:`"),
            (HEAD + "    origin: x\n    prots: [25]", "7: policies: prots: unknown key; did you mean ports?"),
            ("policies:\n  - name: Bad Name", "5: policies: name: 'Bad Name' can't name a policy"),
            ("policies:\n  - {name: a, origin: x}\n  - {name: a}", "6: policies: a second policy called a"),
            (HEAD + "    verdict: rejct", "6: policies: verdict: 'rejct' is not known; did you mean reject?"),
            (HEAD + "    ports: [imap, imapz]", "6: policies: ports: 'imapz' is neither a port nor a known service; "
             "did you mean imap?"),
            (HEAD + "    name: b", "6: name: stands in line 5 already; remove one"),
            ("policies: {name: a}", "4: policies: is a list; begin each of its blocks with a dash"),
            ("policies: [a]", "4: policies: takes a list of blocks"),
            ("policies: drop", "4: policies: takes a list of blocks"),
            ("policies:\n  - name: [a]\n    origin: x", "5: name: takes one value, and this is a list"),
        ],
    )  # fmt: skip
    def test_what_is_not_understood(self, tmp_path: Path, text: str, said: str) -> None:
        """A complaint names the line, the key and what to do."""
        found = problems(tmp_path, BASE + text + "\n")
        assert any(line.startswith(f"c.yaml:{said}") for line in found), found

    @pytest.mark.parametrize(
        "text", ["protect: {reset_ports: [25]}", "policies: [{name: a, origin: x, verdict: reject}]"]
    )
    def test_nothing_is_refused_where_packets_leave(self, tmp_path: Path, text: str) -> None:
        """The kernel refuses no packet at postrouting, and neither reset nor reject can be meant to stand there."""
        said = problems(tmp_path, BASE + "nftables_hooks: [postrouting]\n" + text + "\n")
        assert "the kernel can't refuse a packet at postrouting" in said[0]

    def test_a_policy_for_everything(self, tmp_path: Path) -> None:
        """A policy that matches everything hides those behind it, and a warning says so."""
        assert "matches every decision" in warnings(tmp_path, BASE + "policies: [{name: a}]\n")[0]

    def test_there_are_not_too_many(self, tmp_path: Path) -> None:
        """Each policy multiplies the sets, so that there is a limit, told in numbers."""
        text = "".join(f"  - {{name: p{n}, origin: x}}\n" for n in range(33))
        assert "are 33, and at most 32 are possible" in problems(tmp_path, BASE + "policies:\n" + text)[0]

    def test_an_overlay_replaces_the_list(self, tmp_path: Path) -> None:
        """The overlay's policies take the place of all; an empty list takes them away."""
        over = "policies: [{name: other, origin: x}]\n"
        made = config(tmp_path, BASE + POLICIES, over, PORT="1")
        assert [policy.name for policy in made.policies.named] == ["other"]
        assert not config(tmp_path, BASE + POLICIES, "policies: []\n", PORT="1").policies.named

    def test_they_are_shown(self, tmp_path: Path) -> None:
        """The merged configuration shows policies as they would be written, with their lines."""
        text, wrong = merged(write(tmp_path, BASE + POLICIES), {"PORT": "587"})
        assert not wrong
        assert "  - name: james-bf  #" in text
        assert "    ports: [imap, 6000-6010, 587]  #" in text
        path = tmp_path / "again"
        path.mkdir()
        again = config(path, text.replace("(hidden, 1 characters)", "k"))
        assert again.policies == config(tmp_path, BASE + POLICIES, PORT="587").policies
