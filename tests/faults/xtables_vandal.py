"""Others on a host with iptables and ipsets, as `vandal` is on one with nftables."""

from __future__ import annotations

import os
import time
from typing import TYPE_CHECKING

from tests.lab.net import HONEST
from tests.lab.shell import run

if TYPE_CHECKING:
    import random
    from collections.abc import Callable
    from pathlib import Path

    from tests.lab.net import Host

_OURS = "CROWDSEC"
_PROGRAMS = ("iptables", "ip6tables")


class XtablesVandal:
    """Speaks to the kernel through one kind of iptables, and ipset."""

    def __init__(self, host: Host, dice: random.Random, *, variant: str) -> None:
        self._host = host
        self._dice = dice
        self._variant = variant
        self._acts: tuple[Callable[[str], list[list[str]]], ...] = (
            *(self._flush_everything, self._flush_chain, self._delete_jump, self._delete_rule),
            *(self._accept_all, self._flush_set, self._delete_element, self._ban_somebody, self._destroy),
        )

    def act(self) -> tuple[str, bool]:
        """Do something bad; return what, and whether the kernel let it happen."""
        program = self._dice.choice(_PROGRAMS)
        for act in self._dice.sample(self._acts, len(self._acts)):
            commands = act(program)
            if commands:
                words = "; ".join(" ".join(command) for command in commands)
                taken = [
                    self._run(*command) for command in commands
                ]  # each of them, whatever became of the others
                return f"{act.__name__.strip('_')}: {words}", all(taken)
        return "nothing to destroy", False

    def flush(self) -> None:
        """Take out every rule, every chain and every set."""
        for program in _PROGRAMS:
            self._run(program, "-F")
            self._run(program, "-X")
        for _ in range(20):  # the kernel lets go of a set a moment after the last rule that used it
            if self._run("ipset", "destroy"):
                return
            time.sleep(0.01)

    def churn(self, seconds: float) -> None:
        """Change somebody else's set as fast as it goes, for a while."""
        over, count = time.monotonic() + seconds, 0
        while time.monotonic() < over:
            self._run(
                "ipset", "-exist", "add", "theirs", f"10.0.{count >> 8 & 255}.{count & 255}", "timeout", "1"
            )
            count += 1

    def left(self) -> list[str]:
        """Return every rule, chain and set of ours."""
        rules = [line for program in _PROGRAMS for line in self._rules(program) if _OURS in line]
        return rules + self._sets()

    def make_theirs(self) -> None:
        """Make somebody else's chain and set."""
        self._run("ipset", "-exist", "create", "theirs", "hash:ip", "timeout", "60")
        self._run("iptables", "-N", "THEIRS")
        self._run("iptables", "-F", "THEIRS")
        self._run("iptables", "-A", "THEIRS", "-m", "set", "--match-set", "theirs", "src", "-j", "ACCEPT")

    def theirs(self) -> bool:
        """Say whether it stands as it was made."""
        return "-A THEIRS -m set --match-set theirs src -j ACCEPT" in self._rules("iptables")

    def _run(self, *words: str) -> bool:
        try:
            self._out(*words)
        except AssertionError:
            return False
        return True

    def _out(self, *words: str) -> str:
        program = f"{words[0]}-{self._variant}" if words[0] in _PROGRAMS else words[0]
        with self._host.inside():
            return run(program, *words[1:])

    def _rules(self, program: str) -> list[str]:
        return self._out(program, "-S").splitlines()

    def _sets(self, program: str = "") -> list[str]:
        names = self._out("ipset", "list", "-name").split()
        prefix = {"": "crowdsec", "iptables": "crowdsec-", "ip6tables": "crowdsec6-"}[program]
        return [name for name in names if name.startswith(prefix)]

    def _some_set(self, program: str) -> list[str]:
        sets = self._sets(program)
        return [self._dice.choice(sets)] if sets else []

    def _chains(self, program: str) -> list[str]:
        return [line.split()[1] for line in self._rules(program) if line.startswith(f"-N {_OURS}")]

    def _flush_everything(self, program: str) -> list[list[str]]:
        return [[program, "-F"]]

    def _flush_chain(self, program: str) -> list[list[str]]:
        chains = self._chains(program)
        return [[program, "-F", self._dice.choice(chains)]] if chains else []

    def _delete_jump(self, program: str) -> list[list[str]]:
        jumps = [
            line for line in self._rules(program) if line.startswith("-A") and f"-j {_OURS}_CHAIN" in line
        ]
        return [[program, "-D", *self._dice.choice(jumps).split()[1:]]] if jumps else []

    def _delete_rule(self, program: str) -> list[list[str]]:
        rules = [line for line in self._rules(program) if line.startswith(f"-A {_OURS}_CHAIN ")]
        number = self._dice.randrange(len(rules)) + 1 if rules else 0
        return [[program, "-D", f"{_OURS}_CHAIN", str(number)]] if rules else []

    def _accept_all(self, program: str) -> list[list[str]]:
        chains = self._chains(program)
        return [[program, "-I", self._dice.choice(chains), "-j", "ACCEPT"]] if chains else []

    def _flush_set(self, program: str) -> list[list[str]]:
        return [["ipset", "flush", name] for name in self._some_set(program)]

    def _delete_element(self, program: str) -> list[list[str]]:
        for name in self._some_set(program):
            lines = [line.split() for line in self._out("ipset", "save", name).splitlines()]
            members = [words[2] for words in lines if words[0] == "add"]
            if members:
                return [["ipset", "del", name, self._dice.choice(members)]]
        return []

    def _ban_somebody(self, program: str) -> list[list[str]]:
        whom = HONEST[4] if program == "iptables" else HONEST[6]
        return [["ipset", "add", name, whom] for name in self._some_set(program)]

    def _destroy(self, program: str) -> list[list[str]]:
        return [[program, "-F"], *(["ipset", "destroy", name] for name in self._some_set(program))]


def programs(folder: Path, variant: str) -> dict[str, str]:
    """Make a folder in which one kind of iptables has the plain names; return the environment with it."""
    there = folder / "programs"
    there.mkdir()
    for program in _PROGRAMS:
        for verb in ("", "-save", "-restore"):
            (there / f"{program}{verb}").symlink_to(f"/usr/sbin/{program}-{variant}{verb}")
    return {"PATH": f"{there}:{os.environ['PATH']}"}
