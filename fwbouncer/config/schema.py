"""The configuration as the rest of the program sees it: frozen, complete, checked."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import Enum
from pathlib import Path

from fwbouncer.core.model import AddressKey, Family
from fwbouncer.core.policy import EVERYTHING, Action, Policies


class Mode(Enum):
    """Which packet filter is programmed."""

    NFTABLES = "nftables"
    IPTABLES = "iptables"
    IPSET = "ipset"
    DRY_RUN = "dry-run"


class Hook(Enum):
    """A netfilter hook that chains of family ip and ip6 can stand at, with the kernel's number for it."""

    PREROUTING = 0
    INPUT = 1
    FORWARD = 2
    OUTPUT = 3
    POSTROUTING = 4


class Replies(Enum):
    """What happens to a banned peer's answers to connections that this host opened."""

    PASS = "pass"  # noqa: S105 - no password
    DROP = "drop"


@dataclass(frozen=True, slots=True)
class Lapi:
    """Where decisions come from. Durations are seconds."""

    urls: tuple[
        str, ...
    ]  # the first is preferred; http(s)://…/ with a slash at the end, or a Unix socket's path
    key: str | None = field(default=None, repr=False)
    key_file: Path | None = None  # where the key was read from, if not from the configuration
    cert_path: Path | None = None
    key_path: Path | None = None
    ca_cert_path: Path | None = None
    insecure_skip_verify: bool = False
    update_frequency: float = 10.0
    resync_interval: float = 3600.0
    scopes: tuple[str, ...] = ()
    origins: tuple[str, ...] = ()
    scenarios_containing: tuple[str, ...] = ()
    scenarios_not_containing: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Log:
    """Where the log goes and what is in it."""

    file: Path | None = None  # None: standard error, which is the journal under systemd
    level: int = 20  # as in the logging module
    json: bool = False
    max_size_mb: int = 500
    max_files: int = 3
    max_age_days: int = 30
    compress: bool = True


@dataclass(frozen=True, slots=True)
class Deny:
    """What a banned peer's packet meets."""

    action: Action = Action.DROP
    log: bool = False
    log_prefix: str = "crowdsec drop: "  # at most 127 bytes, the kernel's limit


@dataclass(frozen=True, slots=True)
class Nft:
    """One family's place in nftables."""

    family: Family
    table: str
    chain: str
    blacklists: str
    priority: int = -10
    set_only: bool = False


@dataclass(frozen=True, slots=True)
class Iptables:
    """What iptables and ipset modes need on top."""

    v4_chains: tuple[str, ...] = ()
    v6_chains: tuple[str, ...] = ()
    rule_comments: bool = True
    ipset_type: str = "hash:net"
    ipset_size: int = 131072
    ipset_timeouts: bool = True


@dataclass(frozen=True, slots=True)
class NeverBlock:
    """Who is never blocked, besides this host itself, its gateways and the LAPI."""

    networks: tuple[AddressKey, ...] = ()  # addresses, too
    names: tuple[str, ...] = ()  # host names, in lower case
    files: tuple[Path, ...] = ()  # with more addresses, networks and names in them
    ssh_peers: bool = False  # who is logged in over SSH


@dataclass(frozen=True, slots=True)
class Prometheus:
    """Where metrics are served."""

    enabled: bool = False  # at the address and port
    listen_addr: str = "127.0.0.1"
    listen_port: int = 60601
    listen_socket: Path | None = None  # a Unix socket, whether or not the port is enabled


@dataclass(frozen=True, slots=True)
class Config:
    """Everything that the configuration file says, defaults filled in."""

    path: Path
    mode: Mode
    lapi: Lapi
    families: tuple[Family, ...]  # those that are enabled
    nft: dict[Family, Nft]  # of the enabled families
    hooks: tuple[Hook, ...] = (Hook.INPUT, Hook.FORWARD)
    deny: Deny = Deny()
    policies: Policies = EVERYTHING  # what is closed to whom
    given_place: bool = False  # the administrator said himself where the rules stand
    james_conf: Path | None = None  # where James's configuration is; None: its ports are not asked for
    replies: Replies = Replies.PASS
    close_sessions: frozenset[Family] = frozenset(Family)  # of whose newly banned peers open sessions are cut
    iptables: Iptables = Iptables()
    blacklists: dict[Family, str] = field(
        default_factory=lambda: {Family.V4: "crowdsec-blacklists", Family.V6: "crowdsec6-blacklists"}
    )
    log: Log = Log()
    never_block: NeverBlock = NeverBlock()
    proxies: tuple[AddressKey, ...] = ()  # in front of this host; never blocked either
    prometheus: Prometheus = Prometheus()
    usage_interval: float | None = 900.0  # seconds between two reports to the LAPI; None: it gets none
    control_socket: Path = Path("/run/fwbouncer/control.sock")
    keep_on_stop: bool = False  # whether the bans outlive a stop of the daemon
    state_file: Path | None = None  # None: the bans are kept in no file
    warnings: tuple[str, ...] = ()  # what is accepted but better mended; "file:line: text"
