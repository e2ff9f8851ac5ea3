"""What no bouncer can avoid: the kernel's own time for the elements, and what comes before the first of them."""

from __future__ import annotations

import contextlib
import json
import os
import socket
import subprocess
import sys
import time
from typing import TYPE_CHECKING

from fwbouncer.config.load import load
from fwbouncer.core.model import Change, Family, Kind, SetChange, SetKey
from fwbouncer.kernel import nft
from fwbouncer.kernel.nftables import Nftables
from fwbouncer.kernel.socket import NetlinkSocket
from tests.benchmarks.static_lapi import PORT, URL
from tests.lab.crowdsec import CHECKOUT

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from fwbouncer.kernel.wire import Message
    from tests.benchmarks.page import Ban
    from tests.lab.net import Host

_IMPORTS = "import fwbouncer.cli, fwbouncer.commands, fwbouncer.daemon"


def kernel(host: Host, messages: list[Message]) -> float:
    """Send prepared messages in one transaction; returns the seconds that it took."""
    with host.inside():
        sock = NetlinkSocket.open()
    with contextlib.closing(sock):
        sock.takes(sum(len(m.payload) + 32 for m in messages))
        began = time.perf_counter()
        sock.send_all(*nft.transaction(messages))
        return time.perf_counter() - began


def prepared(folder: Path, bans: Sequence[Ban]) -> list[Message]:
    """Return the messages that make fwbouncer's tables with these bans in them."""
    config = folder / "floor.yaml"
    config.write_text(f"mode: nftables\napi_url: {URL}\napi_key: none\n")
    config.chmod(0o600)
    change: Change = {}
    deadline = _now() + 160 * 3_600_000
    for ban in bans:
        target = SetKey("CAPI", Family(ban.family), Kind.RANGES if ban.is_range else Kind.HOSTS)
        element = ban.ends if ban.is_range else ban.first
        change.setdefault(target, SetChange()).add.append((element, deadline))
    with contextlib.closing(_Recorder()) as recorder:
        Nftables(load(config, os.environ), _now, recorder, owned=True).apply(change)
        return recorder.messages


class _Recorder(NetlinkSocket):
    """Takes down what would be sent."""

    def __init__(self) -> None:
        super().__init__(socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, 12))
        self.messages: list[Message] = []

    def send_all(self, messages: Sequence[Message], expected: int) -> None:
        """Keep what stands between the frame of the transaction."""
        del expected
        self.messages = list(messages[1:-1])

    def takes(self, size: int) -> bool:
        """Say that everything fits."""
        del size
        return True


def imports() -> float:
    """Start an interpreter that imports what the daemon needs; returns the seconds that it took."""
    began = time.perf_counter()
    subprocess.run(
        [sys.executable, "-c", _IMPORTS], check=True, cwd="/", env={**os.environ, "PYTHONPATH": str(CHECKOUT)}
    )
    return time.perf_counter() - began


def parsing(page: Path) -> float:
    """Parse the page with the standard library; returns the seconds that it took."""
    data = page.read_bytes()
    began = time.perf_counter()
    json.loads(data)
    return time.perf_counter() - began


def serving(host: Host) -> float:
    """Fetch the page and throw it away; returns the seconds that it took."""
    with host.inside():
        connection = socket.create_connection(("127.0.0.1", PORT))
    buffer = bytearray(1 << 16)
    with connection:
        began = time.perf_counter()
        connection.sendall(b"GET /v1/decisions/stream?startup=true HTTP/1.1\r\nHost: lapi\r\n\r\n")
        tail = b""
        while not tail.endswith(b"0\r\n\r\n"):
            size = connection.recv_into(buffer)
            tail = (tail + buffer[max(0, size - 16) : size])[-16:]
        return time.perf_counter() - began


def _now() -> int:
    return time.clock_gettime_ns(time.CLOCK_BOOTTIME) // 1_000_000
