"""What the probes know about a host. Every part may be `Unseen`: then its checks have nothing to say."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Mapping

    from fwbouncer.config.schema import Config
    from fwbouncer.doctor.rules import Nft, Xtables
    from fwbouncer.host.james import Reading


# Units of systemd, and what processes are called here whatever their command line says.
OUR_UNIT, INCUMBENT_UNIT = "fwbouncer.service", "crowdsec-firewall-bouncer.service"
OUR_DAEMON, INCUMBENT = "fwbouncer", "crowdsec-firewall-bouncer"


@dataclass(frozen=True, slots=True)
class Unseen:
    """A part that could not be looked at."""

    why: str  # empty: there was no occasion to


@dataclass(frozen=True, slots=True)
class Settings:
    """The configuration file, right or wrong."""

    path: Path
    config: Config | None  # None: it is wrong
    problems: tuple[str, ...] = ()
    warnings: tuple[str, ...] = ()
    socket: Path = Path("/run/fwbouncer/control.sock")


@dataclass(frozen=True, slots=True)
class System:
    """The kernel and the programs around it."""

    release: str  # as `uname -r` says
    options: Mapping[str, str] = field(default_factory=dict)  # of the kernel's build; empty: unknown
    nft: str = ""  # version of the nft program; empty: not installed
    conntrack: tuple[int, int] | None = None  # connections tracked, and at most
    ssh_client: str = ""  # the address that this shell was opened from
    containers: bool = False  # a bridge of Docker's is there

    @property
    def version(self) -> tuple[int, int]:
        """Return the kernel's first two numbers; (0, 0) when they can't be read."""
        return version_of(self.release)


@dataclass(frozen=True, slots=True)
class Units:
    """systemd's units, by name, with the properties that `systemctl show` tells."""

    systemd: int  # its version
    by_name: Mapping[str, Mapping[str, str]]

    def get(self, name: str, key: str) -> str:
        """Return a property; an empty text when there is none."""
        return self.by_name.get(name, {}).get(key, "")

    def active(self, name: str) -> bool:
        """Tell whether a unit runs, or is a one-shot that has run."""
        return self.get(name, "ActiveState") in ("active", "reloading", "activating")


@dataclass(frozen=True, slots=True)
class Process:
    """A process in this network namespace."""

    pid: int
    name: str
    capabilities: int  # a bit for each that is effective
    service: str = ""  # the systemd unit that it belongs to


@dataclass(frozen=True, slots=True)
class Daemon:
    """What the control socket says."""

    status: Mapping[str, Any] | None  # None: no answer
    error: str = ""
    running: bool = True  # somebody listens


@dataclass(frozen=True, slots=True)
class Certificate:
    """A certificate: whose, and how long it holds, in seconds since 1970."""

    whose: str
    begins: float
    ends: float


@dataclass(frozen=True, slots=True)
class LapiAnswer:
    """How one LAPI answered."""

    name: str
    status: int | None = None  # of the authenticated request; None: no answer
    error: str = ""
    skew: float | None = None  # seconds that its clock is ahead of ours
    took: float = 0.0  # seconds for the answer
    metrics: bool | None = None  # it takes usage metrics: CrowdSec 1.6.3 and later
    allowlists: bool | None = None  # it has allowlists: CrowdSec 1.6.6 and later
    certificate: Certificate | None = None
    local: bool = False  # it listens on this host


@dataclass(frozen=True, slots=True)
class Lapis:
    """Every configured LAPI, and the certificates of ours."""

    answers: tuple[LapiAnswer, ...] = ()
    certificates: tuple[Certificate, ...] = ()
    unreadable: tuple[str, ...] = ()  # certificates that can't be read, and why


@dataclass(frozen=True, slots=True)
class Bouncer:
    """A row of `cscli bouncers list`. Times are seconds since 1970."""

    name: str
    kind: str
    version: str
    address: str
    last_pull: float | None = None
    ours: bool | None = None  # it has our key; None: this CrowdSec doesn't tell


