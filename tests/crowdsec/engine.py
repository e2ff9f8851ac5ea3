"""CrowdSec's engine, fed with lines, and what it made of each: the data that `cscli explain` shows."""

from __future__ import annotations

import contextlib
import json
import os
import re
import shutil
import sqlite3
import subprocess
import time
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import yaml

from tests.lab import crowdsec

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping

    from tests.lab.net import Host

COLLECTION = Path(__file__).parents[2] / "packaging" / "crowdsec"
# What CrowdSec brings itself, and every installation has.
_THEIRS = ("parsers/s00-raw/crowdsecurity/syslog-logs", "parsers/s02-enrich/crowdsecurity/dateparse-enrich")
PORT = 8085
_PARSERS = {"james": "fwbouncer/james-logs", "james-plain": "fwbouncer/james-plain-logs"}
_KINDS = ("parsers", "scenarios", "postoverflows", "collections")

_CONFIG = """
common: {{daemonize: false, log_media: stdout, log_level: info, working_dir: "{0}"}}
config_paths:
  config_dir: "{0}"
  data_dir: "{0}/data"
  simulation_path: "{0}/simulation.yaml"
  hub_dir: "{0}/hub"
  index_path: "{0}/hub/.index.json"
  notification_dir: "{0}/none"
  plugin_dir: "{0}/none"
crowdsec_service: {{parser_routines: 1, buckets_routines: 1, acquisition_dir: "{0}/acquis.d"}}
db_config: {{type: sqlite, db_path: "{0}/data/crowdsec.db", use_wal: true}}
api:
  client: {{credentials_path: "{0}/credentials.yaml"}}
  server:
    log_level: error
    listen_uri: 127.0.0.1:{1}
    profiles_path: "{0}/profiles.yaml"
    console_path: "{0}/console.yaml"
prometheus: {{enabled: false}}
"""


def _yaml(text: str) -> Any:
    return yaml.load(text, getattr(yaml, "CSafeLoader", yaml.SafeLoader))


def until(done: Callable[[], bool]) -> None:
    """Wait; who asked sees for himself whether it was in vain."""
    deadline = time.monotonic() + 60
    while not done() and time.monotonic() < deadline:
        time.sleep(0.1)


@dataclass(frozen=True, slots=True)
class Explained:
    """One line: its own parser if one knew it, and what that parser says for scenarios."""

    raw: str
    parser: str
    meta: Mapping[str, str]

    @property
    def event(self) -> tuple[str, str]:
        """What happened and who did it; empty where the line is no event."""
        return self.meta.get("log_type", ""), self.meta.get("source_ip", "")


@dataclass(frozen=True, slots=True)
class Overflow:
    """One scenario that is full: a ban, if the profiles say so."""

    scenario: str
    source: str
    remediation: bool


@dataclass(frozen=True, slots=True)
class Result:
    """What became of a number of lines."""

    lines: list[Explained]
    overflows: list[Overflow]

    @property
    def bans(self) -> set[tuple[str, str]]:
        """Scenario and address of each overflow."""
        return {(overflow.scenario, overflow.source) for overflow in self.overflows}


