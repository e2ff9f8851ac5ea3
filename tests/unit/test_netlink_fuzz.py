"""What comes over netlink, read as if the kernel had gone mad: a KernelError at most, and no memory."""

from __future__ import annotations

import contextlib
import socket
import struct
import tracemalloc
from typing import TYPE_CHECKING

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from fwbouncer.core.model import Family
from fwbouncer.core.suspects import Suspects
from fwbouncer.errors import KernelError
from fwbouncer.kernel import elements, nft, sessions, sessions_flows, sessions_tcp, standing, wire
from fwbouncer.kernel.nft import Verb, request
from fwbouncer.kernel.socket import NetlinkSocket
from fwbouncer.kernel.watch import Watch
from tests.effort import examples

if TYPE_CHECKING:
    from collections.abc import Callable

_HEADER = struct.Struct("=IHHII")
SESSION = sessions_tcp.Connection(2, sessions_tcp.ESTABLISHED, bytes(48), bytes(4), 25, bytes(4), 40000)
_U16 = st.one_of(st.integers(0, 24), st.integers(0, 0xFFFF))
thorough = settings(max_examples=examples(100), suppress_health_check=[HealthCheck.too_slow])


@st.composite
def attributes(draw: st.DrawFn, depth: int = 3) -> bytes:
    """Draw attributes that are nearly right: kinds that exist, lengths that lie at times, nested or noise."""
    made = b""
    for _ in range(draw(st.integers(0, 5))):
        inner = st.binary(max_size=24)
        payload = draw(st.one_of(inner, attributes(depth - 1)) if depth else inner)
        length = draw(st.one_of(st.just(4 + len(payload)), st.just(4 + len(payload)), _U16))
        kind = draw(_U16) | draw(st.sampled_from([0, 0x8000]))
        made += struct.pack("=HH", length, kind & 0xFFFF) + payload + b"\0" * (-len(payload) & 3)
    return made


@st.composite
def messages(draw: st.DrawFn) -> bytes:
    """Draw messages of all kinds, some of which belong to the question that was asked."""
    made = b""
    for _ in range(draw(st.integers(0, 4))):
        payload = draw(st.one_of(st.binary(max_size=40), attributes().map(lambda a: bytes(4) + a)))
        length = draw(
            st.one_of(st.just(16 + len(payload)), st.just(16 + len(payload)), st.integers(0, 2**32 - 1))
        )
        verbs = st.sampled_from([nft.SUBSYSTEM << 8 | verb for verb in Verb])
        kind = draw(st.one_of(st.sampled_from([1, 2, 3]), verbs, st.integers(0, 0xFFFF)))
        flags, sequence = draw(st.integers(0, 0xFFFF)), draw(st.sampled_from([1, 1, 2, 3, 0, 2**32 - 1]))
        made += _HEADER.pack(length, kind, flags, sequence, draw(st.integers(0, 3)))
        made += payload + b"\0" * (-len(payload) & 3)
    return made


class Mad(NetlinkSocket):
    """A socket to a kernel that answers with what it was given, and then that it is done."""

    def __init__(self, answers: list[bytes]) -> None:
        # Not that of the base class: there is no kernel here.
        self._answers = list(answers)
        self._sequence = 1
        self.port = 1

    def _send(self, data: bytes) -> None:
        self._asked = _HEADER.unpack_from(data)[3]

    def close(self) -> None:
        """Do nothing."""

    def _answers_held(self) -> int:
        return 3

    def _drain(self) -> None:
        """Keep the answers for the question."""

    def _receive(self, flags: int) -> bytes:
        if self._answers:
            return self._answers.pop(0)
        if flags & socket.MSG_DONTWAIT:
            return b""
        return _HEADER.pack(20, wire.NLMSG_DONE, 0, self._asked, 1) + bytes(4)


def _tolerate(work: Callable[[], object]) -> None:
    with contextlib.suppress(KernelError):
        work()


@thorough
@example(_HEADER.pack(20, wire.NLMSG_ERROR, 0, 1, 1) + b"\0\0\0\x80")
@given(st.one_of(st.binary(max_size=200), messages()))
def test_bytes_come_apart(data: bytes) -> None:
    """Any bytes can be split into messages and attributes, which are parts of them."""
    for reply in wire.replies(data):
        assert len(reply.payload) <= len(data)
        parts = list(wire.attributes(reply.payload))
        assert sum(len(part) for _, part in parts) <= len(reply.payload)
        wire.describe(wire.acknowledgement(reply))


@thorough
@given(st.lists(st.one_of(messages(), st.binary(min_size=1, max_size=64)), max_size=4))
def test_a_mad_kernel_is_at_most_an_error(answers: list[bytes]) -> None:
    """A table, its counters and a transaction's end can be asked for, whatever the answer is."""
    for family in Family:
        _tolerate(lambda family=family: standing.read(Mad(answers), family, "crowdsec"))  # type: ignore[misc]
        _tolerate(lambda family=family: standing.counters(Mad(answers), family, "crowdsec"))  # type: ignore[misc]
    ask = request(Verb.NEW_TABLE, Family.V4, wire.text(1, "crowdsec"), about="create table crowdsec")
    _tolerate(lambda: Mad(answers).send_all(*nft.transaction([ask])))


