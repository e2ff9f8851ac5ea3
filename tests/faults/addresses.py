"""The addresses of the fault runner: who may be banned, and whose packets are watched."""

from __future__ import annotations

from dataclasses import dataclass
from ipaddress import ip_address
from typing import TYPE_CHECKING

from tests.lab.net import ATTACKER, HONEST

if TYPE_CHECKING:
    from tests.faults.terms import Address

# Hosts and networks that hold one another, in both families.
HOSTS = (
    *(f"198.18.1.{n}" for n in range(1, 7)),
    *("198.18.8.1", "198.18.8.255", "198.18.9.16", "198.18.11.255"),
    *(f"2001:db8:ba0:1::{n:x}" for n in range(1, 5)),
    *("2001:db8:ba1::", "2001:db8:ba1:7::9"),
)
RANGES = (
    *("198.18.8.0/22", "198.18.8.0/24", "198.18.9.0/24", "198.18.8.0/23", "198.18.9.16/28", "198.18.10.0/24"),
    *("198.18.8.128/25", "198.18.11.255/32", "198.18.1.0/30", "198.18.12.0/24"),
    *("2001:db8:ba1::/48", "2001:db8:ba1::/49", "2001:db8:ba1:7::/64", "2001:db8:ba1:8000::/49"),
    *("2001:db8:ba0:1::/126", "2001:db8:ba0:1::1/128", "2001:db8:ba1:7::8/125"),
)
# In the networks above, and just outside of them.
_MEMBERS = (
    *("198.18.8.0", "198.18.8.77", "198.18.8.128", "198.18.9.0", "198.18.9.15", "198.18.9.31", "198.18.9.32"),
    *("198.18.10.10", "198.18.11.0", "198.18.12.12", "198.18.7.255", "198.18.13.0", "198.18.1.7"),
    *("2001:db8:ba1:7::1", "2001:db8:ba1:7fff::1", "2001:db8:ba1:8000::", "2001:db8:ba1:ffff::ffff"),
    *("2001:db8:ba2::", "2001:db8:ba0:ffff::ffff"),
)
# Nobody ever decides anything about them.
_INNOCENT = (*ATTACKER.values(), *HONEST.values(), "198.18.200.1", "2001:db8:baf::1")


@dataclass(frozen=True, slots=True)
class Watched:
    """One source of packets."""

    text: str
    address: Address


WATCHED = tuple(Watched(text, ip_address(text)) for text in (*HOSTS, *_MEMBERS, *_INNOCENT))
