"""A LAPI to test against: a real HTTP server with the LAPI's manners, which can also be told to misbehave.

    with FakeLapi() as lapi:                        # or socket=path, or tls=Tls(cert, key, client_ca)
        number = lapi.ban("192.0.2.1", "4h")        # returns the decision's id
        lapi.unban(number)                          # ends it: appears among the deleted for a while
        lapi.forget(number)                         # removes its row: never appears among the deleted
        lapi.requests[-1].params["startup"]         # what was asked, newest last
        lapi.page = static_page(hosts=100_000)      # from now on answer with these bytes, whatever is asked
        lapi.fault = status(503)                    # from now on misbehave; None ends it
        lapi.faults.append(reset())                 # misbehave once; several queue up
        lapi.stop(); lapi.start()                   # an outage: connections cut, port closed, then back

Faults: status, redirect, answer, truncated, reset, hang_up, hang, drip, endless. `lapi.url` is what goes into
api_url. Any non-empty key is accepted unless `lapi.keys` says which. Only the standard library is needed:

    python3 tests/fake_lapi.py --port 8080 --decisions 100000
"""

from __future__ import annotations

import argparse
import contextlib
import json
import re
import sys
import threading
import time
from collections import deque
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

if __name__ == "__main__":  # started by its path
    sys.path[0] = str(Path(__file__).parent.parent)

from tests.fake_faults import (
    Fault,
    answer,
    drip,
    endless,
    hang,
    hang_up,
    redirect,
    reset,
    status,
    truncated,
)
from tests.fake_http import Handler, Request, Server, Tls, UnixServer, server_context

if TYPE_CHECKING:
    from collections.abc import Iterable

__all__ = [
    "FakeLapi",
    "Fault",
    "Request",
    "Tls",
    "answer",
    "drip",
    "endless",
    "hang",
    "hang_up",
    "raw_decision",
    "redirect",
    "reset",
    "static_page",
    "status",
    "truncated",
]
_UNITS = {"h": 3600.0, "m": 60.0, "s": 1.0}


@dataclass
class Decision:
    """A row of the LAPI's database."""

    id: int
    value: str
    until: float
    origin: str
    scenario: str
    scope: str
    type: str
    simulated: bool


def raw_decision(number: int, value: str, duration: str = "4h", **fields: Any) -> dict[str, Any]:
    """Return a decision as the LAPI writes it."""
    base = {"duration": duration, "id": number, "origin": "cscli", "scenario": "manual", "scope": "Ip"}
    return {**base, "type": "ban", "uuid": f"00000000-0000-4000-8000-{number:012x}", "value": value} | fields


def static_page(hosts: int, ranges: int = 0, v6: int = 0, duration: str = "167h59m58s") -> bytes:
    """Return a page of that many different addresses; quick to make and to serve."""
    row = (
        '{"duration":"%s","id":%d,"origin":"CAPI","scenario":"crowdsecurity/ssh-bf","scope":"%s","type":"ban",'
        '"uuid":"00000000-0000-4000-8000-%012x","value":"%s"}'
    )
    values = [("Ip", f"{i >> 24 & 255}.{i >> 16 & 255}.{i >> 8 & 255}.{i & 255}") for i in _spread(hosts)]
    values += [("Range", f"100.{64 + (i >> 8)}.{i & 255}.0/24") for i in range(min(ranges, 16384))]
    values += [("Ip", f"2001:db8:{i >> 16:x}:{i & 65535:x}::1") for i in range(v6)]
    rows = ",".join(row % (duration, i, scope, i, value) for i, (scope, value) in enumerate(values, 1))
    return f'{{"new": [{rows}], "deleted": []}}'.encode()


def _spread(hosts: int) -> Iterable[int]:
    """Yield different addresses in 1.0.0.0 and above, far from 100.64.0.0 and 127.0.0.0."""
    return range(1 << 24, (1 << 24) + hosts * 7, 7) if hosts < 10**8 else ()


