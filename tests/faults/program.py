"""The program under faults: started, ended, suspended, told to reload; every time the journal is told, too."""

from __future__ import annotations

import signal
import subprocess
import time
from typing import TYPE_CHECKING, Any

import yaml

from tests.faults.judge import Broken
from tests.faults.runclock import waited
from tests.lab.bouncer import Bouncer, merged

if TYPE_CHECKING:
    from pathlib import Path

    from tests.faults.journal import Journal
    from tests.faults.runclock import RunClock
    from tests.faults.settings import Setting
    from tests.faults.watched_lapi import WatchedLapi
    from tests.lab.manager import Manager
    from tests.lab.net import Host

_SPEED: dict[str, Any] = {"update_frequency": "0.1s", "resync_interval": "2s", "log_level": "info"}
_PATIENCE = 8.0  # seconds for it to end after SIGTERM
# How it ends where the LAPI refuses its key. In its last moments its handlers are gone, and a signal ends it.
_REFUSED = (3, -signal.SIGTERM, -signal.SIGHUP)


class Program:
    """One configuration and its process."""

    def __init__(  # noqa: PLR0913 - it meets everybody
        self,
        host: Host,
        folder: Path,
        setting: Setting,
        journal: Journal,
        clock: RunClock,
        lapi: WatchedLapi,
        manager: Manager | None,
    ) -> None:
        settings = {**_SPEED, "api_url": lapi.url, "state_file": str(folder / "disk" / "state")}
        self.bouncer = Bouncer(host, folder, manager, **settings, **setting.settings)
        self.up = self.suspended = False
        self._environment = setting.environment(folder)
        self._journal = journal
        self._clock = clock
        self._lapi = lapi
        self._waited = 0.0
        self._asked_before = 0

    @property
    def awake(self) -> bool:
        """Whether it runs and has got as far as asking the LAPI: only then it knows its signals."""
        return self.up and not self.suspended and len(self._lapi.requests) > self._asked_before

    def sample(self) -> None:
        """Bring the run clock up to now."""
        total = waited(self.bouncer.pid) if self.up else 0.0
        able = self.up and not self.suspended
        self._clock.sample(time.monotonic(), able=able, waited=max(0.0, total - self._waited))
        self._waited = total

    def start(self) -> None:
        """Start it."""
        self.sample()
        self.configure()
        self._lapi.refused = False
        self._asked_before = len(self._lapi.requests)
        self._journal.note(time.monotonic(), "started")
        self.bouncer.start(ready=False, **self._environment)
        self.up, self._waited = True, 0.0
        self._journal.remark("(started)")

    def end(self, number: signal.Signals) -> bool:
        """End it, and expect of SIGTERM what one expects; returns False where it was just ending by itself."""
        self.sample()
        self._journal.note(time.monotonic(), "lost")
        self.up = False
        self.bouncer.signal(number)
        if self.suspended:
            self.bouncer.signal(signal.SIGCONT)
        self.suspended = False
        began = time.monotonic()
        try:
            code = self.bouncer.wait_exit(_PATIENCE)
        except subprocess.TimeoutExpired:
            raise Broken(f"{number.name} did not end the program within {_PATIENCE:g} s") from None
        if number is signal.SIGTERM:
            self._journal.slowest("stop", time.monotonic() - began)
            if code != 0 and not (self._lapi.refused and code in _REFUSED):
                raise Broken(f"SIGTERM ended the program with {code}")
            return code == 0
        return True

    def died(self) -> bool:
        """Say whether it has ended by itself since the last look, as it may where the LAPI refuses its key."""
        if not self.up or self.bouncer.running():
            return False
        code = self.bouncer.wait_exit(1)
        if code not in _REFUSED or not self._lapi.refused:
            raise Broken(f"the program ended by itself, with {code}")
        self.sample()
        self.up = self.suspended = False
        self._journal.note(time.monotonic(), "lost")
        self._journal.remark("(ended with 3: the LAPI refused its key)")
        return True

    def suspend(self) -> None:
        """Let it not run for now."""
        self.sample()
        self.suspended = True
        self.bouncer.signal(signal.SIGSTOP)

    def resume(self) -> None:
        """Let it go on."""
        if self.suspended:
            self.sample()
            self.suspended = False
            self.bouncer.signal(signal.SIGCONT)

    def configure(self, **changes: Any) -> None:
        """Change its configuration file, from one moment to the next."""
        self.bouncer.settings = merged(self.bouncer.settings, changes)
        self.write_configuration(yaml.safe_dump(self.bouncer.settings))

    def write_configuration(self, text: str) -> None:
        """Replace its configuration file."""
        fresh = self.bouncer.config.with_suffix(".new")
        fresh.write_text(text)
        fresh.chmod(0o600)
        fresh.replace(self.bouncer.config)

    def reload(self) -> None:
        """Tell it to read its configuration again."""
        self._journal.note(time.monotonic(), "reload")
        self.bouncer.signal(signal.SIGHUP)
