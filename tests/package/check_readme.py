"""README's installation, typed line by line on a fresh Debian; and what a maintainer asks of a package."""

from __future__ import annotations

import re
import subprocess
from typing import TYPE_CHECKING

import pytest

from tests.lab.crowdsec import CHECKOUT
from tests.package.conftest import BANNED, SUITE, Debian

if TYPE_CHECKING:
    from tests.lab.packets import Probe

HOME = "/home/somebody/fwbouncer"


# What the two releases of lintian can't agree about, both of them remarks: the older one wants an init script beside
# every unit, and takes a newer policy than its own for a mistake; the newer one takes an older one for a remark.
DISAGREED = {
    "bookworm": "I: fwbouncer: package-supports-alternative-init-but-no-init.d-script ",
    "trixie": "I: fwbouncer source: out-of-date-standards-version ",
}


def typed() -> list[str]:
    """Return the lines of the chapter's blocks of commands, without their comments."""
    chapter = (
        (CHECKOUT / "README.md").read_text().split("\n## Install it on a mail host\n")[1].split("\n## ")[0]
    )
    blocks = re.findall(r"```sh\n(.*?)```", chapter, re.DOTALL)
    lines = [line.split(" #")[0].strip() for block in blocks[:2] for line in block.splitlines()]
    return [line for line in lines if line]


@pytest.fixture(scope="module")
def checkout(debian: Debian) -> Debian:
    """Give the machine a checkout, and an administrator who may use sudo and answers apt with yes."""
    debian.apt("install", "sudo", "git")
    debian.run("useradd", "-m", "somebody")
    debian.run("sh", "-c", "echo 'somebody ALL=(ALL) NOPASSWD: ALL' >/etc/sudoers.d/somebody")
    debian.run("sh", "-c", "echo 'APT::Get::Assume-Yes true;' >/etc/apt/apt.conf.d/90yes")
    debian.keep_to_itself()
    pack = "git -c safe.directory='*' ls-files -z --cached --others --exclude-standard | tar --null -T - -c"
    files = subprocess.run(("sh", "-c", pack), cwd=CHECKOUT, capture_output=True, check=True).stdout
    archive = debian.root / "root/checkout.tar"
    archive.write_bytes(files)
    as_cloned = f"mkdir {HOME} && cd {HOME} && tar -xf - && git init -q && git add -A && git commit -qm all"
    names = "git config --global user.name S && git config --global user.email s@example.org"
    line = f"chown -R somebody /home/somebody; runuser -u somebody -- sh -c '{names}; {as_cloned}' </root/checkout.tar"
    debian.run("sh", "-c", f"cd /home/somebody; export HOME=/home/somebody; {line}")
    return debian


def test_what_readme_says_ends_with_a_dropped_packet(checkout: Debian, probe: Probe) -> None:
    """Each line works, by somebody who is not root; after the ban no packet arrives, and after its end they do."""
    for line in typed():
        print("$", line)
        words = (
            "runuser",
            "-u",
            "somebody",
            "--",
            "env",
            "DEBIAN_FRONTEND=noninteractive",
            "HOME=/home/somebody",
        )
        print(checkout.run(*words, "bash", "-c", f"cd {HOME} && {line} </dev/null 2>&1", timeout=900)[-1500:])
        if "decisions add" in line:
            probe.wait_until(BANNED, passes=False, within=30)
        elif "decisions delete" in line:
            probe.wait_until(BANNED, passes=True, within=30)
        else:
            assert probe.passes(BANNED)


def test_a_build_elsewhere_gives_the_same_package(checkout: Debian) -> None:
    """Another folder, user, umask, time zone, language and times of the files: the same bytes."""
    elsewhere = "/var/tmp/somewhere else/x"
    as_other = f"mkdir -p '{elsewhere}' && cp -r {HOME}/. '{elsewhere}' && cd '{elsewhere}' && rm -rf dist"
    touched = "find . -type f -exec touch -d 2001-02-03 {} +"
    built = "umask 077; TZ=Asia/Tokyo LANG=C packaging/lib/make-deb.sh"
    checkout.run("sh", "-c", f"{as_other} && {touched} && {built}", timeout=900)
    for pattern in ("*.deb", "*.dsc", "*.orig.tar.gz", "*.debian.tar.xz"):
        checkout.run("sh", "-c", f"cmp {HOME}/dist/{pattern} '{elsewhere}'/dist/{pattern}")


def test_lintian_has_nothing_to_say(checkout: Debian) -> None:
    """Lintian of this release finds no error, no warning, nothing to mention and nothing pedantic."""
    checkout.apt("install", "lintian")
    words = f"runuser -u somebody -- lintian --display-info --pedantic {HOME}/dist/*.changes 2>&1"
    said = checkout.run("sh", "-c", words, check=False, timeout=300)
    assert [line for line in said.splitlines() if not line.startswith(("N:", DISAGREED[SUITE]))] == []
