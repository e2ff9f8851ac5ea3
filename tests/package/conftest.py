"""A fresh Debian that boots, the package that was built for it, and somebody in front of it who is banned.

Run by `make test-deb`, with the package in FWBOUNCER_DEB and the release in FWBOUNCER_SUITE; not part of `make test`.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests.booted.machine import Machine
from tests.lab.crowdsec import CHECKOUT
from tests.lab.net import Network, network
from tests.lab.packets import Probe

if TYPE_CHECKING:
    from collections.abc import Iterator

SUITE = os.environ.get("FWBOUNCER_SUITE", "bookworm")
BANNED, ALLOWED = "198.18.1.1", "198.18.1.2"


class Debian(Machine):
    """A base system with a mirror of Debian in it, and an administrator at its keyboard."""

    def apt(self, *words: str) -> str:
        """Run apt-get; return all that it and the packages said."""
        quiet = 'export DEBIAN_FRONTEND=noninteractive; exec apt-get -y --no-install-recommends "$@" 2>&1'
        return self.run("sh", "-c", quiet, "apt-get", *words, timeout=600)

    def put(self, source: Path, name: str = "/root") -> str:
        """Copy a file into it; return its path there."""
        there = f"{name}/{source.name}"
        shutil.copy(source, f"{self.root}{there}")
        return there

    def text(self, path: str) -> str:
        """Read a file of it."""
        return Path(f"{self.root}{path}").read_text()

    def exists(self, path: str) -> bool:
        """Say whether it has a file or folder; a link need not lead anywhere."""
        return os.path.lexists(f"{self.root}{path}")

    def keep_to_itself(self) -> None:
        """Opt out of CrowdSec's central server, as its README.Debian says: nothing is sent, nothing is fetched."""
        folder = Path(f"{self.root}/etc/crowdsec")
        folder.mkdir(exist_ok=True)
        (folder / "online_api_credentials.yaml").write_text("# Disabled\n")

    def bouncers(self) -> list[str]:
        """Return the names that its LAPI knows."""
        lines = self.run("cscli", "bouncers", "list", "-o", "raw").splitlines()
        return sorted(line.split(",")[0] for line in lines[1:])


def tree(suite: str) -> Path:
    """Return a base system with a mirror, made if it isn't there."""
    words = (str(CHECKOUT / "tests/package/make-tree"), suite)
    done = subprocess.run(words, stdout=subprocess.PIPE, stderr=sys.stderr, timeout=3000, check=True)
    return Path(done.stdout.decode().splitlines()[-1])


@pytest.fixture(scope="module")
def net() -> Iterator[Network]:
    """Build a network whose mail host is the machine."""
    with network() as made:
        yield made


@pytest.fixture(scope="module")
def debian(net: Network, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Debian]:
    """Boot a fresh Debian; one module's tests share it, and tell one story."""
    machine = Debian(net.mail, tree(SUITE), tmp_path_factory.mktemp("machine"))
    try:
        machine.boot()
        yield machine
    finally:
        machine.close()


@pytest.fixture(scope="module")
def probe(net: Network) -> Iterator[Probe]:
    """Make the sender of packets to the machine."""
    with contextlib.closing(Probe(net)) as made:
        yield made


@pytest.fixture(scope="session")
def package() -> Path:
    """Return the package under test."""
    return Path(os.environ["FWBOUNCER_DEB"])


@pytest.fixture(scope="session")
def previous(package: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the build before: the one that is named, or the same under an older version."""
    if named := os.environ.get("FWBOUNCER_PREVIOUS_DEB"):
        return Path(named)
    folder = tmp_path_factory.mktemp("previous")
    subprocess.run(("dpkg-deb", "-R", str(package), str(folder / "files")), check=True)
    control = folder / "files/DEBIAN/control"
    control.write_text(control.read_text().replace("\nVersion: ", "\nVersion: 0~previous+", 1))
    built = folder / "fwbouncer_previous_all.deb"
    words = ("dpkg-deb", "--root-owner-group", "-b", str(folder / "files"), str(built))
    subprocess.run(words, check=True, stdout=subprocess.DEVNULL)
    return built
