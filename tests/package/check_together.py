"""CrowdSec and fwbouncer installed in one go; and a LAPI at another address."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tests.package.conftest import BANNED

if TYPE_CHECKING:
    from pathlib import Path

    from tests.lab.packets import Probe
    from tests.package.conftest import Debian

MOVED = "sed -i 's/listen_uri: .*/listen_uri: 0.0.0.0:8090/' /etc/crowdsec/config.yaml"
TOLD = "sed -i 's/:8080/:8090/' /etc/crowdsec/local_api_credentials.yaml"


def test_in_one_go_they_find_each_other(debian: Debian, package: Path, probe: Probe) -> None:
    """`apt-get install crowdsec fwbouncer` ends with a service that enforces, in whatever order dpkg works."""
    debian.keep_to_itself()
    said = debian.apt("install", "crowdsec", "nftables", debian.put(package))
    assert said.count("registered with this host's CrowdSec") == 1
    debian.wait_for("ActiveState", "active")
    debian.run("cscli", "decisions", "add", "--ip", BANNED)
    probe.wait_until(BANNED, passes=False, within=30)


def test_a_lapi_elsewhere_on_the_host_is_found(debian: Debian, package: Path, probe: Probe) -> None:
    """A LAPI that listens at another port, as beside a James on 8080, is written into the overlay."""
    debian.apt("purge", "fwbouncer")
    assert debian.bouncers() == []
    debian.run("sh", "-c", f"{MOVED}; {TOLD}; systemctl restart crowdsec")
    debian.apt("install", debian.put(package))
    assert "api_url: http://127.0.0.1:8090/" in debian.text("/etc/fwbouncer/fwbouncer.yaml.local")
    probe.wait_until(BANNED, passes=False, within=30)


def test_without_a_lapi_of_its_own_it_says_so(debian: Debian, package: Path) -> None:
    """Where CrowdSec's LAPI is on another host, nothing is registered, and the installation says what to do."""
    debian.apt("purge", "fwbouncer")
    debian.run("sh", "-c", "sed -i 's/^    listen_uri:/    enable: false\\n&/' /etc/crowdsec/config.yaml")
    said = debian.apt("install", debian.put(package))
    assert "has no LAPI of its own" in said
    assert debian.show("ActiveState") == "failed"
