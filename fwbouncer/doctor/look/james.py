"""Apache James on this host: where its configuration is, and what it logs."""

from __future__ import annotations

import re
import sys
from contextlib import suppress
from dataclasses import replace
from ipaddress import ip_address
from pathlib import Path
from typing import TYPE_CHECKING
from xml.etree import ElementTree as ET

from fwbouncer.doctor.facts import James
from fwbouncer.host.james import James as Listening

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from fwbouncer.core.ports import Ports

_USUAL = (
    "root/conf",
    "opt/james/conf",
    "etc/james",
    "etc/james/conf",
    "usr/share/james/conf",
    "var/lib/james/conf",
)
_SIGNS = ("smtpserver.xml", "imapserver.xml", "mailetcontainer.xml")
_DIRECTORY = re.compile(rb"-Dworking\.directory=([^\0]+)")
_ESTABLISHED = "01"  # TCP_ESTABLISHED
_CONTAINER = re.compile(r"docker|containerd|libpod|kubepods|crio|lxc|machine\.slice")
_HIDING = ("WARN", "ERROR", "OFF")
_LOUD = {"TRACE", "DEBUG", "INFO", "ALL"}


def folders(root: Path, named: Iterable[Path] = ()) -> tuple[Path, ...]:
    """Find the folders with James's configuration: those named, the usual ones, those of running Jameses."""
    every = [*named, *(root / usual for usual in _USUAL), *_running(root)]
    found: dict[tuple[int, int], Path] = {}
    for folder in every:
        with suppress(OSError):
            if any((folder / sign).is_file() for sign in _SIGNS):
                told = folder.stat()
                found.setdefault((told.st_dev, told.st_ino), folder)
    return tuple(found.values())


def look(root: Path, conf: Path) -> James:
    """Read what James's files say about ports, logs and bans."""
    logback = conf / "logback.xml"
    tree = None
    with suppress(OSError, ET.ParseError):
        tree = ET.fromstring(logback.read_bytes())  # noqa: S314 - root's own file
    reading = Listening(conf).read()
    james = James(
        conf,
        own_bouncer=_own_bouncer(conf),
        reading=reading,
        proxies=tuple(sorted(_connected(root, reading.proxied_ports))),
    )
    return james if tree is None else _logged(replace(james, logback=logback), tree)


def _running(root: Path) -> Iterator[Path]:
    """Yield the folders of Jameses that run, in containers, too."""
    for folder in (root / "proc").glob("[0-9]*"):
        with suppress(OSError):
            words = (folder / "cmdline").read_bytes()
            if b"java" not in words or b"james" not in words or not _of_this_host(root, folder):
                continue
            named = _DIRECTORY.search(words)
            base = Path(named[1].decode(errors="replace")) if named else Path()
            start = (folder / "cwd").readlink()  # as the process sees it
            inside = (start / base).resolve() if not base.is_absolute() else base
            yield folder / "root" / str(inside).lstrip("/") / "conf"


def _connected(root: Path, ports: Ports) -> set[str]:
    """Return who has a connection to one of these ports of this host."""
    found = set()
    for name in ("tcp", "tcp6") if ports else ():
        with suppress(OSError):
            for line in (root / "proc/net" / name).read_text().splitlines()[1:]:
                _, local, remote, state, *_ = line.split()
                if state == _ESTABLISHED and int(local.rpartition(":")[2], 16) in ports:
                    found.add(_address(remote.rpartition(":")[0]))
    return found


def _address(text: str) -> str:
    """Read an address as the kernel prints it there: 32 bits after 32 bits, each in the host's byte order."""
    words = [int(text[at : at + 8], 16).to_bytes(4, sys.byteorder) for at in range(0, len(text), 8)]
    address = ip_address(b"".join(words))
    mapped = address.ipv4_mapped if address.version == 6 else None
    return str(mapped or address)


def _of_this_host(root: Path, process: Path) -> bool:
    """Tell whether a process's packets come by our rules: it is in our network namespace, or in a container."""
    if (process / "ns/net").readlink() == (root / "proc/self/ns/net").readlink():
        return True
    return _CONTAINER.search((process / "cgroup").read_text()) is not None


def _own_bouncer(conf: Path) -> bool:
    with suppress(OSError):
        text = (conf / "extensions.properties").read_text(errors="replace")
        lines = [line for line in text.splitlines() if not line.lstrip().startswith(("#", "!"))]
        return any("crowdsec" in line.lower() for line in lines)
    return False


def _logged(james: James, tree: ET.Element) -> James:
    """Tell how lines are written, and which are lost."""
    makers = [each for each in tree.iter() if each.tag in ("encoder", "layout")]
    kinds = {each.get("class", "").rpartition(".")[2]: each for each in makers}
    kind = next((name for name in ("JsonEncoder", "JsonLayout", "LogstashEncoder") if name in kinds), "plain")
    maker = kinds.get(kind)
    return replace(
        james,
        encoder=kind,
        formatted=kind != "JsonEncoder" or _says(maker, "withFormattedMessage", "true"),
        mdc=kind != "plain"
        and not _says(maker, "withMDC", "false")
        and not _says(maker, "includeMDC", "false"),
        lossy=tuple(_lossy(tree)),
        quiet=_quiet(tree),
    )


def _says(element: ET.Element | None, name: str, value: str) -> bool:
    return element is not None and (element.findtext(name) or "").strip().lower() == value


def _lossy(tree: ET.Element) -> Iterator[str]:
    """Yield the appenders that drop lines of level INFO once their queue is nearly full."""
    for appender in tree.iter("appender"):
        kept = (appender.findtext("discardingThreshold") or "").strip()
        if appender.get("class", "").endswith(".AsyncAppender") and kept != "0":
            yield appender.get("name", "?")


def _quiet(tree: ET.Element) -> str:
    """Return the level of James's own loggers where that hides what CrowdSec reads."""
    root = tree.find("root")
    levels = {each.get("name", ""): each.get("level", "") for each in tree.iter("logger")}
    levels[""] = "DEBUG" if root is None else root.get("level", "DEBUG")
    for name in ("org.apache.james", "org.apache", "org", ""):
        level = levels.get(name, "").upper()
        if level in _HIDING:
            return level
        if level in _LOUD:
            return ""
    return ""
