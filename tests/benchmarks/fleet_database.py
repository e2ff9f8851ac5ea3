"""The databases that a LAPI can stand on: SQLite, with write-ahead log and without, and a PostgreSQL of its own."""

from __future__ import annotations

import shutil
import sqlite3
import subprocess
import tempfile
import time
from contextlib import closing
from pathlib import Path
from typing import Protocol

from tests.lab.crowdsec import CHECKOUT, libraries

UNPRIVILEGED = 65534  # nobody: PostgreSQL refuses to run as root
_UNPACKED = CHECKOUT / ".cache" / "postgresql"


class Database(Protocol):
    """What a LAPI keeps its decisions in."""

    name: str
    config: str  # for db_config

    def run(self, sql: str) -> None:
        """Run statements in one transaction."""

    def pids(self) -> list[int]:
        """Return its own processes; none for a library in the LAPI's."""

    def close(self) -> None:
        """End it."""


class Sqlite:
    """A file that the LAPI itself reads and writes."""

    def __init__(self, folder: Path, *, wal: bool) -> None:
        self.name = "SQLite, use_wal" if wal else "SQLite"
        self._path = folder / "data" / "crowdsec.db"
        self.config = f'type: sqlite, db_path: "{self._path}", use_wal: {str(wal).lower()}'

    def run(self, sql: str) -> None:
        """Run statements in one transaction."""
        with closing(sqlite3.connect(self._path, timeout=60, isolation_level=None)) as connection:
            connection.executescript(f"BEGIN IMMEDIATE;{sql}COMMIT;")

    def pids(self) -> list[int]:
        """It has none."""
        return []

    def close(self) -> None:
        """Nothing runs."""


class Postgresql:
    """A server of its own on a Unix socket, with PostgreSQL's default settings."""

    name = "PostgreSQL"

    def __init__(self, folder: Path) -> None:
        self._programs = programs()
        assert self._programs, "PostgreSQL is neither unpacked nor installed"
        # Where its user may come in: the folders of others are for root alone.
        self._folder = Path(tempfile.mkdtemp(prefix="fwbouncer-pg-"))
        shutil.chown(self._folder, UNPRIVILEGED)
        self.config = (
            f"type: postgresql, user: crowdsec, password: none, db_name: postgres, sslmode: disable,"
            # PostgreSQL allows 100, and the LAPI would take as many: a second one, or what the first one left
            # behind when it was killed, gets "too many clients already".
            f' host: "{self._folder}", port: 5432, max_open_conns: 40'
        )
        data = str(self._folder / "data")
        self._log = (folder.parent / "postgresql.log").open("ab")
        self._call("initdb", "-D", data, "-U", "crowdsec", "-A", "trust", "-E", "UTF8", "--locale=C")
        self._server = subprocess.Popen(
            (*self._words("postgres"), "-D", data, "-k", self._folder, "-c", "listen_addresses="),
            user=UNPRIVILEGED,
            cwd=self._folder,
            stdout=self._log,
            stderr=self._log,
        )
        deadline = time.monotonic() + 60
        while self._ask("SELECT 1;").returncode:
            assert self._server.poll() is None, "PostgreSQL has ended"
            assert time.monotonic() < deadline, "PostgreSQL doesn't answer"
            time.sleep(0.1)

    def run(self, sql: str) -> None:
        """Run statements in one transaction."""
        self._ask(f"BEGIN;{sql}COMMIT;").check_returncode()

    def pids(self) -> list[int]:
        """Return the first process; the others are its children."""
        return [self._server.pid]

    def close(self) -> None:
        """Stop it; its data goes."""
        self._server.terminate()  # waits for clients to leave, and the LAPI is gone by now
        try:
            self._server.wait(20)
        except subprocess.TimeoutExpired:
            self._server.kill()
            self._server.wait()
        self._log.close()
        shutil.rmtree(self._folder)

    def _ask(self, sql: str) -> subprocess.CompletedProcess[bytes]:
        words = ("-h", self._folder, "-U", "crowdsec", "-v", "ON_ERROR_STOP=1", "-qX", "postgres")
        return subprocess.run(
            (*self._words("psql"), *words),
            input=sql.encode(),
            stdout=self._log,
            stderr=self._log,
            check=False,
        )

    def _call(self, program: str, *words: str) -> None:
        subprocess.run(
            (*self._words(program), *words),
            user=UNPRIVILEGED,
            cwd=self._folder,
            check=True,
            stdout=self._log,
            stderr=self._log,
        )

    def _words(self, program: str) -> tuple[str, ...]:
        return "env", f"LD_LIBRARY_PATH={libraries(_UNPACKED)}", f"{self._programs}/{program}"


def programs() -> Path | None:
    """Return where PostgreSQL's programs are, the newest; None where it is neither unpacked nor installed."""
    for root in (_UNPACKED, Path("/")):
        found = sorted(root.glob("usr/lib/postgresql/*/bin/postgres"))
        if found:
            return found[-1].parent
    return None
