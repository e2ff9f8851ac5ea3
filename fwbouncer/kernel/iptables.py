"""The rules of iptables as data: what iptables-save shows, what must stand there, the way from one to the other.

Runs nothing. A table of one family looks like this, an arrow being a rule's target:

    INPUT, DOCKER-USER …            the first rule of each chain in the configuration → CROWDSEC_CHAIN
    CROWDSEC_CHAIN                  answers to our own connections → RETURN; then for each set a rule → verdict, and
                                    for the ports of each policy a rule → CROWDSEC_PORTS, CROWDSEC_P-policy
    CROWDSEC_PORTS, …_P-policy      for each set a rule → verdict
    CROWDSEC_LOG, CROWDSEC_DENY, CROWDSEC_D-policy
                                    where denials are logged, so many a second, or the verdict takes several rules

In the table filter stands what needs to know the connection, in the table raw, ahead of all tracking, what doesn't.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from itertools import pairwise
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence

CHAIN = "CROWDSEC_CHAIN"
LOG_CHAIN = "CROWDSEC_LOG"
DENY_CHAIN = "CROWDSEC_DENY"
PORTS_CHAIN = "CROWDSEC_PORTS"
OURS = (CHAIN, LOG_CHAIN, DENY_CHAIN, PORTS_CHAIN)
_POLICYS = re.compile(r"CROWDSEC_[PD]-[a-z0-9_-]{1,16}", re.ASCII)
FILTER, RAW = "filter", "raw"
DOCKER = "DOCKER-USER"
# iptables-nft makes these when the first rule goes in, and shows nothing before.
BUILT_IN = {FILTER: ("INPUT", "FORWARD", "OUTPUT"), RAW: ("PREROUTING", "OUTPUT")}

Rule = tuple[str, ...]  # the words behind "-A CHAIN"
JUMP: Rule = ("-j", CHAIN)
# The direction alone is enough: a packet without a connection, or the first of one, is not a reply.
REPLIES: Rule = ("-m", "conntrack", "--ctdir", "REPLY", "-j", "RETURN")
# Without its neighbours' answers a host finds no way to send anything, and tracking knows nothing of them. None
# comes from farther off: the kernel takes only those that no router has passed on.
NEIGHBOURS: tuple[Rule, ...] = tuple(
    ("-p", "ipv6-icmp", "-m", "icmp6", "--icmpv6-type", kind, "-j", "RETURN") for kind in ("135", "136")
)
_COMMENT = "CrowdSec: "

_RULE = re.compile(r"(?:\[(\d+):(\d+)\] )?-A (\S+) ?(.*)")
_DECLARATION = re.compile(r":(\S+) \S+(?: \[(\d+):(\d+)\])?")
_WORD = re.compile(r'"((?:[^"\\]|\\.)*)"|(\S+)')
_ESCAPED = re.compile(r"\\(.)")
_PLAIN = re.compile(r"[A-Za-z0-9_./:,%+=-]+", re.ASCII)


class Line(NamedTuple):
    """A rule as it stands in the kernel, with what it counted."""

    rule: Rule
    packets: int = 0
    bytes: int = 0


@dataclass(slots=True)
class Chain:
    """A chain as it stands in the kernel. A built-in one counts what got through to its policy."""

    packets: int = 0
    bytes: int = 0
    lines: list[Line] = field(default_factory=list)

    def rules(self) -> tuple[Rule, ...]:
        """Return the rules without their counters."""
        return tuple(line.rule for line in self.lines)


Table = dict[str, Chain]  # a table by chain


@dataclass(frozen=True, slots=True)
class Skeleton:
    """What must stand in a table: our chains with their rules, and who jumps to the first."""

    chains: Mapping[str, tuple[Rule, ...]]
    jumps: tuple[str, ...]


def is_ours(chain: str) -> bool:
    """Tell a chain that only we make."""
    return chain in OURS or _POLICYS.fullmatch(chain) is not None


def of_policy(kind: str, policy: str) -> str:
    """Name a policy's chain: "P" for its ports, "D" for its verdict."""
    return f"CROWDSEC_{kind}-{policy}"


def parse(text: str, name: str = FILTER) -> Table:
    """Read what iptables-save -c printed of a table."""
    table: Table = {chain: Chain() for chain in BUILT_IN[name]}
    for line in text.splitlines():
        if found := _RULE.match(line):
            packets, size, chain, words = found.groups(default="0")
            table.setdefault(chain, Chain()).lines.append(Line(split(words), int(packets), int(size)))
        elif found := _DECLARATION.match(line):
            chain, packets, size = found.groups(default="0")
            table[chain] = Chain(int(packets), int(size))
    return table


def split(text: str) -> Rule:
    """Split a rule into its words. Rules without quotes, nearly all, need no more than spaces."""
    if '"' not in text:
        return tuple(text.split())
    return tuple(
        _ESCAPED.sub(r"\1", quoted) if quoted or not bare else bare for quoted, bare in _WORD.findall(text)
    )


def join(rule: Iterable[str]) -> str:
    """Write a rule's words so that iptables-restore reads them back."""
    return " ".join(map(_quoted, rule))


def _quoted(word: str) -> str:
    if _PLAIN.fullmatch(word):
        return word
    if not word.isprintable():
        raise ValueError(f"an iptables rule can't hold {word!r}")
    escaped = word.replace("\\", "\\\\").replace('"', '\\"')
    return f'"{escaped}"'


