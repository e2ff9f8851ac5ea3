"""A machine: a Debian tree with systemd as its first process, in a network namespace of the lab."""

from __future__ import annotations

import contextlib
import shutil
import subprocess
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import yaml

from tests.lab.crowdsec import CHECKOUT, KEY, URL
from tests.lab.shell import run

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.lab.net import Host

BOOT = Path(__file__).with_name("boot")
PACKAGE = "usr/lib/python3/dist-packages/fwbouncer"
UNIT = "fwbouncer.service"
_COMMAND = "#!/usr/bin/python3 -P\nfrom fwbouncer.cli import entry\n\nentry()\n"
# The network comes up when whoever asked to be earlier is ready, and the rest of the system waits for it, as on cloud
# images; it goes down before they go.
_LINK = """
[Unit]
DefaultDependencies=no
Wants=network-pre.target
After=network-pre.target
Before=network.target sysinit.target shutdown.target
Conflicts=shutdown.target
[Service]
Type=oneshot
RemainAfterExit=yes
ExecStart=/usr/sbin/ip link set {0} up
ExecStop=/usr/sbin/ip link set {0} down
[Install]
WantedBy=sysinit.target
"""


class Machine:
    """Boots, runs commands, goes down hard or softly; what it wrote is there after the next boot."""

    def __init__(self, host: Host, tree: Path, state: Path) -> None:
        self.host = host
        self._tree = tree
        self._state = state
        self._outside: subprocess.Popen[bytes] | None = None
        self._pid = 0

    @property
    def root(self) -> Path:
        """Its file system, seen from outside."""
        return Path(f"/proc/{self._pid}/root")

    def boot(self, *, wait: bool = True) -> None:
        """Start it; unless told otherwise, wait until everything that starts at boot has."""
        words = ("unshare", "-m", "sh", str(BOOT), str(self._tree), str(self._state), self.host.name)
        with (self._state / "boot.log").open("ab") as log:
            self._outside = self.host.start(*words, stdin=subprocess.DEVNULL, stdout=log, stderr=log)
        self._pid = self._until(self._first_process, "it has no first process")
        self._until(lambda: self._answers() or None, "systemd does not answer")
        if wait:
            state = self.run("systemctl", "is-system-running", "--wait", check=False).strip()
            assert state == "running", f"{state}: {self.run('systemctl', '--failed', '--no-legend')}"

    def cut_power(self) -> None:
        """End it between two instructions."""
        assert self._outside, "not booted"
        self._outside.terminate()  # ends the first process, and with it all others
        assert self._outside.wait(20) == 0, (self._state / "boot.log").read_text()
        self._outside = None

    def shut_down(self) -> None:
        """End it as `systemctl poweroff` does."""
        assert self._outside, "not booted"
        self.run("systemctl", "poweroff", check=False)
        self._outside.wait(60)
        self._outside = None

    def close(self) -> None:
        """End it if it runs."""
        if self._outside:
            self.cut_power()

    def run(self, *words: str, check: bool = True, timeout: float = 60) -> str:
        """Run a command in it, as root."""
        return run(*self._enter(*words), check=check, timeout=timeout)

    def attempt(self, *words: str) -> int:
        """Run a command in it; return its exit code."""
        return subprocess.run(self._enter(*words), capture_output=True, timeout=90, check=False).returncode

    def systemctl(self, *words: str) -> str:
        """Talk to its systemd."""
        return self.run("systemctl", *words).strip()

    def start(self) -> None:
        """Start the service; what it said is shown where that fails."""
        assert self.attempt("systemctl", "start", UNIT) == 0, self.log()

    def show(self, name: str) -> str:
        """Return a property of the service."""
        return self.systemctl("show", "-P", name, UNIT)

    def log(self) -> str:
        """Return what the service has said since the last boot."""
        return self.run("journalctl", "--no-pager", "-b", "-u", UNIT, "-o", "cat")

    def wait_for(self, name: str, value: str, within: float = 20) -> None:
        """Wait until a property of the service has a value."""
        words = f"{name} did not become {value}"
        self._until(lambda: self.show(name) == value or None, words, within)

    def wait_log(self, text: str, within: float = 20) -> None:
        """Wait until the service has said something."""
        self._until(lambda: text in self.log() or None, f"it did not say {text!r}", within)

    def install(self) -> None:
        """Put fwbouncer in as its package does."""
        self.put_code()
        command = self.root / "usr/bin/fwbouncer"
        command.write_text(_COMMAND)
        command.chmod(0o755)
        shutil.copy(CHECKOUT / "systemd/fwbouncer.service", self.root / "usr/lib/systemd/system" / UNIT)
        shutil.copy(CHECKOUT / "systemd/fwbouncer.sysusers", self.root / "usr/lib/sysusers.d/fwbouncer.conf")
        self.run("systemd-sysusers")
        folder = self.root / "etc/fwbouncer"
        folder.mkdir(exist_ok=True)
        self.configure()
        self.systemctl("daemon-reload")
        self.systemctl("enable", UNIT)

    def put_code(self) -> None:
        """Replace the program's files under whoever runs them, as an upgrade does."""
        self.run("rm", "-rf", f"/{PACKAGE}")
        skip = shutil.ignore_patterns("__pycache__")
        shutil.copytree(CHECKOUT / "fwbouncer", self.root / PACKAGE, ignore=skip)
        self.run("python3", "-m", "compileall", "-q", f"/{PACKAGE}")

    def configure(self, **settings: Any) -> None:
        """Write the configuration as an administrator does: root's, and readable by the service's group."""
        base = {
            "mode": "nftables",
            "update_frequency": "0.1s",
            "log_mode": "stdout",
            "api_url": URL,
            "api_key_file": "/etc/fwbouncer/api.key",
        }
        self._write("fwbouncer.yaml", yaml.safe_dump(base | settings))
        self._write("api.key", KEY + "\n")
        self.run("chgrp", "-R", "fwbouncer", "/etc/fwbouncer")
        (self.root / "etc/fwbouncer").chmod(0o750)

    @contextlib.contextmanager
    def drop_in(self, text: str) -> Iterator[None]:
        """Change the unit while the block runs, as an administrator does."""
        path = self.root / f"etc/systemd/system/{UNIT}.d/lab.conf"
        path.parent.mkdir(parents=True)
        path.write_text(text)
        self.systemctl("daemon-reload")
        try:
            yield
        finally:
            self.systemctl("stop", UNIT)
            path.unlink()
            path.parent.rmdir()
            self.systemctl("daemon-reload")

    def raise_link_at_boot(self, device: str) -> None:
        """Have a network device come up as network managers bring theirs up."""
        (self.root / "etc/systemd/system/lab-link.service").write_text(_LINK.format(device))
        self.systemctl("enable", "lab-link.service")

    def _write(self, name: str, text: str) -> None:
        path = self.root / "etc/fwbouncer" / name
        path.write_text(text)
        path.chmod(0o640)

    def _enter(self, *words: str) -> tuple[str, ...]:
        return ("nsenter", "-t", str(self._pid), "-m", "-p", "-n", "-u", "-i", "-C", "-r", "-w", "--", *words)

    def _first_process(self) -> int | None:
        with contextlib.suppress(FileNotFoundError, ValueError, IndexError):
            outer = int((self._state / "pid").read_text())
            first = int(Path(f"/proc/{outer}/task/{outer}/children").read_text().split()[0])
            return first if Path(f"/proc/{first}/comm").read_text().strip() == "systemd" else None
        return None

    def _answers(self) -> bool:
        return "=" in self.run("systemctl", "show", "-p", "Version", check=False)

    def _until(self, condition: Any, words: str, within: float = 30) -> Any:
        deadline = time.monotonic() + within
        while (found := condition()) is None:
            if time.monotonic() > deadline:
                said = self.log() if self._pid else (self._state / "boot.log").read_text()
                raise AssertionError(f"after {within} s {words}:\n{said[-5000:]}")
            time.sleep(0.02)
        return found


def tree(suite: str) -> Path:
    """Return a tree of a Debian release, made if it isn't there."""
    words = (str(CHECKOUT / "packaging/lib/make-tree.sh"), suite)
    done = subprocess.run(words, stdout=subprocess.PIPE, stderr=sys.stderr, timeout=900, check=True)
    return Path(done.stdout.decode().strip())
