"""From the first installation to the purge: one machine's story, told in order."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tests.booted.machine import UNIT
from tests.lab import witness
from tests.package.conftest import ALLOWED, BANNED

if TYPE_CHECKING:
    from pathlib import Path

    from tests.lab.net import Network
    from tests.lab.packets import Probe
    from tests.package.conftest import Debian


def test_without_crowdsec_it_says_what_to_set(debian: Debian, previous: Path) -> None:
    """The installation succeeds where there is no LAPI; it and the service say what to set, and the service rests."""
    said = debian.apt("install", debian.put(previous))
    assert "there is no CrowdSec on this host" in said
    assert "cscli bouncers add" in said
    assert debian.show("ActiveState") == "failed"
    assert debian.show("NRestarts") == "0"
    assert "put the key there that `cscli bouncers add fwbouncer` prints" in debian.log()


def test_its_files_are_roots(debian: Debian) -> None:
    """The configuration can be read by root and the service's group alone."""
    modes = debian.run("stat", "-c", "%A %U %G %n", "/etc/fwbouncer", "/etc/fwbouncer/fwbouncer.yaml")
    assert modes.splitlines() == [
        "drwxr-x--- root fwbouncer /etc/fwbouncer",
        "-rw-r----- root fwbouncer /etc/fwbouncer/fwbouncer.yaml",
    ]


def test_crowdsec_arrives(debian: Debian) -> None:
    """When a CrowdSec is installed later, fwbouncer gets its key and starts, and nobody was asked."""
    debian.keep_to_itself()
    said = debian.apt("install", "crowdsec", "nftables")
    assert "registered with this host's CrowdSec" in said
    assert len(debian.bouncers()) == 1
    assert debian.run("stat", "-c", "%A %U %G", "/etc/fwbouncer/api.key").split() == [
        "-rw-r-----",
        "root",
        "fwbouncer",
    ]
    debian.wait_for("ActiveState", "active")
    assert "table owned" in debian.run("fwbouncer", "status")


def test_a_ban_is_enforced(debian: Debian, probe: Probe) -> None:
    """`cscli decisions add` ends in dropped packets, and others' packets pass."""
    debian.run("cscli", "decisions", "add", "--ip", BANNED)
    probe.wait_until(BANNED, passes=False, within=30)
    assert probe.passes(ALLOWED)


def test_an_upgrade_leaves_no_gap(debian: Debian, package: Path, probe: Probe) -> None:
    """From the old version to the new one no packet of a banned peer passes; key and registration stay."""
    key, names = debian.text("/etc/fwbouncer/api.key"), debian.bouncers()
    before = debian.show("ExecMainPID")
    with probe.stream(BANNED) as bad, probe.stream(ALLOWED) as good:
        debian.apt("install", debian.put(package))
    assert bad.arrived() == 0
    assert good.arrived() == len(good.packets)
    assert debian.show("ExecMainPID") != before
    assert debian.show("ActiveState") == "active"
    assert (debian.text("/etc/fwbouncer/api.key"), debian.bouncers()) == (key, names)
    print(f"upgrade: 0 of {len(bad.packets)} packets of the banned peer passed")


def test_a_reinstallation_changes_nothing(debian: Debian, package: Path, probe: Probe) -> None:
    """Installed once more, the key is the same, settings are left alone, and no packet of a banned peer passes."""
    key = debian.text("/etc/fwbouncer/api.key")
    debian.run("sh", "-c", "echo 'update_frequency: 1s' >/etc/fwbouncer/fwbouncer.yaml.local")
    with probe.stream(BANNED) as bad:
        debian.apt("install", "--reinstall", debian.put(package))
    assert bad.arrived() == 0
    assert debian.text("/etc/fwbouncer/api.key") == key
    assert debian.text("/etc/fwbouncer/fwbouncer.yaml.local") == "update_frequency: 1s\n"


def test_removed_it_keeps_the_configuration(debian: Debian, net: Network, probe: Probe) -> None:
    """`apt-get remove` stops it, takes all out of the kernel, and leaves configuration and key."""
    debian.apt("remove", "fwbouncer")
    assert witness.tables(net.mail) == set()
    assert probe.passes(BANNED)
    assert debian.exists("/etc/fwbouncer/fwbouncer.yaml")
    assert debian.exists("/etc/fwbouncer/api.key")
    assert not debian.exists("/usr/bin/fwbouncer")


def test_installed_again_it_goes_on(debian: Debian, package: Path, probe: Probe) -> None:
    """After a removal the same key serves again, and so does the registration."""
    key, names = debian.text("/etc/fwbouncer/api.key"), debian.bouncers()
    debian.apt("install", debian.put(package))
    probe.wait_until(BANNED, passes=False, within=30)
    assert (debian.text("/etc/fwbouncer/api.key"), debian.bouncers()) == (key, names)
    assert debian.systemctl("is-enabled", UNIT) == "enabled"


def test_purged_it_leaves_nothing(debian: Debian, net: Network) -> None:
    """`apt-get purge` takes configuration, key, state, logs and the registration away."""
    debian.apt("purge", "fwbouncer")
    assert witness.tables(net.mail) == set()
    assert debian.bouncers() == []
    left = debian.run(
        "find", "/etc", "/usr", "/var", "/run", "-name", "*fwbouncer*", "-not", "-path", "/var/lib/apt/*"
    )
    assert left == ""
