"""The change from crowdsec-firewall-bouncer to fwbouncer where the first one works with iptables and ipsets."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tests.package.conftest import ALLOWED, BANNED

if TYPE_CHECKING:
    from pathlib import Path

    from tests.lab.packets import Probe
    from tests.package.conftest import Debian

THEIRS = "crowdsec-firewall-bouncer.service"


def test_the_place_changes_hands_without_a_gap(debian: Debian, package: Path, probe: Probe) -> None:
    """Mode and chains are taken over, no packet of a banned peer passes meanwhile, and an unban ends the block."""
    debian.keep_to_itself()
    debian.apt("install", "crowdsec", "iptables", "ipset")
    debian.apt("install", "crowdsec-firewall-bouncer")
    overlay = "/etc/crowdsec/bouncers/crowdsec-firewall-bouncer.yaml.local"
    debian.run("sed", "-i", "s/^mode: .*/mode: iptables/", overlay)
    debian.systemctl("restart", THEIRS)
    debian.run("cscli", "decisions", "add", "--ip", BANNED)
    probe.wait_until(BANNED, passes=False, within=40)
    debian.apt("install", debian.put(package))
    with probe.stream(BANNED) as bad, probe.stream(ALLOWED) as good:
        print(debian.run("fwbouncer", "migrate"))
    assert bad.arrived() == 0
    assert good.arrived() == len(good.packets)
    assert debian.show("ActiveState") == "active"
    debian.run("cscli", "decisions", "delete", "--ip", BANNED)
    probe.wait_until(BANNED, passes=True, within=30)


def test_nothing_of_the_other_one_is_left(debian: Debian) -> None:
    """What it had made in the kernel is gone with it, and a stop of ours leaves nothing either."""
    debian.systemctl("stop", "fwbouncer")
    assert "crowdsec" not in debian.run("sh", "-c", "iptables-save; ip6tables-save; ipset list -n").lower()


def test_a_purge_takes_the_drop_in_along(debian: Debian) -> None:
    """The rights that the mode iptables needed are gone with the package."""
    assert debian.exists("/etc/systemd/system/fwbouncer.service.d/iptables.conf")
    debian.apt("purge", "fwbouncer")
    assert not debian.exists("/etc/systemd/system/fwbouncer.service.d")