@st.composite
def listed(draw: st.DrawFn) -> bytes:
    """Draw elements as the kernel lists them, nearly: keys of odd lengths, ends without starts."""
    made = b""
    for _ in range(draw(st.integers(0, 6))):
        key = draw(st.one_of(st.binary(min_size=4, max_size=4), st.binary(max_size=17), st.just(bytes(16))))
        parts = [wire.nested(1, wire.attribute(1, key))]
        parts += draw(st.sampled_from([[], [wire.u32(3, 1)], [wire.u64(4, 9), wire.u64(5, 3)]]))
        made += wire.nested(1, *draw(st.permutations(parts)))
    return bytes(4) + wire.nested(3, made)


@thorough
@given(
    st.one_of(st.binary(max_size=200), attributes().map(lambda a: bytes(4) + a), listed()),
    st.sampled_from(Family),
)
def test_elements_of_any_bytes(payload: bytes, family: Family) -> None:
    """Elements are read from any bytes, each with an address of the right length, or it is a KernelError."""
    for tagged in (False, True):
        try:
            found = elements.read(memoryview(payload), family, tagged=tagged)
            ranges = elements.pair(found, family)
        except KernelError:
            continue
        assert all(len(address) == family.size for address, _, _ in found)
        assert all(len(element) == 2 * family.size for element in ranges)
        assert all(element[: family.size] <= element[family.size :] for element in ranges)


@thorough
@given(st.lists(messages(), max_size=3))
def test_news_of_any_bytes(news: list[bytes]) -> None:
    """Notifications of any kind tell who disturbed us, or nothing."""
    watch = Watch.__new__(Watch)
    watch._writer, watch._sock, watch._missed = Mad([]), Mad(news), False
    watch._tables = frozenset({(Family.V4, "crowdsec")})
    said = watch.disturbed()
    assert said is None or isinstance(said, str)


@st.composite
def sockets(draw: st.DrawFn) -> bytes:
    """Draw sockets as the kernel lists them, and entries of connection tracking, nearly: families and lengths lie."""
    made = b""
    for _ in range(draw(st.integers(0, 4))):
        family, address = draw(st.sampled_from([2, 10, 10, 7])), draw(st.binary(min_size=32, max_size=32))
        body = bytes([family, *draw(st.binary(min_size=3, max_size=3))]) + b"\0\x19\x9c\x40" + address
        body = (body + bytes(40))[: draw(st.sampled_from([72, 72, 72, 52, 51, 3]))]
        kind, payload = draw(
            st.sampled_from([(20, body), (0x100, bytes(4) + draw(tracked())), (2, body[:4])])
        )
        made += _HEADER.pack(16 + len(payload), kind, 0, draw(st.integers(1, 3)), 1)
        made += payload + b"\0" * (-len(payload) & 3)
    return made


@st.composite
def tracked(draw: st.DrawFn) -> bytes:
    """Draw an entry of which parts lack, or are too short."""
    address, port = st.binary(max_size=17), st.binary(max_size=3)
    addresses = wire.nested(1, *(wire.attribute(n, draw(address)) for n in draw(st.lists(st.integers(1, 4)))))
    protocol = wire.nested(2, *(wire.attribute(n, draw(port)) for n in draw(st.lists(st.integers(1, 3)))))
    state = wire.nested(
        4, wire.nested(1, *(wire.attribute(4, draw(port)) for _ in range(draw(st.integers(0, 1)))))
    )
    parts = [wire.nested(1, addresses, protocol), state]
    return b"".join(draw(st.permutations(parts))[: draw(st.integers(0, 2))])


@thorough
@given(st.lists(st.one_of(sockets(), messages(), st.binary(min_size=1, max_size=64)), max_size=4))
def test_sessions_of_any_bytes(answers: list[bytes]) -> None:
    """Open sessions can be listed, judged and cut, whatever the kernel says of them, with a KernelError at most."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sessions, "_diagnosis", lambda: Mad(answers))
        patch.setattr(sessions.NetlinkSocket, "open", lambda: Mad(answers))
        there = sessions.Sessions()
        _tolerate(there.probe)
        there._cuts = True
        everybody = Suspects(keys=[[bytes(4) + b"\0", bytes(16) + b"\0"] * 64])
        found: list[sessions.Session] = []
        _tolerate(lambda: found.extend(there.find(everybody)))
        _tolerate(lambda: there.cut(found))
    for reply in (reply for data in answers for reply in wire.replies(data)):
        _tolerate(lambda reply=reply: sessions_tcp.read(reply))  # type: ignore[misc]
        _tolerate(lambda reply=reply: sessions_flows.origin(reply, SESSION))  # type: ignore[misc]


@pytest.mark.parametrize("filler", [b"\0", b"\xff", b"\x04\0\0\0", b"\x05\0\1\x80\0\0\0\0"])
def test_no_more_memory_than_a_few_times_the_answer(filler: bytes) -> None:
    """The largest answer there is, full of the smallest things there are, costs memory in proportion."""
    size = 1 << 17
    data = (filler * size)[:size]
    tracemalloc.start()
    wire.table(data)
    list(wire.replies(data))
    _tolerate(
        lambda: elements.read(memoryview(bytes(4) + wire.nested(3, data[:60_000])), Family.V4, tagged=False)
    )
    _, most = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert most < 64 * size