def set_rule(name: str, target: str, group: str | None) -> Rule:
    """Make the rule that sends a set's addresses to their verdict, with `group`, if any, in its comment."""
    comment = () if group is None else ("-m", "comment", "--comment", _COMMENT + group)
    return ("-m", "set", "--match-set", name, "src", *comment, "-j", target)


def set_of(rule: Rule) -> tuple[str, str | None] | None:
    """Read from a rule which set it matches sources against, and the origin in its comment."""
    if "--match-set" not in rule:
        return None
    at = rule.index("--match-set")
    if rule[at + 2 : at + 3] != ("src",):
        return None
    comment = rule[rule.index("--comment") + 1] if "--comment" in rule[:-1] else ""
    return rule[at + 1], comment.removeprefix(_COMMENT) if comment.startswith(_COMMENT) else None


def faults(table: Table, wanted: Skeleton) -> list[str]:
    """Say in words where the table differs from what must stand there."""
    found = [f"{name} is gone" for name in wanted.chains if name not in table]
    found += [f"{name} was changed" for name, rules in wanted.chains.items() if _differs(table, name, rules)]
    found += [f"{name} is left over" for name in _left_over(table, wanted)]
    for name, chain in table.items():
        at = [index for index, line in enumerate(chain.lines) if line.rule == JUMP]
        if name in wanted.jumps and at != [0]:
            found.append(f"{name} doesn't jump to {CHAIN} " + ("first" if at else "any more"))
        elif name not in wanted.jumps and at:
            found.append(f"{name} jumps to {CHAIN}")
    return found


def mending(table: Table, wanted: Skeleton) -> list[str]:
    """Return the lines for iptables-restore that make the table right, counters kept; none where it is."""
    if not faults(table, wanted):
        return []
    rewritten = {
        name: rules for name, rules in wanted.chains.items() if table.get(name, Chain()).rules() != rules
    }
    # A declaration empties a chain that exists and makes one that doesn't; all lines take effect in one step.
    missing = [name for name in wanted.chains if name not in table and name not in rewritten]
    lines = [f":{name} - [0:0]" for name in (*rewritten, *missing)]
    for name, rules in rewritten.items():
        counted = {line.rule: line for line in table[name].lines} if name in table else {}
        lines += [_append(name, counted.get(rule, Line(rule))) for rule in rules]
    for name, chain in table.items():
        lines += _jumps(name, chain, wanted=name in wanted.jumps)
    return [*lines, *_dropped(table, _left_over(table, wanted))]


def removal(table: Table) -> list[str]:
    """Return the lines for iptables-restore that take everything of ours out: jumps, then chains."""
    lines = [line for name, chain in table.items() for line in _jumps(name, chain, wanted=False)]
    return [*lines, *_dropped(table, list(filter(is_ours, table)))]


def joined(table: Table, wanted: Skeleton) -> Skeleton:
    """Return what must stand there together with what stands there of ours: more is closed, nothing is opened."""
    chains = {name: chain.rules() for name, chain in table.items() if is_ours(name)}
    both = {
        name: (
            *wanted.chains.get(name, ()),
            *(r for r in chains.get(name, ()) if r not in wanted.chains.get(name, ())),
        )
        for name in (*wanted.chains, *(name for name in chains if name not in wanted.chains))
    }
    jumping = (name for name, chain in table.items() if JUMP in chain.rules() and name not in wanted.jumps)
    return Skeleton(both, (*wanted.jumps, *jumping))


def restore_text(lines: Sequence[str], table: str = FILTER) -> str:
    """Wrap lines into what iptables-restore reads."""
    return "\n".join((f"*{table}", *lines, "COMMIT", ""))


def _differs(table: Table, name: str, rules: tuple[Rule, ...]) -> bool:
    return name in table and table[name].rules() != rules


def _append(name: str, line: Line) -> str:
    return f"[{line.packets}:{line.bytes}] -A {name} {join(line.rule)}"


def _jumps(name: str, chain: Chain, *, wanted: bool) -> Iterator[str]:
    at = [index for index, line in enumerate(chain.lines) if line.rule == JUMP]
    if at == ([0] if wanted else []):
        return
    for _ in at:
        yield f"-D {name} {join(JUMP)}"
    if wanted:
        packets, size = sum(chain.lines[i].packets for i in at), sum(chain.lines[i].bytes for i in at)
        yield f"[{packets}:{size}] -I {name} 1 {join(JUMP)}"


def _left_over(table: Table, wanted: Skeleton) -> list[str]:
    there = [name for name in table if is_ours(name) and name not in wanted.chains]
    return [name for name in there if table[name].lines or name not in _leading(table)]


def _leading(table: Table) -> set[str]:
    """Return where rules of somebody else's lead; ours to remove is only what they don't lead to."""
    return {
        target
        for name, chain in table.items()
        for rule in chain.rules()
        if not is_ours(name) and rule != JUMP
        for flag, target in pairwise(rule)
        if flag in ("-j", "-g")
    }


def _dropped(table: Table, chains: list[str]) -> Iterator[str]:
    """Empty chains of ours, and remove those that can go."""
    leading = _leading(table)
    yield from (f"-F {name}" for name in chains)
    yield from (f"-X {name}" for name in chains if name not in leading)
