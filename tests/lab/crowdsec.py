"""The real CrowdSec: its Local API on SQLite, and cscli to talk to it."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import time
import urllib.error
import urllib.request
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from tests.lab.net import Host

CHECKOUT = Path(__file__).parents[2]
KEY = "a-key-for-the-lab"
URL = "http://127.0.0.1:8080/"

_CONFIG = """
common: {{daemonize: false, log_media: stdout, log_level: warning, working_dir: "{0}"}}
config_paths:
  config_dir: "{0}"
  data_dir: "{0}/data"
  simulation_path: "{0}/simulation.yaml"
  hub_dir: "{0}/hub"
  index_path: "{0}/hub/.index.json"
  notification_dir: "{0}/none"
  plugin_dir: "{0}/none"
crowdsec_service: {{parser_routines: 1}}
cscli: {{output: human}}
db_config: {{{1}}}
api:
  client: {{credentials_path: "{0}/credentials.yaml"}}
  server:
    log_level: warning
    listen_uri: 127.0.0.1:8080
    profiles_path: "{0}/profiles.yaml"
    console_path: "{0}/console.yaml"
prometheus: {{enabled: false}}
"""
_SQLITE = 'type: sqlite, db_path: "{0}/data/crowdsec.db", log_level: warning, use_wal: true'
_PROFILE = """
name: none
filters: ["false"]
decisions: [{type: ban, duration: 4h}]
on_success: break
"""


def unpacked() -> Path | None:
    """Return where CrowdSec's package was laid out; None if it was not and is not installed either."""
    folder = Path(os.environ.get("FWBOUNCER_CROWDSEC", CHECKOUT / ".cache" / "crowdsec"))
    if (folder / "usr/bin/crowdsec").exists():
        return folder
    return Path("/") if shutil.which("crowdsec") else None


def libraries(root: Path) -> str:
    """Return where a program's own libraries are that was unpacked and not installed, for LD_LIBRARY_PATH."""
    return ":".join(str(folder) for folder in sorted(root.glob("usr/lib/*-linux-gnu")))


class CrowdSec:
    """One LAPI on a host's loopback, port 8080, with one bouncer key; `database` is what its db_config holds."""

    def __init__(self, host: Host, folder: Path, root: Path, database: str = _SQLITE) -> None:
        self.host = host
        self.folder = folder
        self._root = root
        self._process: subprocess.Popen[bytes] | None = None
        for name in ("data", "hub", "none"):
            (folder / name).mkdir(parents=True, exist_ok=True)
        (folder / "config.yaml").write_text(_CONFIG.format(folder, database.format(folder)))
        (folder / "simulation.yaml").write_text("simulation: false\n")
        (folder / "profiles.yaml").write_text(_PROFILE)
        (folder / "console.yaml").touch()
        (folder / "hub/.index.json").write_text("{}")
        self.cscli("machines", "add", "lab", "-p", "secret", "-f", str(folder / "credentials.yaml"))
        self.allow()

    def allow(self) -> None:
        """Make the bouncer's key known."""
        self.cscli("bouncers", "add", "fw", "-k", KEY)

    def refuse(self) -> None:
        """Forget the bouncer's key: it gets a 403 from now on."""
        self.cscli("bouncers", "delete", "fw")

    def start(self) -> None:
        """Start the LAPI and wait until it answers."""
        with (self.folder / "crowdsec.log").open("ab") as log:
            self._process = self.host.start(
                *self._command("crowdsec", "-no-cs", "-no-capi"),
                stdout=log,
                stderr=log,
                stdin=subprocess.DEVNULL,
            )
        deadline = time.monotonic() + 20
        while not self.healthy():
            assert time.monotonic() < deadline, (self.folder / "crowdsec.log").read_text()
            time.sleep(0.01)

    def stop(self) -> None:
        """Stop the LAPI; it forgets nothing."""
        if self._process:
            self._process.kill()
            self._process.wait()
            self._process = None

    @property
    def running(self) -> bool:
        """Say whether it was started and not stopped."""
        return self._process is not None

    @property
    def pid(self) -> int:
        """The running LAPI's."""
        assert self._process, "the LAPI doesn't run"
        return self._process.pid

    def healthy(self) -> bool:
        """Say whether the LAPI answers."""
        try:
            with self.host.inside(), urllib.request.urlopen(URL + "health", timeout=1) as answer:
                return bool(answer.status == 200)
        except (urllib.error.URLError, OSError):
            return False

    def cscli(self, *words: str) -> str:
        """Run cscli on the LAPI's host."""
        return self.host.run(*self._command("cscli", *words))

    def ban(self, value: str, duration: str = "4h", **more: str) -> None:
        """Ban an address or, where it has a slash, a range."""
        flag = "--range" if "/" in value else "--ip"
        words = [word for name, text in more.items() for word in (f"--{name}", text)]
        self.cscli("decisions", "add", flag, value, "--duration", duration, *words)

    def unban(self, value: str) -> None:
        """Delete every decision on exactly this address or range."""
        # By id: told an address, cscli ends the ranges that contain it, too.
        for decision in self.decisions():
            if decision["value"] == value:
                self.cscli("decisions", "delete", "--id", str(decision["id"]))

    def unban_all(self) -> None:
        """Delete every decision."""
        self.cscli("decisions", "delete", "--all")

    def decisions(self) -> list[dict[str, Any]]:
        """Return the decisions that hold now, as cscli lists them."""
        alerts = json.loads(self.cscli("decisions", "list", "-a", "-o", "json")) or []
        return [decision for alert in alerts for decision in alert["decisions"]]

    def _command(self, program: str, *words: str) -> tuple[str, ...]:
        found = f"LD_LIBRARY_PATH={libraries(self._root)}"
        return "env", found, f"{self._root}/usr/bin/{program}", "-c", f"{self.folder}/config.yaml", *words
