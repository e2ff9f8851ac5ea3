"""The scripts of the Vagrant machines, run for real: a mail host and an attacker, each a Debian that boots."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests.lab.crowdsec import CHECKOUT
from tests.lab.net import MAIL
from tests.package.conftest import SUITE, Debian, tree

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.lab.net import Network

THERE = "/fwbouncer"
SERVICES = ("james", "crowdsec", "fwbouncer")


def share(machine: Debian) -> None:
    """Copy the checkout into a machine as Vagrant does, with the package and James's jars."""
    target = Path(f"{machine.root}{THERE}")
    files = "git -c safe.directory='*' ls-files -z --cached --others --exclude-standard"
    pack = f"{files} | tar --null -T - -c | tar -C '{target}' -x"
    target.mkdir()
    subprocess.run(("sh", "-c", pack), cwd=CHECKOUT, check=True)
    (target / "dist").mkdir()
    shutil.copy(os.environ["FWBOUNCER_DEB"], target / "dist")
    jars = Path(os.environ["FWBOUNCER_JAMES"])
    shutil.copytree(jars.parent, target / ".cache/james", ignore=shutil.ignore_patterns("repository"))


@pytest.fixture(scope="module")
def mail(debian: Debian) -> Debian:
    """Provision the mail host."""
    share(debian)
    debian.run("sh", "-c", f"CHECKOUT={THERE} {THERE}/vagrant/mail.sh 2>&1", timeout=1200)
    return debian


@pytest.fixture(scope="module")
def attacker(net: Network, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Debian]:
    """Boot and provision the attacker."""
    machine = Debian(net.attacker, tree(SUITE), tmp_path_factory.mktemp("attacker"))
    try:
        machine.boot()
        share(machine)
        machine.run("sh", "-c", f"CHECKOUT={THERE} HOME=/root {THERE}/vagrant/attacker.sh")
        yield machine
    finally:
        machine.close()


def pids(machine: Debian) -> list[str]:
    """Return the processes of the three services."""
    return [machine.systemctl("show", "-P", "MainPID", name) for name in SERVICES]


def test_the_mail_host_is_provisioned(mail: Debian) -> None:
    """James, CrowdSec and fwbouncer run, and CrowdSec has the collection for James."""
    for name in SERVICES:
        assert mail.systemctl("is-active", name) == "active"
    assert mail.exists("/etc/crowdsec/scenarios/james-smtp-bf.yaml")


def test_provisioned_again_nothing_changes(mail: Debian) -> None:
    """A second run restarts nothing and leaves the same files."""
    before = pids(mail)
    mail.run("sh", "-c", f"CHECKOUT={THERE} {THERE}/vagrant/mail.sh 2>&1", timeout=600)
    assert pids(mail) == before


def test_the_attack_is_cut_off(mail: Debian, attacker: Debian) -> None:
    """`./attack.sh` guesses passwords at both of the mail host's addresses until nothing answers any more."""
    said = attacker.run("/root/attack.sh", MAIL[4], MAIL[6], timeout=300)
    print(said)
    assert said.count("cut off") == 2
    assert len(re.findall(r"guess +\d+: 535", said)) >= 2 * 5
    assert "198.51.100.66" in mail.run("cscli", "decisions", "list")
    assert attacker.attempt("/root/attack.sh", MAIL[4]) == 0


def test_the_second_address_comes_back_at_boot(mail: Debian) -> None:
    """`address.sh` adds the IPv6 address beside the IPv4 one, once, by a unit that is enabled."""
    for _ in range(2):
        mail.run(f"{THERE}/vagrant/address.sh", MAIL[4], "2001:db8:113::25/64")
    assert (
        mail.run("ip", "-6", "-o", "address", "show", "to", "2001:db8:113::25").count("2001:db8:113::25") == 1
    )
    assert mail.systemctl("is-enabled", "second-address") == "enabled"
    assert mail.attempt(f"{THERE}/vagrant/address.sh", "192.0.2.99", "2001:db8:113::26/64") != 0


def test_vagrant_takes_the_file(attacker: Debian) -> None:
    """`vagrant validate` finds no mistake, for Debian 13 and 12."""
    attacker.apt("install", "vagrant", "vagrant-libvirt")
    for box in ("debian/trixie64", "debian/bookworm64"):
        words = (
            f"cd {THERE}/vagrant && HOME=/root FWBOUNCER_BOX={box} vagrant validate --ignore-provider 2>&1"
        )
        assert "validated successfully" in attacker.run("sh", "-c", words, timeout=200)
