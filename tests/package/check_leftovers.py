"""What an installation and a purge leave in the file system: nothing."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tests.package.conftest import BANNED

if TYPE_CHECKING:
    from pathlib import Path

    from tests.lab.packets import Probe
    from tests.package.conftest import Debian

# Who else writes meanwhile: dpkg and apt about their own work, the journal, systemd's own state, CrowdSec's database.
OTHERS = [
    "/var/lib/dpkg", "/var/lib/apt", "/var/cache", "/var/log/apt", "/var/log/dpkg.log", "/var/log/journal",
    "/var/log/alternatives.log", "/var/lib/systemd", "/var/lib/crowdsec", "/var/log/crowdsec.log",
    "/var/log/crowdsec_api.log", "/root", "/tmp", "/var/tmp", "/proc", "/sys", "/dev", "/run", "/srv",
    "/etc/ld.so.cache",
]  # fmt: skip
# As Debian's packages do, it leaves its group: a file of another name could bear the number.
KEPT = {"/etc/group", "/etc/group-", "/etc/gshadow", "/etc/gshadow-", "/etc/.pwd.lock"}


def snapshot(debian: Debian) -> set[str]:
    """List every file with its kind, mode, owners, link's target and, for those in /etc, its sum."""
    pruned = " -o ".join(f"-path {path}" for path in OTHERS)
    found = debian.run(
        "sh",
        "-c",
        rf"find / -xdev \( {pruned} \) -prune -o -not -name __pycache__ -printf '%p %y %m %u %g %l\n'",
    )
    sums = debian.run("sh", "-c", "find /etc -type f -exec md5sum {} +")
    lines = {*found.splitlines(), *sums.splitlines()}
    return {line for line in lines if not any(path in line.split() for path in KEPT)}


def test_nothing_is_left(debian: Debian, package: Path, probe: Probe) -> None:
    """Installed with CrowdSec, at work, reconfigured, and purged: the file system is as it was before."""
    debian.keep_to_itself()
    debian.apt("install", "crowdsec", "nftables", "python3-httpx", "python3-pyroute2", "python3-yaml",
               "python3-sdnotify", "python3-rich", "python3-prometheus-client")  # fmt: skip
    before = snapshot(debian)
    debian.apt("install", debian.put(package))
    debian.run("cscli", "decisions", "add", "--ip", BANNED)
    probe.wait_until(BANNED, passes=False, within=30)
    debian.run("sh", "-c", "until test -s /var/lib/fwbouncer/state; do sleep 0.1; done", timeout=30)
    debian.run("sh", "-c", "echo 'log_level: debug' >/etc/fwbouncer/fwbouncer.yaml.local")
    debian.systemctl("reload", "fwbouncer")
    debian.apt("purge", "fwbouncer")
    after = snapshot(debian)
    assert sorted(after - before) == []
    assert sorted(before - after) == []
