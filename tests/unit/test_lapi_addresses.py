"""Addresses and networks in text, and those that are never banned."""

from __future__ import annotations

import ipaddress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fwbouncer.core.guard import refusal
from fwbouncer.lapi.address import address_key

MAPPED = ipaddress.IPv6Network("::ffff:0:0/96")


def oracle(text: str) -> bytes | None:
    """Say by the standard library which key a text has."""
    _, slash, length = text.partition("/")
    if "%" in text or (
        slash and ((length != length.lstrip("0") and length != "0") or not length.isdecimal())
    ):
        return None
    try:
        network = ipaddress.ip_network(text, strict=False)
    except ValueError:
        return None
    if isinstance(network, ipaddress.IPv6Network) and network.subnet_of(MAPPED):
        low = int(network.network_address) & 0xFFFFFFFF
        network = ipaddress.ip_network((low, network.prefixlen - 96))
    packed = network.network_address.packed
    return packed if network.prefixlen == network.max_prefixlen else packed + bytes([network.prefixlen])


def key(text: str) -> bytes:
    """Return the key of a text that has one."""
    found = address_key(text)
    assert found is not None
    return found


@pytest.mark.parametrize(
    ("text", "same"),
    [
        ("192.0.2.1/32", "192.0.2.1"),
        ("::ffff:192.0.2.1", "192.0.2.1"),
        ("::ffff:102:304/128", "1.2.3.4"),
        ("::FFFF:c000:200/120", "192.0.2.0/24"),
        ("192.0.2.77/24", "192.0.2.0/24"),
        ("2001:DB8:0:0::1/128", "2001:db8::1"),
        ("2001:db8:ffff::1/32", "2001:db8::/32"),
        ("::ffff:0:0/96", "0.0.0.0/0"),
    ],
)
def test_equal_addresses_have_equal_keys(text: str, same: str) -> None:
    """However an address or network is written, it has one key."""
    assert key(same) == key(text)


@pytest.mark.parametrize(
    "text",
    [
        "",
        " ",
        "1.2.3",
        "1.2.3.4.5",
        "1.2.3.256",
        "01.2.3.4",
        "1.2.3.04",
        " 1.2.3.4",
        "1.2.3.4 ",
        "1.2.3.4\n",
        "1.2.3.4\x00",
        "1.2.3.4/",
        "1.2.3.4/33",
        "1.2.3.4/-1",
        "1.2.3.4/024",
        "1.2.3.4/+8",
        "1.2.3.4/ 8",
        "1.2.3.4/255.255.255.0",
        "1.2.3.4/24/24",
        "0x1.2.3.4",
        "16909060",
        "\u0661.2.3.4",
        "1.2.3.4/\u0662",
        "1\u30022.3.4",
        "localhost",
        "fe80::1%eth0",
        "fe80::1%1/64",
        "::1::",
        ":::",
        "1:2:3:4:5:6:7:8:9",
        "12345::",
        "::/129",
        "[::1]",
        "::1.2.3.04",
        "1.2.3.4; flush ruleset",
        "$(reboot)",
        "\ud800",
        "1" * 100000,
        "::" + "0" * 60 + "1",
        "1.2.3.4-1.2.3.9",
    ],
)
def test_garbage_has_no_key(text: str) -> None:
    """What is not exactly one address or network is neither guessed at nor trimmed."""
    assert address_key(text) is None


v4 = st.ip_addresses(v=4).map(str)
v6 = st.ip_addresses(v=6).map(str) | st.ip_addresses(v=4).map(lambda address: f"::ffff:{address}")
values = (
    v4
    | v6
    | st.builds("{}/{}".format, v4, st.integers(0, 40))
    | st.builds("{}/{}".format, v6, st.integers(0, 140))
    | st.builds("{}/{}".format, v6, st.text("0123456789 +-", max_size=3))
    | st.text("0123456789abcdefABCDEF.:/%", max_size=24)
    | st.text(max_size=20)
)


@given(values)
def test_keys_agree_with_the_standard_library(text: str) -> None:
    """The ipaddress module, which shares no code with ours, gives the same key or none."""
    assert oracle(text) == address_key(text)


@pytest.mark.parametrize(
    "text",
    [
        "0.0.0.0/0",
        "::/0",
        "0.0.0.0/1",
        "128.0.0.0/7",
        "127.0.0.0/8",
        "127.0.0.1",
        "127.255.255.255",
        "127.4.0.0/16",
        "126.0.0.0/7",
        "2000::/3",
        "2001::/18",
        "::1",
        "::/32",
        "::/64",
        "::/127",
        "::ffff:127.0.0.1",
        "::ffff:0:0/96",
    ],
)
def test_what_would_lock_everybody_out_is_refused(text: str) -> None:
    """Everything, loopback, what contains it, and prefixes that nobody owns are never banned."""
    assert refusal(key(text))


@pytest.mark.parametrize(
    "text",
    [
        "0.0.0.0",
        "1.0.0.0/8",
        "128.0.0.0/8",
        "126.255.255.255",
        "2001::/19",
        "2003::/20",
        "::",
        "::2",
        "::2/127",
        "fe80::1",
    ],
)
def test_what_somebody_may_own_is_not_refused(text: str) -> None:
    """Hosts and real allocations can be banned, the host 0.0.0.0 included."""
    assert refusal(key(text)) is None


@given(st.ip_addresses(v=6), st.integers(0, 128))
def test_no_accepted_ipv6_network_holds_loopback(address: ipaddress.IPv6Address, length: int) -> None:
    """Whatever network is let through, ::1 is not in it."""
    network = ipaddress.ip_network((address, length), strict=False)
    if refusal(key(str(network))) is None:
        assert ipaddress.ip_address("::1") not in network
