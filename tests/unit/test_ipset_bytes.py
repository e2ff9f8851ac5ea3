"""ipset's protocol as bytes: elements there and back, the limits of a message, whatever a kernel may list."""

from __future__ import annotations

import struct

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from fwbouncer.core.model import Family
from fwbouncer.kernel import ipset, ipset_list, wire
from fwbouncer.kernel.ipset_list import Held
from fwbouncer.kernel.ipset_numbers import Command, describe
from fwbouncer.kernel.ipset_store import shown


@st.composite
def keys(draw: st.DrawFn) -> bytes:
    """Any address key."""
    size = draw(st.sampled_from((4, 16)))
    address = draw(st.binary(min_size=size, max_size=size))
    prefix = draw(st.integers(1, size * 8))
    return address if prefix == size * 8 else address + bytes((prefix,))


@given(keys(), st.none() | st.integers(0, 2_147_483))
def test_an_element_is_read_as_it_was_packed(key: bytes, timeout: int | None) -> None:
    """Hosts and networks of both families keep address, prefix length and timeout."""
    assert ipset_list.held(memoryview(ipset.pack(key, timeout))) == Held(key, timeout)


def test_an_element_as_the_kernel_lists_it() -> None:
    """The kernel lists addresses without the flag for network order; recorded from Linux 6.18."""
    body = bytes.fromhex("0c000180 08000100 c6120007 05000300 18000000 08000640 00000258".replace(" ", ""))
    assert ipset_list.held(memoryview(body)) == Held(b"\xc6\x12\0\7\x18", 600)
    copy = ipset_list.copied(memoryview(body))
    assert copy == ipset.pack(b"\xc6\x12\0\7\x18", 601)


def test_an_exception_is_told_from_a_ban() -> None:
    """Elements with the nomatch flag are known as such."""
    body = ipset.pack(b"\xc6\x12\0\7", 600) + wire.u32(8 | 0x4000, 4)
    assert ipset_list.held(memoryview(body)) == Held(b"\xc6\x12\0\7", 600, nomatch=True)


@given(st.binary(max_size=80))
@example(
    b"\x0c\x00\x01\x80\x08\x00\x01\x00\xc6\x12\x00\x07\x05\x00\x03\x00\xff\x00\x00\x00\x08\x00\x06\x40\x00\x00\x00\x00",
)
def test_reading_never_fails(data: bytes) -> None:
    """Whatever bytes come, reading them ends in an element, in nothing, but never in an error."""
    view = memoryview(data)
    found = ipset_list.held(view)
    assert found is None or len(found.key) in (4, 5, 16, 17)
    list(ipset_list.elements(view))
    ipset_list.header(view)
    ipset_list.name_of(view)
    ipset.failed_line(view)


@pytest.mark.parametrize("size", [4, 16])
def test_a_full_message_fits(size: int) -> None:
    """As many entries as go into one message stay below the limit of an attribute, 65,535 bytes."""
    packed = [ipset.pack(bytes(size), 600)] * ipset.CHUNK
    message = ipset.bulk(Command.ADD, "x" * 31, packed, 10**6)
    assert len(message.payload) < 65_535


def test_the_failed_line_is_found_in_the_echo() -> None:
    """The kernel writes the number of the bad entry into the copy of the request that it returns."""
    message = ipset.bulk(Command.ADD, "a", [ipset.pack(bytes(4), 600)] * 3, 7)
    echo = bytearray(wire.encode(message, 1))
    at = echo.index(struct.pack("=HHI", 8, 9 | 0x4000, 0))
    echo[at + 4 : at + 8] = struct.pack(">I", 8)
    assert ipset.failed_line(memoryview(bytes(echo))) == 8


def test_errors_have_words() -> None:
    """Errors of ipset itself, and the common ones, are told in words."""
    assert describe(4352) == "the set is full"
    assert describe(4999) == "ipset error 4999"
    assert describe(1) == "Operation not permitted"


@pytest.mark.parametrize(
    ("key", "text"),
    [
        (b"\xc6\x12\0\7", "198.18.0.7"),
        (b"\xc6\x12\0\0\x18", "198.18.0.0/24"),
        (b"\x20\x01\x0d\xb8" + bytes(12) + b"\x20", "2001:db8::/32"),
        (bytes(15) + b"\1", "::1"),
    ],
)
def test_addresses_are_shown_as_people_write_them(key: bytes, text: str) -> None:
    """Log lines name addresses and networks in the usual form."""
    assert shown(key) == text


def test_families_are_the_kernels() -> None:
    """A set's family is made and read by the kernel's numbers, 2 and 10."""
    for family, number in ((Family.V4, 2), (Family.V6, 10)):
        message = ipset.create("a", "hash:net", family, 10, timeouts=True)
        assert wire.number(wire.table(memoryview(message.payload)[4:])[5]) == number
