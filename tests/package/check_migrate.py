"""A host on which crowdsec-firewall-bouncer is in charge, as Debian installs it, and the change to fwbouncer."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.lab import witness
from tests.package.conftest import ALLOWED, BANNED

if TYPE_CHECKING:
    from pathlib import Path

    from tests.lab.net import Network
    from tests.lab.packets import Probe
    from tests.package.conftest import Debian

THEIRS = "crowdsec-firewall-bouncer.service"


@pytest.fixture(scope="module")
def key(debian: Debian, probe: Probe) -> str:
    """Let crowdsec-firewall-bouncer enforce a ban; return its key."""
    debian.keep_to_itself()
    debian.apt("install", "crowdsec", "nftables")
    debian.apt("install", "crowdsec-firewall-bouncer")
    debian.run("cscli", "decisions", "add", "--ip", BANNED)
    probe.wait_until(BANNED, passes=False, within=40)
    overlay = debian.text("/etc/crowdsec/bouncers/crowdsec-firewall-bouncer.yaml.local")
    return next(line.split()[1] for line in overlay.splitlines() if line.startswith("api_key:"))


def test_beside_another_bouncer_nothing_is_started(
    debian: Debian, package: Path, probe: Probe, key: str
) -> None:
    """Installed beside it, fwbouncer starts and registers nothing, takes nothing away, and names the way."""
    with probe.stream(BANNED) as bad:
        said = debian.apt("install", debian.put(package))
    assert bad.arrived() == 0
    assert "fwbouncer migrate" in said
    assert debian.show("ActiveState") == "inactive"
    assert debian.systemctl("is-active", THEIRS) == "active"
    assert not debian.exists("/etc/fwbouncer/api.key")
    assert len(debian.bouncers()) == 1


def test_a_dry_run_tells_and_does_nothing(debian: Debian, key: str) -> None:
    """`migrate --dry-run` lists the settings, hides the key, and leaves both services as they are."""
    said = debian.run("fwbouncer", "migrate", "--dry-run")
    assert "mode: nftables" in said
    assert key not in said
    assert not debian.exists("/etc/fwbouncer/fwbouncer.yaml.local")
    assert debian.systemctl("is-active", THEIRS) == "active"


def test_where_ours_does_not_start_theirs_goes_on(debian: Debian, probe: Probe, key: str) -> None:
    """If fwbouncer can't start, `migrate` says why and the other one is in charge again, as it was before."""
    folder = debian.root / "etc/systemd/system/fwbouncer.service.d"
    folder.mkdir()
    (folder / "broken.conf").write_text("[Service]\nExecStartPre=/bin/false\n")
    debian.systemctl("daemon-reload")
    assert debian.attempt("fwbouncer", "migrate") == 1
    assert debian.systemctl("is-active", THEIRS) == "active"
    assert debian.systemctl("is-enabled", THEIRS) == "enabled"
    assert debian.show("ActiveState") in ("failed", "inactive")
    assert not debian.exists(f"/run/systemd/system/{THEIRS}.d")
    probe.wait_until(BANNED, passes=False, within=40)
    debian.run("rm", "-r", "/etc/systemd/system/fwbouncer.service.d")
    debian.systemctl("daemon-reload")


def test_the_place_changes_hands_without_a_gap(debian: Debian, net: Network, probe: Probe, key: str) -> None:
    """During `migrate` no packet of a banned peer passes and none of another's is lost; then fwbouncer is in charge."""
    with probe.stream(BANNED) as bad, probe.stream(ALLOWED) as good:
        said = debian.run("fwbouncer", "migrate")
        probe.wait_until(BANNED, passes=False, within=5)
    print(said, f"migrate: {bad.arrived()} of {len(bad.packets)} packets of the banned peer passed")
    assert bad.arrived() == 0
    assert good.arrived() == len(good.packets)
    assert debian.show("ActiveState") == "active"
    assert debian.text("/etc/fwbouncer/api.key").strip() == key
    assert debian.run("systemctl", "is-active", THEIRS, check=False).strip() in ("inactive", "failed")
    assert debian.run("systemctl", "is-enabled", THEIRS, check=False).strip() == "disabled"
    assert "table owned" in debian.run("fwbouncer", "status")
    assert witness.tables(net.mail) == {("ip", "crowdsec"), ("ip6", "crowdsec6")}


def test_again_it_changes_nothing(debian: Debian, probe: Probe, key: str) -> None:
    """A second `migrate` finds all as it should be, and leaves no gap either."""
    before = debian.text("/etc/fwbouncer/fwbouncer.yaml.local")
    with probe.stream(BANNED) as bad:
        debian.run("fwbouncer", "migrate")
    assert bad.arrived() == 0
    assert debian.text("/etc/fwbouncer/fwbouncer.yaml.local") == before


def test_the_other_package_may_go(debian: Debian, probe: Probe, key: str) -> None:
    """A purge of crowdsec-firewall-bouncer changes nothing for the banned, and leaves us our key at the LAPI."""
    with probe.stream(BANNED) as bad:
        debian.apt("purge", "crowdsec-firewall-bouncer")
    assert bad.arrived() == 0
    debian.systemctl("restart", "fwbouncer.service")
    debian.run("cscli", "decisions", "add", "--ip", "198.18.1.9")
    probe.wait_until("198.18.1.9", passes=False, within=30)
    debian.run("cscli", "decisions", "delete", "--ip", BANNED)
    probe.wait_until(BANNED, passes=True, within=30)
    assert len(debian.bouncers()) == 1
