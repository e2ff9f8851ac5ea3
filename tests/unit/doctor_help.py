"""A host on which all is well, as facts; tests change one thing."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

from fwbouncer.config.load import load
from fwbouncer.core.model import Family
from fwbouncer.doctor.examine import examine
from fwbouncer.doctor.facts import (
    OUR_DAEMON,
    OUR_UNIT,
    Daemon,
    Facts,
    LapiAnswer,
    Lapis,
    Process,
    Settings,
    System,
    Units,
)
from fwbouncer.doctor.finding import Finding, Severity
from fwbouncer.doctor.rules import Nft, Xtables
from fwbouncer.kernel import iptables

if TYPE_CHECKING:
    from pathlib import Path

NOW = 1_800_000_000.0
PID = 321
URL = "http://127.0.0.1:8080/"
CONFIG = (
    "mode: nftables\napi_url: http://127.0.0.1:8080/\napi_key: a-key-of-ours\nstate_file: /var/lib/f/state\n"
)
STATUS: dict[str, Any] = {
    "version": "1",
    "pid": PID,
    "mode": "nftables",
    "owned": True,
    "since": 5000.0,
    "lapi": {"url": URL, "last_answer_ago": 3.0, "failing_since": None, "error": None, "snapshot_age": 600.0},
    "decisions": {"total": 5},
    "kernel": {"elements": 5, "pending": 0, "last_error": None, "repairs": 0},
    "rejects": {},
    "warnings": [],
}
OUR_PROPERTIES = {
    "Id": OUR_UNIT,
    "LoadState": "loaded",
    "ActiveState": "active",
    "UnitFileState": "enabled",
    "NRestarts": "0",
    "NeedDaemonReload": "no",
    "NotifyAccess": "main",
    "FileDescriptorStoreMax": "4",
    "Environment": "FDSTORE=4",
    "DynamicUser": "yes",
    "User": "fwbouncer-run",
    "Group": "fwbouncer",
    "DropInPaths": "",
}


def settings(tmp_path: Path, text: str = CONFIG) -> Settings:
    """Read a configuration as the gatherer does."""
    path = tmp_path / "fwbouncer.yaml"
    path.write_text(text)
    path.chmod(0o640)
    return Settings(path, load(path, {}))


def healthy(tmp_path: Path, text: str = CONFIG, **changes: Any) -> Facts:
    """Return a host's facts, with what a test changes."""
    facts = Facts(
        now=NOW,
        root=True,
        settings=settings(tmp_path, text),
        system=System("6.1.0-30-amd64", {"CONFIG_INET_DIAG_DESTROY": "y"}, "1.0.6", (10, 1000)),
        units=Units(252, {OUR_UNIT: OUR_PROPERTIES}),
        processes=(Process(PID, OUR_DAEMON, 1 << 12, OUR_UNIT),),
        daemon=Daemon(STATUS),
        nft=Nft(),
        xtables=Xtables(),
        lapis=Lapis((LapiAnswer(URL, 200, skew=0.0, took=0.01, metrics=True, local=True),)),
    )
    return replace(facts, **changes)


def unit(**properties: str) -> Units:
    """Return systemd's word on our unit, with some properties changed."""
    return Units(252, {OUR_UNIT: {**OUR_PROPERTIES, **properties}})


def status(**changes: Any) -> Daemon:
    """Return the daemon's word, with some of it changed; blocks are merged."""
    told = dict(STATUS)
    for key, value in changes.items():
        told[key] = {**told[key], **value} if isinstance(value, dict) and key in told else value
    return Daemon(told)


def filter_table(*rules: str) -> Xtables:
    """Return the rules of iptables, written as iptables-save shows them; ip6tables has none."""
    text = "".join(f"-A {rule}\n" for rule in rules)
    return Xtables({Family.V4: iptables.parse(text), Family.V6: iptables.parse("")})


def bad(facts: Facts) -> list[Finding]:
    """Return what is found but notes, and what is fine."""
    return [f for f in examine(facts) if f.severity in (Severity.PROBLEM, Severity.WARNING)]


def ids(facts: Facts) -> list[str]:
    """Return the ids of what is bad."""
    return [finding.id for finding in bad(facts)]


def one(facts: Facts, id_: str) -> Finding:
    """Return the only finding of that id."""
    found = [finding for finding in examine(facts) if finding.id == id_]
    assert len(found) == 1, [f"{f.id}: {f.what}" for f in examine(facts)]
    return found[0]
