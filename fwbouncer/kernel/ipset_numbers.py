"""The numbers of ipset's netlink protocol (uapi/linux/netfilter/ipset/ip_set.h), and its errors in words."""

from __future__ import annotations

import os
from enum import IntEnum

from fwbouncer.core.model import Family

SUBSYSTEM = 6 << 8  # NFNL_SUBSYS_IPSET
PROTOCOL = 6  # the oldest version that kernels still take; what 7 adds isn't used here
MAX_TIMEOUT = 2_147_483  # seconds: UINT_MAX / 2 milliseconds, IPSET_MAX_TIMEOUT in the kernel

# In an attribute's type. Numbers and addresses travel in network order; the kernel insists that they say so.
NESTED, NET_ORDER, TYPE_MASK = 0x8000, 0x4000, 0x3FFF
LIST_NAMES, LIST_HEADERS = 2, 4  # command flags
NOMATCH = 4  # a flag of an element

NFPROTO = {Family.V4: 2, Family.V6: 10}
# The newest revision that every kernel since 3.18 and every ipset tool since 6.22 knows: a tool can't list a set of
# one that is newer than itself.
REVISION = {"hash:net": 6, "hash:ip": 4}


class Command(IntEnum):
    """What is asked for."""

    CREATE = 2
    DESTROY = 3
    SWAP = 6
    LIST = 7
    ADD = 9
    DELETE = 10
    TEST = 11


class Top(IntEnum):
    """Attributes of a command."""

    PROTOCOL = 1
    NAME = 2
    TYPE = 3
    OTHER_NAME = 3  # the number is used twice
    REVISION = 4
    FAMILY = 5
    FLAGS = 6
    DATA = 7
    ELEMENTS = 8
    LINE = 9


class Data(IntEnum):
    """Attributes of a set or an element."""

    IP = 1
    PREFIX = 3
    TIMEOUT = 6
    FLAGS = 8
    HASHSIZE = 18
    MAXELEM = 19
    COUNT = 24
    REFERENCES = 25
    MEMSIZE = 26


ABSENT = 4103
HASH_FULL = 4352
IN_USE = 4100
_WORDS = {
    4097: "the kernel doesn't understand the request",
    4098: "the kernel doesn't know this set type",
    4099: "the kernel has no room for another set",
    IN_USE: "the set is in use by a rule",
    4101: "a set of that name exists already",
    4102: "the two sets differ in type or family",
    ABSENT: "the element is there already, or missing",
    4104: "a prefix length that the set's type doesn't take",
    4106: "the set is of another address family",
    4107: "the set was made without timeouts",
    4108: "the set is in use by another set",
    4109: "the set is of another address family",
    4110: "the set is of another address family",
    HASH_FULL: "the set is full",
}


def describe(error: int) -> str:
    """Put an error into words; ipset's own begin at 4096."""
    return _WORDS.get(error, f"ipset error {error}") if error >= 4096 else os.strerror(error)
