"""Who runs against whom: each is started as its administrator would, and left to fill the kernel."""

from __future__ import annotations

import copy
import os
import shlex
import shutil
import signal
import subprocess
from abc import ABC, abstractmethod
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

import yaml

from fwbouncer import __version__
from tests.benchmarks import version
from tests.benchmarks.eye import Eye, IpsetEye, NftEye
from tests.benchmarks.names import LINE, OURS, who
from tests.benchmarks.static_lapi import URL
from tests.lab.bouncer import Bouncer
from tests.lab.crowdsec import KEY
from tests.lab.manager import Manager

if TYPE_CHECKING:
    from tests.lab.net import Host


class Contender(ABC):
    """Something that fills the kernel's sets from a LAPI."""

    name: str
    masks = True  # keeps ranges as ranges
    stays = True  # follows what changes
    can_renew = False  # gives a ban that is there another deadline, and the kernel can be asked for it

    def __init__(self, host: Host, folder: Path) -> None:
        self.host = host
        self.folder = folder / self.name.replace(" ", "-").replace("|", "")

    @abstractmethod
    def start(self, poll: float = 10.0) -> None:
        """Begin, with nothing in the kernel and nothing known from before; polls come `poll` seconds apart."""

    @property
    @abstractmethod
    def version(self) -> str:
        """Which release it is."""

    @property
    @abstractmethod
    def pid(self) -> int:
        """The process whose costs are its costs; children are counted with it."""

    @abstractmethod
    def end(self) -> None:
        """End without tidying up."""

    def elsewhere(self, host: Host, folder: Path) -> Contender:
        """Return the same contender for another host."""
        twin = copy.copy(self)
        Contender.__init__(twin, host, folder)
        twin.forget()
        return twin

    @abstractmethod
    def forget(self) -> None:
        """Know of no process."""

    def state(self) -> str:
        """Return its process's state as the kernel tells: R, S, T, …; Z where it has ended."""
        with suppress(OSError):
            return Path(f"/proc/{self.pid}/stat").read_text().rpartition(")")[2].split()[0]
        return "Z"

    def eye(self) -> Eye:
        """Look where it writes to."""
        with self.host.inside():
            return NftEye(masked=self.masks)

    def fresh(self) -> Path:
        """Return its folder, emptied."""
        shutil.rmtree(self.folder, ignore_errors=True)
        self.folder.mkdir(parents=True)
        return self.folder


class Fwbouncer(Contender):
    """This program; in nftables mode with a store for its socket, as under systemd."""

    def __init__(self, host: Host, folder: Path, mode: str) -> None:
        self.name = who(OURS, mode)
        self.can_renew = mode == "nftables"
        self.keeps = True  # has a store for its socket, so that its tables belong to it
        self.mode = mode
        super().__init__(host, folder)
        self._bouncer: Bouncer | None = None
        self._manager: Manager | None = None

    def start(self, poll: float = 10.0) -> None:
        """See `Contender`."""
        self.prepare(poll)
        self.resume()

    def prepare(self, poll: float = 10.0, **settings: Any) -> Bouncer:
        """Write its configuration; nothing runs yet."""
        folder = self.fresh()
        self._manager = Manager(folder) if self.keeps and self.mode == "nftables" else None
        self._bouncer = Bouncer(
            self.host,
            folder,
            self._manager,
            mode=self.mode,
            api_url=URL,
            update_frequency=f"{poll}s",
            log_level="info",
            **settings,
        )
        return self._bouncer

    def resume(self) -> None:
        """Start it with what an earlier run left."""
        assert self._bouncer
        self._bouncer.start(ready=False, WATCHDOG_USEC="30000000")  # as in the unit

    @property
    def bouncer(self) -> Bouncer:
        """The one that runs, or ran."""
        assert self._bouncer
        return self._bouncer

    @property
    def version(self) -> str:
        """See `Contender`."""
        return __version__

    @property
    def pid(self) -> int:
        """See `Contender`."""
        return self.bouncer.pid

    def end(self) -> None:
        """See `Contender`."""
        if self._bouncer:
            self._bouncer.close()
        if self._manager:
            self._manager.close()
        self._bouncer = self._manager = None

    def forget(self) -> None:
        """See `Contender`."""
        self._bouncer = self._manager = None

    def eye(self) -> Eye:
        """See `Contender`."""
        return _ipset_eye(self.host) if self.mode == "iptables" else super().eye()


class _Command(Contender):
    """A command line."""

    def __init__(self, host: Host, folder: Path) -> None:
        super().__init__(host, folder)
        self._process: subprocess.Popen[bytes] | None = None

    def forget(self) -> None:
        """See `Contender`."""
        self._process = None

    def run(self, *words: str) -> None:
        """Start it, with its words going to a file."""
        with (self.folder / "log").open("ab") as log:
            self._process = self.host.start(
                *words, stdin=subprocess.DEVNULL, stdout=log, stderr=log, cwd="/", start_new_session=True
            )

    @property
    def pid(self) -> int:
        """See `Contender`."""
        assert self._process
        return self._process.pid

    def end(self) -> None:
        """See `Contender`."""
        if self._process:
            with suppress(ProcessLookupError):  # its children are in its session
                os.killpg(self._process.pid, signal.SIGKILL)
            self._process.wait()
        self._process = None


