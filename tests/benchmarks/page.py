"""Prepared answers of a LAPI: decisions by the thousand, one in a hundred a range, one in five IPv6."""

from __future__ import annotations

import random
from dataclasses import dataclass
from ipaddress import ip_address, ip_network
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

# As a LAPI writes a row; json.dumps is too slow for millions.
ROW = (
    '{"duration":"%s","id":%d,"origin":"CAPI","scenario":"crowdsecurity/%s","scope":"%s","type":"ban",'
    '"uuid":"00000000-0000-4000-8000-%012x","value":"%s"}'
)
SCENARIOS = ("ssh-bf", "http-probing", "smtp-spam", "imap-bf", "http-cve", "postscreen-rbl", "iptables-scan")
NOTHING = b'{"new":null,"deleted":null}'
_MIX = 0x9E3779B1  # odd, so that multiplying by it permutes the numbers below any power of two


@dataclass(frozen=True, slots=True)
class Ban:
    """One decision of ours."""

    number: int
    value: str

    @property
    def family(self) -> int:
        """4 or 6."""
        return 6 if ":" in self.value else 4

    @property
    def is_range(self) -> bool:
        """Tell a network from an address."""
        return "/" in self.value

    @property
    def first(self) -> bytes:
        """Return its first address in network order."""
        return ip_address(self.value.partition("/")[0]).packed

    @property
    def ends(self) -> bytes:
        """Return a network's first address and its last."""
        return self.first + ip_network(self.value)[-1].packed


def ban(number: int) -> Ban:
    """Return the decision of that number: different numbers ban different addresses."""
    mixed = number * _MIX
    if number % 100 == 50:
        return Ban(number, _range(number // 100))
    if number % 5 == 2:
        a, b = mixed >> 16 & 0xFFFF, mixed & 0xFFFF
        return Ban(number, f"2a00:{a:x}:{b:x}:{number >> 16 & 0xFFFF:x}::{number & 0xFFFF:x}")
    address = 32 << 24 | mixed & (1 << 29) - 1  # in 32.0.0.0/3
    return Ban(number, ".".join(str(address >> shift & 255) for shift in (24, 16, 8, 0)))


def bans(size: int, first: int = 1) -> list[Ban]:
    """Return so many decisions with numbers from `first` on."""
    return [ban(number) for number in range(first, first + size)]


def page(new: Iterable[Ban] = (), deleted: Iterable[Ban] = (), hours: int = 160) -> bytes:
    """Write an answer; the new ones last for about `hours`, most of them for different times."""
    new_rows = ",".join(_new_row(each, hours) for each in new)
    old_rows = ",".join(_row(each, "-1s") for each in deleted)
    return f'{{"new":[{new_rows}],"deleted":[{old_rows}]}}'.encode()


def grown(answer: bytes, new: Iterable[Ban], hours: int = 160) -> bytes:
    """Return an answer with more in it; to write a long one anew takes seconds."""
    end = b'],"deleted":[]}'
    assert answer.endswith(end)
    return b"".join([answer.removesuffix(end), *(b"," + _new_row(each, hours).encode() for each in new), end])


def sample(bans: Sequence[Ban], size: int = 400) -> list[Ban]:
    """Choose decisions by which to tell whether all are there: the first, the last, and some at random."""
    if len(bans) <= size:
        return list(bans)
    chosen = random.Random(len(bans)).sample(range(1, len(bans) - 1), size - 2)
    return [bans[0], *(bans[at] for at in chosen), bans[-1]]


def _new_row(each: Ban, hours: int) -> str:
    return _row(each, f"{hours + each.number % 8}h{each.number % 59}m58s")


def _row(each: Ban, duration: str) -> str:
    scope = "Range" if each.is_range else "Ip"
    scenario = SCENARIOS[each.number % len(SCENARIOS)]
    return ROW % (duration, each.number, scenario, scope, each.number, each.value)


def _range(number: int) -> str:
    mixed = number * _MIX
    if number % 5 == 2:
        return f"2a01:{mixed >> 4 & 0xFFFF:x}:{number & 0xFFFF:x}::/48"
    network = 64 << 24 | (mixed & (1 << 18) - 1) << 8  # a /24 in 64.0.0.0/6
    return ".".join(str(network >> shift & 255) for shift in (24, 16, 8, 0)) + "/24"