class FakeLapi:
    """The server; see the top of this file."""

    def __init__(
        self,
        *,
        port: int = 0,
        host: str = "127.0.0.1",
        socket: Path | None = None,
        tls: Tls | None = None,
    ) -> None:
        self.keys: set[str] | None = None  # None: any
        self.page: bytes | None = None
        self.chunked = True
        self.fault: Fault | None = None
        self.faults: deque[Fault] = deque()
        self.requests: list[Request] = []
        self.usage: list[Any] = []  # what was posted as usage metrics
        self.decisions: dict[int, Decision] = {}
        self.stopping = threading.Event()
        self._lock = threading.Lock()
        self._next = 1
        self._cursors: dict[str, tuple[int, float]] = {}  # by key: last id sent, time of the last pull
        self._address = (host, port)
        self._socket = socket
        self._tls = tls
        self._server: Server | None = None
        self.start()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    @property
    def url(self) -> str:
        """What the configuration calls api_url."""
        if self._socket is not None:
            return f"{self._socket}/"
        return f"{'https' if self._tls else 'http'}://{self._address[0]}:{self._address[1]}/"

    @property
    def port(self) -> int:
        """The TCP port; it stays the same over stop and start."""
        return self._address[1]

    @property
    def connections(self) -> int:
        """How many connections there are now."""
        return len(self._server.live) if self._server else 0

    def start(self) -> None:
        """Listen."""
        self.stopping.clear()
        if self._socket is not None:
            self._socket.unlink(missing_ok=True)
            self._server = UnixServer(str(self._socket), Handler)
        else:
            self._server = Server(self._address, Handler)
            self._address = self._server.server_address[:2]  # type: ignore[assignment]
        self._server.lapi = self
        self._server.tls = server_context(self._tls) if self._tls else None
        threading.Thread(target=self._server.serve_forever, args=(0.02,), daemon=True).start()

    def stop(self) -> None:
        """Cut all connections and listen no more."""
        server, self._server = self._server, None
        if server is None:
            return
        self.stopping.set()
        server.shutdown()
        server.server_close()
        self.drop_connections()
        server.cut_all()

    def drop_connections(self) -> None:
        """Close what is connected, as the LAPI does with idle connections."""
        if self._server is not None:
            self._server.cut_all()

    def ban(self, value: str, duration: str = "4h", **fields: Any) -> int:
        """Add a decision; `fields` may be origin, scenario, scope, type, simulated."""
        with self._lock:
            number, self._next = self._next, self._next + 1
            scope = fields.pop("scope", "Range" if "/" in value else "Ip")
            base: dict[str, Any] = {
                "origin": "cscli",
                "scenario": "manual",
                "type": "ban",
                "simulated": False,
            }
            base |= fields
            self.decisions[number] = Decision(
                number, value, time.time() + seconds(duration), scope=scope, **base
            )
            return number

    def unban(self, *what: int | str) -> None:
        """End decisions by id or value, as `cscli decisions delete` does."""
        with self._lock:
            for each in self.decisions.values():
                if each.id in what or each.value in what:
                    each.until = min(each.until, time.time())

    def forget(self, *what: int | str) -> None:
        """Remove rows by id or value, as a list's refresh does."""
        with self._lock:
            gone = [each.id for each in self.decisions.values() if each.id in what or each.value in what]
            for number in gone:
                del self.decisions[number]

    def stream(self, who: str, params: dict[str, str]) -> bytes:
        """Answer a poll of the decision stream and move the cursor."""
        with self._lock:
            now = time.time()
            seen, pulled = self._cursors.get(who, (0, 0.0))
            startup = params.get("startup") == "true"
            rows = [each for each in self.decisions.values() if _asked(each, params)]
            new = [each for each in rows if each.until > now and (startup or each.id > seen)]
            gone = [each for each in rows if each.until <= now and (startup or each.until >= pulled - 2)]
            if params.get("dedup") != "false":
                new, gone = _longest(new, rows), _longest(gone, rows)
            self._cursors[who] = (self._next - 1, now)
            lists = {"new": [_raw(each, now) for each in new], "deleted": [_raw(each, now) for each in gone]}
            return json.dumps(lists, separators=(",", ":")).encode()


def seconds(duration: str) -> float:
    """Read a duration such as `1h2m3.5s`."""
    return sum(float(number) * _UNITS[unit] for number, unit in re.findall(r"([0-9.]+)([hms])", duration))


def _asked(row: Decision, params: dict[str, str]) -> bool:
    scopes = params.get("scopes", "ip,range").lower().split(",")
    wanted, unwanted = params.get("scenarios_containing"), params.get("scenarios_not_containing")
    return (
        row.scope.lower() in scopes
        and ("origins" not in params or row.origin in params["origins"].split(","))
        and (wanted is None or any(word in row.scenario for word in wanted.split(",")))
        and (unwanted is None or not any(word in row.scenario for word in unwanted.split(",")))
        and (not row.simulated or params.get("simulated") == "true")
    )


def _longest(rows: list[Decision], among: list[Decision]) -> list[Decision]:
    last: dict[tuple[str, str, str], float] = {}
    for each in among:
        what = (each.value, each.type, each.scope)
        last[what] = max(last.get(what, 0.0), each.until)
    return [each for each in rows if each.until == last[each.value, each.type, each.scope]]


def _raw(row: Decision, now: float) -> dict[str, Any]:
    left = round(row.until - now, 3)
    fields = {"origin": row.origin, "scenario": row.scenario, "scope": row.scope, "type": row.type}
    simulated = {"simulated": True} if row.simulated else {}
    return raw_decision(row.id, row.value, f"{left}s", **fields, **simulated)


def main() -> None:
    """Serve a static page until interrupted."""
    parser = argparse.ArgumentParser(description="Serve a page of decisions as a LAPI does.")
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--port", type=int, default=8080)
    parser.add_argument("--decisions", type=int, default=100_000)
    options = parser.parse_args()
    with FakeLapi(host=options.host, port=options.port) as lapi, contextlib.suppress(KeyboardInterrupt):
        lapi.page = static_page(hosts=options.decisions, ranges=options.decisions // 100)
        print(f"{lapi.url} serves {options.decisions} addresses and {options.decisions // 100} ranges")
        threading.Event().wait()


if __name__ == "__main__":
    main()
