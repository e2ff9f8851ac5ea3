"""One real LAPI for many bouncers: filled with decisions, restarted, and looked at from outside."""

from __future__ import annotations

import hashlib
import time
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

from tests.benchmarks import page
from tests.benchmarks.costs import cpu, peak, pss, tree
from tests.lab.crowdsec import CrowdSec

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator
    from pathlib import Path

    from tests.benchmarks.fleet_database import Database
    from tests.benchmarks.page import Ban
    from tests.lab.net import Host

_BATCH = 500
_LATER = timedelta(seconds=0.5)


def key(number: int) -> str:
    """Return the API key of a bouncer."""
    return f"key-of-bouncer-{number:04}"


class FleetLapi:
    """Debian's CrowdSec on one of the databases."""

    def __init__(self, host: Host, folder: Path, root: Path, database: Database) -> None:
        self.database = database
        self._crowdsec = CrowdSec(host, folder, root, database.config)

    def fill(self, decisions: int, bouncers: int) -> None:
        """Enter so many decisions, as the central API's come in, and bouncers with a key each.

        Written with the schema that the LAPI made: cscli needs half a minute for 100,000, and for 1,000 keys.
        """
        now = datetime.now(UTC)
        self.database.run("".join(_bouncers(bouncers, now)))
        # Made before the bouncers' last polls: they have them all.
        before = now - timedelta(hours=1)
        self.database.run("".join(_decisions(page.bans(decisions), before, "CAPI")) + "ANALYZE;")

    def ban(self, bans: list[Ban]) -> None:
        """Enter new decisions."""
        # A LAPI gives a poll what was made after the poll before began, even if it was not there yet for that one
        # to see: a row that comes in while somebody polls is lost to him. Made a little in the future, it is not.
        self.database.run("".join(_decisions(bans, datetime.now(UTC) + _LATER, "crowdsec")))

    def start(self) -> None:
        """Start it and wait until it answers."""
        self._crowdsec.start()

    def stop(self) -> None:
        """End it at once, as a crash would."""
        self._crowdsec.stop()

    def close(self) -> None:
        """End it and its database."""
        self.stop()
        self.database.close()

    def cpu(self) -> tuple[float, float]:
        """Return the seconds of processor time that the LAPI and its database have used, each."""
        own = _sum(cpu, [self._crowdsec.pid] if self._crowdsec.running else [])
        return own, _sum(cpu, self.database.pids())

    def memory(self) -> tuple[float, float]:
        """Return the megabytes that LAPI and database hold now, together, and what the LAPI held at most."""
        pids = [self._crowdsec.pid, *self.database.pids()]
        return _sum(pss, pids), peak(self._crowdsec.pid)


def _sum(what: Callable[[int], float], pids: Iterable[int]) -> float:
    total = 0.0
    for pid in pids:
        for each in tree(pid):
            with suppress(OSError, KeyError):
                total += what(each)
    return total


def settle(lapi: FleetLapi, patience: float = 20.0) -> None:
    """Wait until LAPI and database have come to rest."""
    deadline = time.monotonic() + patience
    before = sum(lapi.cpu())
    while time.monotonic() < deadline:
        time.sleep(0.5)
        now = sum(lapi.cpu())
        if now - before < 0.03:
            return
        before = now


def _bouncers(count: int, now: datetime) -> Iterator[str]:
    columns = "created_at, updated_at, name, api_key, revoked, ip_address, last_pull, auth_type"
    rows = [
        f"('{now}','{now}','b{n}','{hashlib.sha512(key(n).encode()).hexdigest()}',false,'127.0.0.1','{now}','api-key')"
        for n in range(count)
    ]
    yield from _insert("bouncers", columns, rows)


def _decisions(bans: list[Ban], now: datetime, origin: str) -> Iterator[str]:
    columns = "created_at, updated_at, until, scenario, type, scope, value, origin, simulated"
    rows = [
        f"('{now}','{now}','{now + timedelta(hours=100, minutes=each.number % 1000)}',"
        f"'crowdsecurity/{page.SCENARIOS[each.number % len(page.SCENARIOS)]}','ban',"
        f"'{'Range' if each.is_range else 'Ip'}','{each.value}','{origin}',false)"
        for each in bans
    ]
    yield from _insert("decisions", columns, rows)


def _insert(table: str, columns: str, rows: list[str]) -> Iterator[str]:
    for first in range(0, len(rows), _BATCH):
        yield f"INSERT INTO {table} ({columns}) VALUES {','.join(rows[first : first + _BATCH])};\n"
