"""What packages and other ways of installation are made of: all there, and of one version."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path

import pytest

from fwbouncer import __version__
from fwbouncer.cli import main
from fwbouncer.errors import FwbouncerError
from fwbouncer.host import installed, service_files

CHECKOUT = Path(__file__).parents[2]
DEBIAN = CHECKOUT / "packaging/debian"
UNIT = (CHECKOUT / "systemd/fwbouncer.service").read_text()


def test_the_package_is_of_this_version() -> None:
    """The package's changelog begins with the version that the program tells."""
    first = (DEBIAN / "changelog").read_text().splitlines()[0]
    assert re.match(rf"fwbouncer \({re.escape(__version__)}-\d+\) ", first)
    readme = (CHECKOUT / "README.md").read_text()
    assert set(re.findall(r"fwbouncer[_-](\d[\d.]*\d)-", readme)) <= {__version__}


def test_the_package_installs_files_that_are_there() -> None:
    """Each file that the package's lists name is in the sources, or is made by its rules."""
    for name in ("fwbouncer.install", "fwbouncer.manpages", "fwbouncer.bash-completion"):
        for line in (DEBIAN / name).read_text().splitlines():
            source = line.split()[0]
            assert (CHECKOUT / source).exists() or source.startswith("build/"), line


def test_the_package_needs_what_the_program_needs() -> None:
    """What the tests run on is what the package is built and tested with."""
    words = ". packaging/lib/common.sh && echo $RUN_PACKAGES"
    listed = subprocess.run(
        ("sh", "-c", words), cwd=CHECKOUT, capture_output=True, text=True, check=True
    ).stdout
    control = (DEBIAN / "control").read_text()
    assert [name for name in listed.split() if name != "python3" and name not in control] == []


def test_what_install_service_installs_is_found() -> None:
    """The files that come along with a wheel are those that the commands ask for."""
    project = (CHECKOUT / "pyproject.toml").read_text()
    for name in (
        "fwbouncer.service",
        "fwbouncer.sysusers",
        "fwbouncer-iptables.conf",
        "fwbouncer.yaml",
        "register",
    ):
        found = installed.shipped(name)
        assert found is not None
        assert f'"{found.relative_to(CHECKOUT)}"' in project


def test_the_unit_runs_the_program_where_it_is() -> None:
    """The unit for another place differs in the program's path alone."""
    made = service_files.unit_text(UNIT, Path("/opt/x/bin/fwbouncer"))
    assert "\nExecStart=/opt/x/bin/fwbouncer run -c /etc/fwbouncer/fwbouncer.yaml\n" in made
    changed = set(made.splitlines()) ^ set(UNIT.splitlines())
    assert {line.partition("=")[0] for line in changed} == {"ExecStart", "Documentation"}


@pytest.mark.parametrize("folder", ["/opt/a b", "/opt/100%", "/opt/$x", '/opt/"q"', "/opt/a\nExecStartPre=x"])
def test_a_path_that_systemd_would_not_take_is_refused(folder: str) -> None:
    """A path with what systemd reads in its own way makes no unit."""
    with pytest.raises(FwbouncerError, match="systemd would not take"):
        service_files.unit_text(UNIT, Path(folder, "bin/fwbouncer"))


def test_a_file_is_written_once(tmp_path: Path) -> None:
    """What holds the same already is left alone; what differs is replaced whole, with its mode."""
    path = tmp_path / "new" / "file"
    assert installed.put(path, "one\n")
    before = path.stat().st_mtime_ns
    assert not installed.put(path, "one\n")
    assert path.stat().st_mtime_ns == before
    assert installed.put(path, "two\n", 0o644)
    assert (path.read_text(), path.stat().st_mode & 0o777) == ("two\n", 0o644)
    assert [child.name for child in path.parent.iterdir()] == ["file"]


def test_who_is_not_root_is_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """`install-service` and `migrate` say that they are root's, and touch nothing."""
    source = tmp_path / "theirs.yaml"
    source.write_text("mode: nftables\napi_url: http://127.0.0.1:8080/\napi_key: abc\n")
    source.chmod(0o600)
    monkeypatch.setattr("os.geteuid", lambda: 1000)
    for words in (["install-service"], ["migrate", "--from", str(source), "-c", str(tmp_path / "ours.yaml")]):
        assert main(words) == 1
        assert "root" in capsys.readouterr().err
    assert [path.name for path in tmp_path.iterdir()] == ["theirs.yaml"]