class Engine:
    """Debian's CrowdSec with our collection installed, in a folder of its own."""

    def __init__(self, folder: Path, root: Path, host: Host | None = None) -> None:
        self.folder = folder
        self._root = root
        # In a network of its own, whose LAPI nobody else sees; or on a host, beside the LAPI of other tests.
        alone = ("unshare", "--net", "sh", "-c", 'ip link set lo up && exec "$@"', "sh")
        self._inside = ("ip", "netns", "exec", host.name) if host else alone
        for name in ("data", "hub", "none", "dump", "acquis.d"):
            (folder / name).mkdir(parents=True)
        for kind in ("parsers", "scenarios", "collections"):
            shutil.copytree(COLLECTION / kind, folder / kind)
        for item in _THEIRS:
            kind, stage, _, name = item.split("/")
            target = folder / kind / stage
            target.mkdir(exist_ok=True)
            shutil.copy(self._hub(item), target / f"{name}.yaml")
        # Of its patterns only what the two parsers above need: all of them take seconds to load.
        (folder / "patterns").mkdir()
        for name in ("linux-syslog", "nginx"):
            shutil.copy(root / "etc/crowdsec/patterns" / name, folder / "patterns")
        (folder / "config.yaml").write_text(_CONFIG.format(folder, PORT))
        (folder / "simulation.yaml").write_text("simulation: false\n")
        (folder / "hub/.index.json").write_text(json.dumps({kind: {} for kind in _KINDS}))
        (folder / "console.yaml").touch()
        shutil.copy(root / "etc/crowdsec/profiles.yaml", folder / "profiles.yaml")
        self._crowdsec(
            "cscli", "machines", "add", "lab", "-p", "secret", "-f", str(folder / "credentials.yaml")
        )

    @contextlib.contextmanager
    def parser(self, stage: str, name: str, text: str) -> Iterator[None]:
        """Have one more parser beside ours for a while."""
        path = self.folder / "parsers" / stage / f"{name}.yaml"
        path.write_text(text)
        try:
            yield
        finally:
            path.unlink()

    def decisions(self, value: str) -> list[tuple[str, str, str]]:
        """Return type, scope and scenario of what the LAPI holds on an address."""
        with contextlib.closing(sqlite3.connect(self.folder / "data" / "crowdsec.db")) as database:
            query = "SELECT type, scope, scenario FROM decisions WHERE value = ?"
            return list(database.execute(query, (value,)))

    def decided(self, value: str) -> int:
        """Return when the LAPI stored its first decision on an address, in nanoseconds since 1970."""
        with contextlib.closing(sqlite3.connect(self.folder / "data" / "crowdsec.db")) as database:
            query = "SELECT created_at FROM decisions WHERE value = ? ORDER BY id LIMIT 1"
            ((stored,),) = database.execute(query, (value,))
        return round(datetime.fromisoformat(str(stored)).timestamp() * 1e6) * 1000

    def allow(self, key: str) -> None:
        """Make a bouncer's key known."""
        self._crowdsec("cscli", "bouncers", "add", "story", "-k", key)

    def ban(self, value: str) -> None:
        """Ban an address by hand."""
        self._crowdsec("cscli", "decisions", "add", "--ip", value)

    @contextlib.contextmanager
    def service(self, log: Path) -> Iterator[None]:
        """Run as a service that follows this log for James's."""
        log.touch()
        acquisition = (COLLECTION / "acquis.d" / "james.yaml").read_text()
        (self.folder / "acquis.d" / "james.yaml").write_text(
            acquisition.replace("/var/log/james/james.json", str(log))
        )
        said = self.folder / "service.log"
        with said.open("wb") as out:
            service = subprocess.Popen(
                self._words("crowdsec", "-no-capi"), stdout=out, stderr=out, env=self._env
            )
        try:
            until(lambda: "Starting processing data" in said.read_text() or service.poll() is not None)
            assert service.poll() is None, said.read_text()
            yield
        finally:
            service.terminate()
            service.wait(30)

    def feed(self, lines: Iterable[str], kind: str = "james", **labels: str) -> Result:
        """Replay lines as if they stood in a log of this type."""
        words = [word for name, value in labels.items() for word in ("-label", f"{name}:{value}")]
        self.said = self._run(*self._source(lines, kind), *words)
        return Result(list(self._explained(_PARSERS.get(kind, _PARSERS["james"]))), list(self._overflows()))

    def _hub(self, item: str) -> Path:
        return self._root / f"usr/share/crowdsec/hub/{item}.yaml"

    def _source(self, lines: Iterable[str], kind: str) -> tuple[str, ...]:
        log = self.folder / "fed.log"
        log.write_text("".join(f"{line}\n" for line in lines), newline="")
        return "-type", kind, "-dsn", f"file://{log}"

    def _run(self, *words: str) -> str:
        dump = self.folder / "dump"
        for old in dump.iterdir():
            old.unlink()
        return self._crowdsec("crowdsec", *words, "-dump-data", str(dump), "-no-capi")

    def _crowdsec(self, program: str, *words: str) -> str:
        done = subprocess.run(
            self._words(program, *words),
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
            env=self._env,
        )
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout + done.stderr

    def _words(self, program: str, *words: str) -> tuple[str, ...]:
        return (
            *self._inside,
            str(self._root / "usr/bin" / program),
            "-c",
            str(self.folder / "config.yaml"),
            *words,
        )

    @property
    def _env(self) -> dict[str, str]:
        return os.environ | {"LD_LIBRARY_PATH": crowdsec.libraries(self._root)}

    def _explained(self, parser: str) -> Iterable[Explained]:
        # The whole dump is tens of megabytes of YAML, mostly of other parsers.
        dump = (self.folder / "dump" / "parser-dump.yaml").read_text()
        found = re.search(rf"^  {parser}:\n((?:  [- ].*\n|\n)*)", dump, re.MULTILINE)
        assert found, f"no line came to {parser}"
        for result in _yaml(found[1]):
            event = result["evt"]
            meta = event.get("Meta", {}) if result["success"] else {}
            yield Explained(event["Line"]["Raw"], parser if result["success"] else "", meta)

    def _overflows(self) -> Iterable[Overflow]:
        for event in _yaml((self.folder / "dump" / "bucket-dump.yaml").read_text()) or []:
            alert = event["Overflow"]["Alert"] if "Overflow" in event else event["Alert"]
            yield Overflow(alert["scenario"], alert["source"]["value"], alert["remediation"])


def engine(folder: Path, host: Host | None = None) -> Engine | None:
    """Make an engine; None where CrowdSec's package is neither unpacked nor installed."""
    root = crowdsec.unpacked()
    return Engine(folder, root, host) if root else None
