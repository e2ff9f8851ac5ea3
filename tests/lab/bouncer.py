"""The program under test: configured, started, watched and ended as its administrator or systemd would."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import yaml

from tests.lab.crowdsec import CHECKOUT, KEY, URL
from tests.lab.manager import Manager

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.lab.net import Host

LAUNCH = Path(__file__).with_name("launch.py")


def merged(base: dict[str, Any], over: dict[str, Any]) -> dict[str, Any]:
    """Return `base` with the keys of `over`, blocks merged key by key."""
    result = dict(base)
    for key, value in over.items():
        old = result.get(key)
        result[key] = merged(old, value) if isinstance(old, dict) and isinstance(value, dict) else value
    return result


class Bouncer:
    """One configuration, and the process that runs it, if one does.

    Its tables are owned only if it is given a manager: its own one keeps no descriptors.
    """

    def __init__(self, host: Host, folder: Path, manager: Manager | None = None, **settings: Any) -> None:
        self.host = host
        self.config = folder / "fwbouncer.yaml"
        self._keeps = manager is not None
        self.manager = manager or Manager(folder)
        self._log = folder / "fwbouncer.log"
        self._process: subprocess.Popen[bytes] | None = None
        self.inside: tuple[str, ...] = ()  # words in front of the command, as of `unshare`
        base = {
            "mode": "nftables",
            "update_frequency": "0.1s",
            "log_mode": "stdout",
            "log_level": "debug",
            "api_url": URL,
            "api_key": KEY,
            "control_socket": str(folder / "control.sock"),
            "state_file": str(folder / "state"),
        }
        self.settings = merged(base, settings)
        self.configure()

    def configure(self, **changes: Any) -> None:
        """Write the configuration file anew."""
        self.settings = merged(self.settings, changes)
        self.config.write_text(yaml.safe_dump(self.settings))
        self.config.chmod(0o600)

    @property
    def log(self) -> str:
        """Everything that all its processes have said."""
        return self._log.read_text() if self._log.exists() else ""

    @property
    def pid(self) -> int:
        """The process's id; the process may be dead."""
        assert self._process, "not started"
        return self._process.pid

    def start(self, *, ready: bool = True, **environment: str) -> None:
        """Start it; unless told otherwise, wait until its first state is in the kernel."""
        assert self._process is None or self._process.poll() is not None, "still running"
        heard = self.manager.said("READY=1")
        words = ("ip", "netns", "exec", self.host.name, *self.inside, *self.command("run"))
        service = {
            "PYTHONPATH": str(CHECKOUT),
            "NOTIFY_SOCKET": str(self.manager.path),
            "WATCHDOG_USEC": "2000000",
            "FDSTORE": "4" if self._keeps else "0",
        }
        environment = {**os.environ, **service, **environment}
        kept = tuple(self.manager.store.values())
        if kept:
            numbers, names = ",".join(map(str, kept)), ":".join(self.manager.store)
            words = (sys.executable, str(LAUNCH), numbers, names, *words)
        with self._log.open("ab") as log:
            self._process = subprocess.Popen(
                words,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                env=environment,
                pass_fds=kept,
                cwd="/",
            )
        if ready:
            self._wait_until(lambda: self.manager.said("READY=1") > heard)

    def command(self, *words: str) -> tuple[str, ...]:
        """Return the words that call one of its commands with this configuration."""
        return (sys.executable, "-m", "fwbouncer", *words, "-c", str(self.config))

    def ask(self, *words: str, check: bool = True) -> str:
        """Run one of its commands."""
        return self.host.run("env", f"PYTHONPATH={CHECKOUT}", *self.command(*words), check=check)

    def attempt(self, *words: str) -> tuple[int, str]:
        """Run one of its commands; return its exit code and all that it printed."""
        environment = {**os.environ, "PYTHONPATH": str(CHECKOUT)}
        with self.host.start(
            *self.command(*words), env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT
        ) as process:
            printed, _ = process.communicate(timeout=60)
            return process.returncode, printed.decode()

    def status(self) -> dict[str, Any]:
        """Return what `fwbouncer status --json` tells."""
        answer = json.loads(self.ask("status", "--json"))
        assert isinstance(answer, dict)
        return answer

    def wait_log(self, text: str, within: float = 5) -> None:
        """Wait until the log contains a text."""
        self._wait_until(lambda: text in self.log, within, alive=False)

    def wait_exit(self, within: float = 10) -> int:
        """Return its exit code, once it has ended."""
        assert self._process, "not started"
        return self._process.wait(within)

    def running(self) -> bool:
        """Say whether it lives."""
        return self._process is not None and self._process.poll() is None

    def signal(self, number: signal.Signals) -> None:
        """Send it a signal."""
        os.kill(self.pid, number)

    def stop(self) -> int:
        """End it as `systemctl stop` does; return its exit code."""
        self.signal(signal.SIGTERM)
        return self.wait_exit()

    def reload(self) -> None:
        """Have it read its configuration again, and wait until it goes by that."""
        before = self.log.count("configuration read again")
        self.signal(signal.SIGHUP)
        self._wait_until(lambda: self.log.count("configuration read again") > before)

    def kill(self) -> None:
        """End it as a crash does."""
        self.signal(signal.SIGKILL)
        self.wait_exit()

    def close(self) -> None:
        """End it if it lives, by any means."""
        if self.running():
            self.kill()
        if not self._keeps:
            self.manager.close()

    def rss(self) -> int:
        """Return the bytes of memory that it has resident."""
        words = Path(f"/proc/{self.pid}/statm").read_text().split()
        return int(words[1]) * os.sysconf("SC_PAGE_SIZE")

    def _wait_until(self, condition: Callable[[], bool], within: float = 30, *, alive: bool = True) -> None:
        deadline = time.monotonic() + within
        while not condition():
            assert not alive or self.running(), f"it ended before it was ready:\n{self.log}"
            assert time.monotonic() < deadline, f"waited {within} s in vain:\n{self.log[-5000:]}"
            time.sleep(0.005)
