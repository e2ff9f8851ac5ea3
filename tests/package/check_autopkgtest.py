"""The package's own tests, those that Debian's machines would run, in a Debian that boots."""

from __future__ import annotations

import subprocess
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests.lab.crowdsec import CHECKOUT

if TYPE_CHECKING:
    from tests.package.conftest import Debian


@pytest.fixture(scope="module")
def sources(debian: Debian, package: Path) -> str:
    """Install the package and what its tests need; return the folder of the sources."""
    debian.apt("install", debian.put(package), "nftables", "netbase", "openssl", "python3-hypothesis", "python3-pytest",
               "python3-prometheus-client")  # fmt: skip
    target = Path(f"{debian.root}/root/sources")
    target.mkdir()
    files = "git -c safe.directory='*' ls-files -z --cached --others --exclude-standard"
    subprocess.run(
        ("sh", "-c", f"{files} | tar --null -T - -c | tar -C '{target}' -x"), cwd=CHECKOUT, check=True
    )
    return "/root/sources"


@pytest.mark.parametrize("name", ["enforce", "unit"])
def test_autopkgtest(debian: Debian, sources: str, name: str) -> None:
    """The test ends well beside the installed package."""
    words = f"cd {sources} && AUTOPKGTEST_TMP=$(mktemp -d) packaging/debian/tests/{name} 2>&1"
    print(debian.run("sh", "-c", words, timeout=1200)[-3000:])
