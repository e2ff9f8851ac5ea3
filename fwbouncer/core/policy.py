"""What a ban closes, and how: the policies of the configuration, the first that matches a decision counts.

The default, which `protect.ports` and `deny_action` make, comes last and matches everything.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field, replace
from enum import Enum
from fnmatch import fnmatchcase
from typing import TYPE_CHECKING

from fwbouncer.core.names import parts
from fwbouncer.core.ports import NO_PORTS, Ports

if TYPE_CHECKING:
    from collections.abc import Iterator

# A policy's name becomes part of the names of sets and chains. The endings are those of sets that mean something else.
NAME = re.compile(r"(?!default$)[a-z0-9](?:[a-z0-9_-]{0,14}[a-z0-9])?(?<!-ranges)(?<!never-block)", re.ASCII)
MOST = 32  # policies: each one multiplies the sets that there can be
# Where Linux takes the ports of outgoing connections from, unless it is told otherwise: what comes in there may be an
# answer.
OUTGOING = Ports.of((32768, 60999))


class Action(Enum):
    """What happens to a banned peer's packet."""

    DROP = "DROP"
    REJECT = "REJECT"
    TARPIT = "TARPIT"  # iptables only
    LOG = "LOG"  # iptables only


@dataclass(frozen=True, slots=True)
class Match:
    """Globs, in lower case; one of each kind must fit. An empty kind fits everything."""

    scenarios: tuple[str, ...] = ()
    origins: tuple[str, ...] = ()
    types: tuple[str, ...] = ()

    def fits(self, origin: str, scenario: str, kind: str, supported: frozenset[str]) -> bool:
        """Tell whether a decision is meant. Without types, only the supported ones are."""
        return (
            (_any(self.types, kind) if self.types else kind.lower() in supported)
            and (not self.origins or _any(self.origins, origin))
            and (not self.scenarios or _any(self.scenarios, scenario))
        )


@dataclass(frozen=True, slots=True)
class Policy:
    """One policy."""

    name: str = ""  # "": the default
    match: Match = Match()
    listed: Ports | None = None  # as configured; None: all, and whatever has no ports
    james: bool = False  # the ports of James's own configuration, too
    action: Action | None = None  # None: what deny_action says
    passes: bool = False  # such decisions block nothing
    reset: Ports = NO_PORTS  # where TCP is answered with a reset, whatever `action` says
    found: Ports = NO_PORTS  # James's ports, as far as they are known

    def closes(self, port: int) -> bool:
        """Tell whether a port is closed."""
        return self.ports is None or port in self.ports

    @property
    def ports(self) -> Ports | None:
        """Return the ports that are closed; None for all."""
        if self.listed is None:
            return None
        return self.listed | self.found if self.james else self.listed


@dataclass(frozen=True, slots=True)
class Policies:
    """All policies, in order."""

    default: Policy = Policy()
    named: tuple[Policy, ...] = ()
    types: frozenset[str] = frozenset(
        {"ban"}
    )  # in lower case: those that block without being named by a policy
    outgoing: Ports = field(default=OUTGOING)  # ports that this host's own connections may come from

    def __iter__(self) -> Iterator[Policy]:
        yield from self.named
        yield self.default

    def of(self, origin: str, scenario: str, kind: str) -> Policy | None:
        """Return the policy of a decision; None for one of a type that isn't supported."""
        for policy in self.named:
            if policy.match.fits(origin, scenario, kind, self.types):
                return policy
        return self.default if kind.lower() in self.types else None

    def of_group(self, group: str) -> Policy:
        """Return the policy of a group of sets; the default where it has gone from the configuration."""
        name = parts(group)[1]
        found = (policy for policy in self.named if policy.name == name and not policy.passes)
        return next(found, self.default)

    def know(self, group: str) -> bool:
        """Tell whether a group's policy is still configured."""
        return self.of_group(group).name == parts(group)[1]

    def protected(self) -> Ports | None:
        """Return every port that some ban can close; None if one closes them all."""
        several = [policy.ports for policy in self if not policy.passes]
        known = [ports for ports in several if ports is not None]
        return Ports.together(known) if len(known) == len(several) else None

    def sorts_like(self, other: Policies) -> bool:
        """Tell whether every decision goes by a policy of the same name under both."""
        rules = [[(one.name, one.match, one.passes) for one in policies.named] for policies in (self, other)]
        return rules[0] == rules[1] and self.types == other.types

    @property
    def asks_james(self) -> bool:
        """Tell whether any policy wants the ports of James's configuration."""
        return any(policy.james for policy in self)

    def with_james(self, ports: Ports) -> Policies:
        """Return the same with the ports that James's configuration was found to name."""
        named = tuple(replace(policy, found=ports) for policy in self.named)
        return replace(self, default=replace(self.default, found=ports), named=named)


EVERYTHING = Policies()


def _any(globs: tuple[str, ...], text: str) -> bool:
    folded = text.lower()
    return any(fnmatchcase(folded, glob) for glob in globs)
