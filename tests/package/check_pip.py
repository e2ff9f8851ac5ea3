"""fwbouncer from its wheel, in a virtual environment on the system's libraries, as a service."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

from tests.booted.machine import UNIT
from tests.lab import witness
from tests.package.conftest import BANNED

if TYPE_CHECKING:
    from tests.lab.net import Network
    from tests.lab.packets import Probe
    from tests.package.conftest import Debian

PROGRAM = "/opt/fwbouncer/bin/fwbouncer"
LIBRARIES = ("httpx", "prometheus-client", "pyroute2", "rich", "sdnotify", "venv", "yaml")


def test_a_service_that_it_could_not_see_is_refused(debian: Debian) -> None:
    """Installed below somebody's home, which the service can't see, it says so and writes nothing."""
    debian.keep_to_itself()
    debian.apt("install", "crowdsec", "nftables", *(f"python3-{name}" for name in LIBRARIES))
    wheel = debian.put(Path(os.environ["FWBOUNCER_WHEEL"]))
    for folder in ("/root/environment", "/opt/fwbouncer"):
        debian.run("python3", "-m", "venv", "--system-site-packages", folder)
        debian.run(f"{folder}/bin/pip", "install", "--no-index", wheel, timeout=200)
    said = debian.run("sh", "-c", "/root/environment/bin/fwbouncer install-service 2>&1", check=False)
    assert "the service can't see /root/environment" in said
    assert not debian.exists("/etc/systemd/system/fwbouncer.service")


def test_install_service_makes_a_service(debian: Debian, probe: Probe) -> None:
    """`install-service` writes what is needed and registers; the service starts, is as hardened, and enforces."""
    said = debian.run("sh", "-c", f"{PROGRAM} install-service 2>&1")
    assert "registered with this host's CrowdSec" in said
    debian.systemctl("enable", "--now", UNIT)
    debian.run("cscli", "decisions", "add", "--ip", BANNED)
    probe.wait_until(BANNED, passes=False, within=30)
    assert "table owned" in debian.run(PROGRAM, "status")
    assert debian.run("systemd-analyze", "verify", UNIT) == ""
    assert debian.attempt("systemd-analyze", "security", "--threshold=15", UNIT) == 0


def test_again_it_changes_nothing(debian: Debian, probe: Probe) -> None:
    """A second run finds all in place; settings and key are left as they are, and bans stay in force."""
    debian.run(
        "sh", "-c", "sed -i 's/^update_frequency: .*/update_frequency: 1s/' /etc/fwbouncer/fwbouncer.yaml"
    )
    before = debian.text("/etc/fwbouncer/fwbouncer.yaml"), debian.text("/etc/fwbouncer/api.key")
    with probe.stream(BANNED) as bad:
        said = debian.run("sh", "-c", f"{PROGRAM} install-service 2>&1")
        debian.systemctl("restart", UNIT)
    assert said == "now: systemctl enable --now fwbouncer\n"
    assert bad.arrived() == 0
    assert (debian.text("/etc/fwbouncer/fwbouncer.yaml"), debian.text("/etc/fwbouncer/api.key")) == before


def test_removed_it_leaves_the_configuration(debian: Debian, net: Network, probe: Probe) -> None:
    """`install-service --remove` stops the service and takes its files away."""
    debian.run(PROGRAM, "install-service", "--remove")
    assert probe.passes(BANNED)
    assert witness.tables(net.mail) == set()
    assert not debian.exists("/etc/systemd/system/fwbouncer.service")
    assert not debian.exists("/etc/systemd/system/multi-user.target.wants/fwbouncer.service")
    assert debian.exists("/etc/fwbouncer/fwbouncer.yaml")
