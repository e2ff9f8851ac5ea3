"""Makes text from outside fit to be shown and to name kernel sets."""

from __future__ import annotations

import re
from hashlib import blake2s

from fwbouncer.core.model import NEVER_BLOCK, PROCESSED

UNKNOWN = "unknown"
OTHER = "other"
# Origins that CrowdSec itself writes: they have their own sets however many strange ones came before.
USUAL = frozenset(
    {"CAPI", "crowdsec", "cscli", "cscli-import", "console", "lists", "remediation_sync", UNKNOWN, OTHER}
)
LONGEST = 100
_SLASH = "/"
_SAFE = re.compile(rf"[A-Za-z0-9_.-]{{1,{LONGEST}}}", re.ASCII)
_UNSAFE = re.compile(r"[^A-Za-z0-9_.-]+", re.ASCII)


def escaped(text: str, limit: int = 200) -> str:
    """Write a text for a log or a terminal: one line of printable ASCII, cut to about `limit` characters."""
    return ascii(text[:limit])[1:-1] + ("..." if len(text) > limit else "")


def shown(value: object, limit: int = 80) -> str:
    """Write a value likewise, in quotes where it is a text, so that its type and its ends can be seen."""
    if isinstance(value, str):
        return ascii(value[:limit]) + ("..." if len(value) > limit else "")
    if isinstance(value, int) and not -(2**64) < value < 2**64:
        return "a huge number"  # the interpreter refuses to write out more than 4,300 digits
    if isinstance(value, (list, dict)):
        return "an object" if isinstance(value, dict) else "a list"
    return ascii(value)


def set_group(origin: str, scenario: str) -> str:
    """Name the sets of a decision as the incumbent does, where its origin can be part of a kernel name.

    Any other name becomes a readable one with a digest behind it, so that the ban is still enforced.
    """
    name = f"lists-{scenario}" if origin == "lists" else origin
    if not name:
        return UNKNOWN
    # "-ranges" ends the names of the sets that hold networks; a group of that name would meet them. And no origin's
    # set may have the name of the set that lets peers pass, whatever the configuration puts in front of either.
    taken = name.endswith((NEVER_BLOCK, "-ranges")) or NEVER_BLOCK.endswith(name) or name == PROCESSED
    if _SAFE.fullmatch(name) and not taken:
        return name
    digest = blake2s(name.encode("utf-8", "surrogatepass"), digest_size=4).hexdigest()
    readable = _UNSAFE.sub("-", name[: LONGEST - 10]).strip("-.")
    return f"{readable or 'odd'}-{digest}"


def with_policy(group: str, policy: str) -> str:
    """Name the group for an origin's decisions under a policy; the default policy, "", is told by no name.

    No origin can meet such a name: a slash is in none of theirs.
    """
    return f"{group}{_SLASH}{policy}" if policy else group


def parts(group: str) -> tuple[str, str]:
    """Return the origin's part of a group's name, and the policy's; "" for the default."""
    origin, _, policy = group.partition(_SLASH)
    return origin, policy


def origin_of(group: str) -> str:
    """Name the origin behind a group as the incumbent's metrics do: a list is `lists:` and its name."""
    name = parts(group)[0]
    return f"lists:{name[6:]}" if name.startswith("lists-") else name


class Groups:
    """Hands out set names, a bounded number of them, so that no LAPI can fill the kernel with sets."""

    def __init__(self, limit: int = 64) -> None:
        self._limit = limit
        self._given: set[str] = set()

    def __call__(self, origin: str, scenario: str, policy: str = "") -> str:
        """Name the group of a decision under a policy; `other` once there are too many."""
        name = set_group(origin, scenario)
        group = with_policy(name, policy)
        if name in USUAL or group in self._given:
            return group
        if len(self._given) >= self._limit:
            return with_policy(OTHER, policy)
        self._given.add(group)
        return group
