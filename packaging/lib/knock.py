"""A mail client of few words, for the demonstration: it connects, reads a greeting, and tells when.

    knock.py greet   SOURCE TARGET PORT [SECONDS]    one connection: "served 3 220 mail.example.net", or "timeout 1000"
    knock.py until   WHAT SOURCE TARGET PORT   connect all the time until that is served / timeout; print when
    knock.py session SOURCE TARGET PORT    stay connected, ask again and again; print when answers ended
    knock.py steady  SOURCE TARGET PORT    a connection every 20 ms; print how many were served and were not

Times are milliseconds; "when" is on the clock of `date +%s%3N`. The last two go on until SIGTERM.
"""

# ruff: noqa: INP001, T201 - a script of its own, whose answers are printed
from __future__ import annotations

import contextlib
import select
import signal
import socket
import struct
import sys
import time

# Many times what a packet needs from one namespace to another and back.
PATIENCE = 0.4
IPV6_FREEBIND = 78


def now() -> int:
    """Return the milliseconds of this moment."""
    return time.time_ns() // 1_000_000


def new_client(source: str, target: str) -> socket.socket:
    """Return a socket that speaks from the source's address."""
    family = socket.AF_INET6 if ":" in target else socket.AF_INET
    client = socket.socket(family, socket.SOCK_STREAM)
    # A whole network is this host's; IPv6 lets it use an address of that as its own only so.
    if family == socket.AF_INET6:
        client.setsockopt(socket.IPPROTO_IPV6, IPV6_FREEBIND, 1)
    client.bind((source, 0))
    return client


def begin(source: str, target: str, port: str) -> socket.socket:
    """Return a connection that is being made; it is writable once it stands."""
    client = new_client(source, target)
    client.setblocking(False)
    client.connect_ex((target, int(port)))
    return client


def connect(source: str, target: str, port: str, patience: float = PATIENCE) -> socket.socket | None:
    """Return a connection; None if nobody answered in time."""
    client = new_client(source, target)
    client.settimeout(patience)
    try:
        client.connect((target, int(port)))
    except TimeoutError:
        client.close()
        return None
    return client


def hang_up(client: socket.socket) -> None:
    """End a connection with a reset, so that thousands of them leave no ports waiting."""
    client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    client.close()


def greet(source: str, target: str, port: str, patience: str = "1") -> None:
    """Make one connection, with a patience in seconds, and print what came of it."""
    start = now()
    client = connect(source, target, port, patience=float(patience))
    if client is None:
        print("timeout", now() - start)
        return
    with client:
        client.settimeout(5.0)
        greeting = client.recv(200).decode().split("\r")[0]
        print("served", now() - start, greeting)


def until(what: str, source: str, target: str, port: str) -> None:
    """Begin a connection every 5 ms; print when the first one was begun that was served, or was not."""
    pending: list[tuple[int, socket.socket]] = []
    for _ in range(4000):
        pending.append((now(), begin(source, target, port)))
        _, connected, _ = select.select([], [client for _, client in pending], [], 0.005)
        late = now() - int(PATIENCE * 1000)
        turned = [
            started
            for started, client in pending
            if (client in connected if what == "served" else client not in connected and started < late)
        ]
        if turned:
            print(min(turned))
            return
        for _, client in pending:
            if client in connected:
                hang_up(client)
        # What is late was dropped, and would only be heard of again when its client tries again.
        pending = [(at, client) for at, client in pending if client not in connected and at >= late]
        time.sleep(0.005)
    sys.exit(f"{source} never came to a {what}")


def session(source: str, target: str, port: str) -> None:
    """Keep one connection busy; print when its last answer came, and whether they still came at the end."""
    client = connect(source, target, port)
    if client is None:
        sys.exit(f"{source} could not connect")
    answered = now()
    alive = True
    with contextlib.suppress(KeyboardInterrupt):
        client.recv(200)
        while True:
            client.sendall(b"NOOP\r\n")
            try:
                alive = bool(client.recv(200))
                answered = now()
            except OSError:
                alive = False
            time.sleep(0.01)
    print("alive" if alive else "silent", answered)


def steady(source: str, target: str, port: str) -> None:
    """Connect again and again; print how many were served, how many were not, and the longest wait."""
    served = failed = slowest = 0
    with contextlib.suppress(KeyboardInterrupt):
        while True:
            start = now()
            client = connect(source, target, port)
            if client:
                served += 1
                slowest = max(slowest, now() - start)
                hang_up(client)
            else:
                failed += 1
            time.sleep(0.02)
    print(served, failed, slowest)


def main() -> None:
    """Do what the arguments say; SIGTERM asks for the result."""
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    actions = {"greet": greet, "until": until, "session": session, "steady": steady}
    actions[sys.argv[1]](*sys.argv[2:])


main()
