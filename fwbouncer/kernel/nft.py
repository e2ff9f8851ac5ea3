"""nf_tables' numbers and the frame of its requests (include/uapi/linux/netfilter/nf_tables.h)."""

from __future__ import annotations

from enum import IntEnum

from fwbouncer.core.model import Family
from fwbouncer.kernel import wire
from fwbouncer.kernel.wire import Message

SUBSYSTEM = 10
GROUP_NFTABLES = 7  # the multicast group that tells every change

TABLE_DORMANT = 0x1
TABLE_OWNER = 0x2
SET_ANONYMOUS = 0x1
SET_CONSTANT = 0x2
SET_INTERVAL = 0x4
SET_TIMEOUT = 0x10
ELEMENT_INTERVAL_END = 0x1
OBJECT_COUNTER = 1

PROTOCOL = {Family.V4: 2, Family.V6: 10}  # NFPROTO_IPV4, NFPROTO_IPV6
KEY_TYPE = {Family.V4: 7, Family.V6: 8}  # what nft prints as ipv4_addr, ipv6_addr

_BATCH_BEGIN = Message(0x10, 0, bytes([0, 0, 0, SUBSYSTEM]), "begin of a transaction")
_BATCH_END = Message(0x11, 0, bytes([0, 0, 0, SUBSYSTEM]), "end of a transaction")


class Verb(IntEnum):
    """Message types."""

    NEW_TABLE = 0
    GET_TABLE = 1
    DEL_TABLE = 2
    NEW_CHAIN = 3
    GET_CHAIN = 4
    DEL_CHAIN = 5
    NEW_RULE = 6
    GET_RULE = 7
    DEL_RULE = 8
    NEW_SET = 9
    GET_SET = 10
    DEL_SET = 11
    NEW_ELEMENT = 12
    GET_ELEMENT = 13
    DEL_ELEMENT = 14
    NEW_GENERATION = 15
    GET_GENERATION = 16
    NEW_OBJECT = 18
    GET_OBJECT = 19
    DEL_OBJECT = 20


def request(
    verb: Verb, family: Family, *attributes: bytes, about: str, flags: int = 0, subject: str = ""
) -> Message:
    """Frame one request about an object of a family."""
    payload = bytes([PROTOCOL[family], 0, 0, 0]) + b"".join(attributes)
    return Message(SUBSYSTEM << 8 | verb, flags, payload, about, subject)


def generation() -> Message:
    """Ask for the ruleset's generation, which every transaction of anybody's steps up by one."""
    kind = SUBSYSTEM << 8 | Verb.GET_GENERATION
    return Message(kind, wire.NLM_F_ACK, bytes(4), "ask for the ruleset's generation")


def transaction(messages: list[Message]) -> tuple[list[Message], int]:
    """Put messages into one transaction; returns it with the index of the message that will be acknowledged.

    The kernel tells every error, but success only where it is asked for, so the last message asks.
    """
    last = messages[-1]._replace(flags=messages[-1].flags | wire.NLM_F_ACK)
    return [_BATCH_BEGIN, *messages[:-1], last, _BATCH_END], len(messages)