@dataclass(frozen=True, slots=True)
class Registry:
    """What the CrowdSec on this host says of its bouncers, between two looks at our daemon's last poll."""

    version: str  # CrowdSec's
    bouncers: tuple[Bouncer, ...] = ()
    looked: float = 0.0
    last_poll: float | None = None  # ours; None where it is unknown or moved meanwhile


@dataclass(frozen=True, slots=True)
class KeyUse:
    """Another file on this host that holds our API key."""

    path: Path
    james: bool = False


@dataclass(frozen=True, slots=True)
class James:
    """An Apache James on this host."""

    conf: Path
    own_bouncer: bool = False  # James's own CrowdSec module is switched on
    reading: Reading | None = None  # where it listens
    proxies: tuple[str, ...] = ()  # who is connected now to ports that it takes from a proxy alone
    logback: Path | None = None
    encoder: str = ""  # "JsonEncoder", "JsonLayout" or "plain"
    formatted: bool = False  # the JSON has the finished text of a message
    mdc: bool = True  # the JSON has the client's address
    lossy: tuple[str, ...] = ()  # asynchronous appenders that drop lines under load
    quiet: str = ""  # the level of org.apache.james, where it hides what CrowdSec reads


@dataclass(frozen=True, slots=True)
class CrowdSecItem:
    """A parser or scenario that is installed."""

    kind: str  # "parsers", "scenarios"
    name: str
    path: Path
    text: str = ""  # for those that are about James


@dataclass(frozen=True, slots=True)
class Acquisition:
    """A source of log lines for CrowdSec."""

    path: Path
    kind: str  # the label `type`
    source: str
    files: tuple[str, ...] = ()
    missing: tuple[str, ...] = ()  # those of the files that don't exist


@dataclass(frozen=True, slots=True)
class Engine:
    """The CrowdSec that reads logs on this host."""

    folder: Path
    items: tuple[CrowdSecItem, ...] = ()
    acquisitions: tuple[Acquisition, ...] = ()


@dataclass(frozen=True, slots=True)
class File:
    """A file that matters: who may do what with it."""

    role: str  # "config", "overlay", "key", "state", "state folder", "socket", "list"
    path: Path
    mode: int = 0
    owner: str = ""
    group: str = ""
    size: int = 0
    modified: float = 0.0  # seconds since 1970
    missing: str = ""  # why there is nothing


@dataclass(frozen=True, slots=True)
class Names:
    """Host names in the configuration, and what they resolve to; an empty tuple: nothing."""

    answers: Mapping[str, tuple[str, ...]] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Facts:
    """Everything that is known. `now` is seconds since 1970."""

    now: float
    root: bool
    settings: Settings
    system: System | Unseen = Unseen("")
    units: Units | Unseen = Unseen("")
    processes: tuple[Process, ...] | Unseen = Unseen("")
    daemon: Daemon | Unseen = Unseen("")
    nft: Nft | Unseen = Unseen("")
    xtables: Xtables | Unseen = Unseen("")
    lapis: Lapis | Unseen = Unseen("")
    registry: Registry | Unseen | None = None  # None: no CrowdSec on this host
    key_uses: tuple[KeyUse, ...] | Unseen = ()
    james: tuple[James, ...] | Unseen = ()
    engine: Engine | Unseen | None = None  # None: no CrowdSec on this host
    files: tuple[File, ...] | Unseen = ()
    names: Names | Unseen = field(default_factory=Names)
    firewalld: Mapping[str, str] | Unseen | None = None  # its configuration; None: not installed

    @property
    def config(self) -> Config | None:
        """Return the configuration, if it is right."""
        return self.settings.config

    @property
    def status(self) -> Mapping[str, Any]:
        """Return what the daemon says of itself; nothing where it doesn't answer."""
        return (isinstance(self.daemon, Daemon) and self.daemon.status) or {}


def version_of(text: str) -> tuple[int, int]:
    """Read the first two numbers of a version; (0, 0) when there are none."""
    numbers = text.lstrip("v").replace("-", ".").split(".")[:2]
    if len(numbers) < 2 or not all(number.isascii() and number.isdecimal() for number in numbers):
        return (0, 0)
    return int(numbers[0]), int(numbers[1])
