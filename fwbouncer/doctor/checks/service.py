"""The daemon and its unit: does it run, may it do its work, and will it after a reboot."""

from __future__ import annotations

from typing import TYPE_CHECKING

from fwbouncer.config.schema import Mode
from fwbouncer.doctor.checks.mending import RESTART, drop_in, quoted
from fwbouncer.doctor.facts import OUR_DAEMON, OUR_UNIT, Daemon, Facts, Units, Unseen
from fwbouncer.doctor.finding import Finding, fine, note, problem, warning

if TYPE_CHECKING:
    from collections.abc import Iterator

_NET_ADMIN = 1 << 12  # CAP_NET_ADMIN
_NET_RAW = 1 << 13  # CAP_NET_RAW
_LOG = "journalctl -u fwbouncer -n 30 --no-pager"
_SAYS_STORE_ITSELF = 254  # the systemd that sets FDSTORE
_MANY_RESTARTS = 3
_IPTABLES_UNIT = (
    "DynamicUser=no", "User=root", "Group=root", "CapabilityBoundingSet=CAP_NET_ADMIN CAP_NET_RAW",
    "AmbientCapabilities=", "ReadWritePaths=/run",
)  # fmt: skip


def check(facts: Facts) -> Iterator[Finding]:
    """Tell how the service does."""
    yield from _alive(facts)
    yield from _rights(facts)
    yield from _twice(facts)
    units = facts.units
    if not isinstance(units, Unseen) and _loaded(units):
        yield from _unit(facts, units)
        yield from _store(facts, units)


def _loaded(units: Units) -> bool:
    return units.get(OUR_UNIT, "LoadState") == "loaded"


def _alive(facts: Facts) -> Iterator[Finding]:
    daemon = facts.daemon
    if not isinstance(daemon, Daemon):
        return
    by_systemd = isinstance(facts.units, Units) and _loaded(facts.units)
    if daemon.status is not None:
        words = [f"mode {daemon.status.get('mode', '?')}", f"pid {daemon.status.get('pid', '?')}"]
        words.append("tables owned" if daemon.status.get("owned") else "tables not owned")
        yield fine("service.running", f"the daemon answers: {', '.join(words)}")
    elif not daemon.running:
        run = f"fwbouncer run -c {quoted(facts.settings.path)}"
        yield problem(
            "service.stopped",
            daemon.error,
            "Nobody brings new bans into the kernel.",
            *((_LOG, "systemctl start fwbouncer") if by_systemd else (run,)),
        )
    elif facts.root:
        yield problem(
            "service.silent",
            daemon.error,
            "Whether bans are brought into the kernel is unknown.",
            _LOG,
            RESTART,
        )


def _rights(facts: Facts) -> Iterator[Finding]:
    if isinstance(facts.processes, Unseen):
        return
    found = {process.pid: process for process in facts.processes}.get(facts.status.get("pid", 0))
    config = facts.config
    if found is None or config is None or config.mode is Mode.DRY_RUN:
        return
    if not found.capabilities & _NET_ADMIN:
        yield problem(
            "service.no-capability",
            f"process {found.pid} may not change the packet filter: it lacks CAP_NET_ADMIN",
            "The kernel refuses every write, so that nobody is blocked.",
            *drop_in("rights", "AmbientCapabilities=CAP_NET_ADMIN", "CapabilityBoundingSet=CAP_NET_ADMIN"),
        )
    elif config.mode is Mode.IPTABLES and not found.capabilities & _NET_RAW:
        yield problem(
            "service.no-raw",
            f"process {found.pid} lacks CAP_NET_RAW, which the iptables programs want",
            "Rules can't be written in mode iptables.",
            *drop_in("iptables", *_IPTABLES_UNIT),
        )


def _twice(facts: Facts) -> Iterator[Finding]:
    if isinstance(facts.processes, Unseen):
        return
    ours = [process for process in facts.processes if process.name == OUR_DAEMON]
    # A child of one is not there for long: the daemon runs iptables, never itself.
    if len(ours) > 1:
        numbers = ", ".join(str(process.pid) for process in ours)
        spare = [p.pid for p in ours if p.pid != facts.status.get("pid") and p.service != OUR_UNIT]
        yield problem(
            "service.twice",
            f"{len(ours)} daemons of fwbouncer work on this network: {numbers}",
            "Each removes what only the other put into the kernel, and on one key they miss each other's decisions.",
            *(f"kill {pid}" for pid in spare),
        )


def _unit(facts: Facts, units: Units) -> Iterator[Finding]:
    if units.get(OUR_UNIT, "UnitFileState") not in ("enabled", "enabled-runtime", "static", "alias", ""):
        yield warning(
            "service.disabled",
            "the service doesn't start with this machine",
            "After a reboot nobody is blocked.",
            "systemctl enable fwbouncer",
        )
    if units.get(OUR_UNIT, "NeedDaemonReload") == "yes":
        yield warning(
            "service.changed",
            "the unit's files have changed since systemd read them",
            "The service still runs by the earlier ones.",
            "systemctl daemon-reload",
            RESTART,
        )
    restarts = units.get(OUR_UNIT, "NRestarts")
    if restarts.isdecimal() and int(restarts) >= _MANY_RESTARTS:
        yield warning(
            "service.restarts",
            f"systemd has restarted the daemon {restarts} times",
            "It ended by a failure each time; the bans stayed, new ones came late.",
            _LOG,
        )
    if paths := units.get(OUR_UNIT, "DropInPaths"):
        yield note("service.drop-ins", f"the unit is changed by {', '.join(paths.split())}")
    if (
        facts.config is not None
        and facts.config.mode is Mode.IPTABLES
        and units.get(OUR_UNIT, "DynamicUser") == "yes"
    ):
        yield problem(
            "service.iptables-unit",
            "the mode is iptables, and the unit is the one for nftables",
            "The iptables programs need a raw socket and root's lock file, which this unit keeps from them.",
            *drop_in("iptables", *_IPTABLES_UNIT),
        )


def _store(facts: Facts, units: Units) -> Iterator[Finding]:
    """Check that the socket which owns our tables survives the process."""
    config = facts.config
    if config is None or config.mode is not Mode.NFTABLES or all(nft.set_only for nft in config.nft.values()):
        return
    lines = []
    if units.get(OUR_UNIT, "FileDescriptorStoreMax") in ("", "0"):
        lines.append("FileDescriptorStoreMax=4")
    told = [w for w in units.get(OUR_UNIT, "Environment").split() if w.startswith("FDSTORE=")]
    # Our unit says so for older ones; what is said last counts.
    if told[-1:] == ["FDSTORE=0"] or (not told and units.systemd < _SAYS_STORE_ITSELF):
        lines.append("Environment=FDSTORE=4")
    if units.get(OUR_UNIT, "NotifyAccess") == "none":
        lines.append("NotifyAccess=main")
    why = "While the process restarts, the tables are gone or anybody may flush them."
    if lines:
        yield problem(
            "service.no-store", "systemd keeps no socket for the service", why, *drop_in("store", *lines)
        )
    elif facts.status and not facts.status.get("owned"):
        yield warning(
            "service.not-owned",
            "the tables belong to nobody, though systemd could keep their socket",
            why,
            _LOG,
        )
    elif facts.status:
        yield fine("service.store", "the tables belong to a socket that systemd keeps")