class Incumbent(_Command):
    """CrowdSec's own bouncer."""

    def __init__(self, host: Host, folder: Path, mode: str, binary: Path, called: str) -> None:
        self.name = who(called, mode)
        self.mode = mode
        self.masks = mode == "iptables"  # in nftables mode it bans a range's first address
        self._binary = binary
        super().__init__(host, folder)

    def start(self, poll: float = 10.0) -> None:
        """See `Contender`."""
        folder = self.fresh()
        place = {"enabled": True, "set-only": False, "priority": -10}
        settings = {
            "mode": self.mode,
            "pid_dir": str(folder),
            "update_frequency": f"{poll}s",
            "daemonize": False,
            "log_mode": "stdout",
            "log_level": "info",
            "api_url": URL,
            "api_key": KEY,
            "disable_ipv6": False,
            "deny_action": "DROP",
            "deny_log": False,
            "supported_decisions_types": ["ban"],
            "blacklists_ipv4": "crowdsec-blacklists",
            "blacklists_ipv6": "crowdsec6-blacklists",
            "ipset_type": "nethash",
            "ipset_size": 2_000_000,
            "iptables_chains": ["INPUT"],
            "nftables": {
                "ipv4": {**place, "table": "crowdsec", "chain": "crowdsec-chain"},
                "ipv6": {**place, "table": "crowdsec6", "chain": "crowdsec6-chain"},
            },
            "nftables_hooks": ["input", "forward"],
            "prometheus": {"enabled": False, "listen_addr": "127.0.0.1", "listen_port": "60601"},
        }
        config = folder / "config.yaml"
        config.write_text(yaml.safe_dump(settings))
        config.chmod(0o600)
        self.run(str(self._binary), "-c", str(config))

    @property
    def version(self) -> str:
        """See `Contender`."""
        return version.of_incumbent(self._binary)

    def eye(self) -> Eye:
        """See `Contender`."""
        return _ipset_eye(self.host) if self.mode == "iptables" else super().eye()


_SCRIPT = r"""
nft -f - <<'EOF'
table ip crowdsec {
    set crowdsec-blacklists { type ipv4_addr; flags timeout; }
    set crowdsec-blacklists-ranges { type ipv4_addr; flags interval, timeout; }
    chain crowdsec-chain-input {
        type filter hook input priority -10;
        ip saddr @crowdsec-blacklists drop
        ip saddr @crowdsec-blacklists-ranges drop
    }
}
table ip6 crowdsec6 {
    set crowdsec6-blacklists { type ipv6_addr; flags timeout; }
    set crowdsec6-blacklists-ranges { type ipv6_addr; flags interval, timeout; }
    chain crowdsec6-chain-input {
        type filter hook input priority -10;
        ip6 saddr @crowdsec6-blacklists drop
        ip6 saddr @crowdsec6-blacklists-ranges drop
    }
}
EOF
curl -s -H "X-Api-Key: $KEY" "${URL}v1/decisions/stream?startup=true" | jq -r '
    .new
    | group_by((.value | contains(":")), (.value | contains("/")))[]
    | ((if .[0].value | contains(":") then "ip6 crowdsec6 crowdsec6" else "ip crowdsec crowdsec" end) + "-blacklists"
    + (if .[0].value | contains("/") then "-ranges" else "" end)) as $set
    | "add element \($set) { \(map("\(.value) timeout \(.duration)") | join(", ")) }"' | nft -f -
"""


class OneLiner(_Command):
    """What an administrator would write: curl, jq and nft."""

    name = LINE
    stays = False

    @property
    def version(self) -> str:
        """See `Contender`."""
        return f"jq {version.of_tool('jq', '--version')}, nft {version.of_tool('nft', '--version')}"

    def start(self, poll: float = 10.0) -> None:
        """See `Contender`."""
        del poll
        script = self.fresh() / "fill.sh"
        script.write_text(f"KEY={shlex.quote(KEY)} URL={shlex.quote(URL)}\n{_SCRIPT}")
        self.run("sh", str(script))


def wipe(host: Host) -> None:
    """Leave the kernel as it was before anybody wrote to it."""
    host.run("nft", "flush", "ruleset")
    for program in ("iptables-legacy", "ip6tables-legacy"):
        for flag in ("-F", "-X"):
            host.run(program, flag, check=False)
    for _ in range(50):
        names = host.run("ipset", "list", "-name").split()
        for name in names:
            host.run("ipset", "destroy", name, check=False)
        if not names:
            return
    raise AssertionError("ipsets that can't be destroyed are left")


def _ipset_eye(host: Host) -> Eye:
    with host.inside():
        return IpsetEye()
