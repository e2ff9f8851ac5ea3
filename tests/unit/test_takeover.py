"""What `migrate` reads and writes: the settings of crowdsec-firewall-bouncer become files of ours."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from fwbouncer.commands import migrate
from fwbouncer.config import takeover
from fwbouncer.config.load import load
from fwbouncer.config.schema import Mode
from fwbouncer.errors import ConfigError
from fwbouncer.host import moving

if TYPE_CHECKING:
    from pathlib import Path

THEIRS = """
mode: ${BACKEND}
pid_dir: /var/run/
daemonize: true
log_mode: file
log_dir: /var/log/
log_max_backups: 5
api_url: http://127.0.0.1:8080/
api_key: ${API_KEY}
deny_log: true
deny_log_prefix: "dropped: "
iptables_chains:
  - INPUT
  - DOCKER-USER
nftables:
  ipv4:
    set-only: false
    table: theirs
"""


def put(folder: Path, overlay: str = "", text: str = THEIRS) -> Path:
    """Write their file and its overlay, as their package does."""
    path = folder / "theirs" / "bouncer.yaml"
    path.parent.mkdir(exist_ok=True)
    path.write_text(text)
    if overlay:
        path.with_name("bouncer.yaml.local").write_text(overlay)
        path.with_name("bouncer.yaml.local").chmod(0o600)
    path.chmod(0o600)
    return path


def test_what_is_written_means_the_same(tmp_path: Path) -> None:
    """Our files, read as the service reads them, say what theirs said, overlay and variables included."""
    source = put(tmp_path, "api_key: abcdef0123\nnftables_hooks: [input]\n")
    target = tmp_path / "ours" / "fwbouncer.yaml"
    plan = moving.plan(source, target, {"BACKEND": "nftables"})
    assert [line for line in moving.write(plan) if "wrote" in line]
    ours, theirs = load(target, {}), load(source, {"BACKEND": "nftables"})
    assert (ours.mode, ours.lapi.key, ours.lapi.urls) == (Mode.NFTABLES, "abcdef0123", theirs.lapi.urls)
    assert (ours.nft, ours.hooks, ours.deny, ours.iptables) == (
        theirs.nft, theirs.hooks, theirs.deny, theirs.iptables,
    )  # fmt: skip
    assert ours.log.max_files == theirs.log.max_files
    assert str(ours.log.file).startswith("/var/log/fwbouncer/")


def test_the_key_is_in_a_file_of_its_own(tmp_path: Path) -> None:
    """The key is never shown and never in the settings; its file can't be read by others."""
    plan = moving.plan(
        put(tmp_path, "api_key: abcdef0123\n"), tmp_path / "fwbouncer.yaml", {"BACKEND": "nftables"}
    )
    list(moving.write(plan))
    assert "abcdef0123" not in plan.text + str(plan.told) + str(plan.notes)
    key = tmp_path / "api.key"
    assert key.read_text() == "abcdef0123\n"
    assert key.stat().st_mode & 0o007 == 0


def test_another_key_is_not_overwritten(tmp_path: Path) -> None:
    """Where we have a key of our own already, theirs goes to another file."""
    (tmp_path / "api.key").write_text("our-own\n")
    plan = moving.plan(
        put(tmp_path, "api_key: abcdef0123\n"), tmp_path / "fwbouncer.yaml", {"BACKEND": "nftables"}
    )
    list(moving.write(plan))
    assert (tmp_path / "api.key").read_text() == "our-own\n"
    assert load(tmp_path / "fwbouncer.yaml", {}).lapi.key == "abcdef0123"


def test_what_our_file_says_of_the_lapi_gives_way(tmp_path: Path) -> None:
    """Beside our own file, which names another key and several addresses, theirs alone holds."""
    target = tmp_path / "fwbouncer.yaml"
    target.write_text(
        "mode: nftables\napi_key: mine\napi_urls: [http://one:1/, http://two:2/]\nresync_interval: 2h\n"
    )
    plan = moving.plan(put(tmp_path, "api_key: abcdef0123\n"), target, {"BACKEND": "nftables"})
    list(moving.write(plan))
    made = load(target, {})
    assert (made.lapi.key, made.lapi.urls) == ("abcdef0123", ("http://127.0.0.1:8080/",))
    assert made.lapi.resync_interval == 7200
    assert target.read_text().startswith("mode: nftables")  # which a package may own


def test_the_former_overlay_is_kept(tmp_path: Path) -> None:
    """An overlay that was there is kept under another name; a second run changes nothing."""
    target = tmp_path / "fwbouncer.yaml"
    target.write_text("mode: dry-run\n")
    overlay = tmp_path / "fwbouncer.yaml.local"
    overlay.write_text("update_frequency: 1s\n")
    source = put(tmp_path, "api_key: abcdef0123\n")
    first = list(moving.write(moving.plan(source, target, {"BACKEND": "nftables"})))
    assert any("before-migrate" in line for line in first)
    assert (tmp_path / "fwbouncer.yaml.local.before-migrate").read_text() == "update_frequency: 1s\n"
    written = overlay.read_text()
    assert list(moving.write(moving.plan(source, target, {"BACKEND": "nftables"}))) == []
    assert overlay.read_text() == written


def test_what_cannot_run_is_refused(tmp_path: Path) -> None:
    """A file of theirs with a mistake is named with its line, and nothing is written."""
    source = put(tmp_path, "api_key: abcdef0123\ndeny_log: perhaps\n")
    with pytest.raises(ConfigError, match=r"bouncer\.yaml\.local:2: deny_log"):
        moving.plan(source, tmp_path / "fwbouncer.yaml", {"BACKEND": "nftables"})
    assert not (tmp_path / "fwbouncer.yaml").exists()


def test_a_mix_that_cannot_run_changes_nothing(tmp_path: Path) -> None:
    """When our own file has a mistake, the overlay is as it was before."""
    target = tmp_path / "fwbouncer.yaml"
    target.write_text("mode: nftables\nnever_block: [nonsense/99]\n")
    plan = moving.plan(put(tmp_path, "api_key: abcdef0123\n"), target, {"BACKEND": "nftables"})
    with pytest.raises(ConfigError, match="never_block"):
        list(moving.write(plan))
    assert not (tmp_path / "fwbouncer.yaml.local").exists()


def test_its_own_file_is_no_source(tmp_path: Path) -> None:
    """Who names our own file as theirs is told so."""
    from fwbouncer.cli import make_parser  # noqa: PLC0415 - this test alone needs the command line

    path = tmp_path / "fwbouncer.yaml"
    path.touch()
    options = make_parser().parse_args(["migrate", "-c", str(path), "--from", str(path)])
    with pytest.raises(ConfigError, match="own file"):
        migrate.COMMAND.run(options)


def test_odd_values_survive(tmp_path: Path) -> None:
    """Values that YAML could take for something else are read back as they were."""
    for value in ('"yes: "', '"a # b"', '"  "', "'quo\"te '", '"{x}"', '"1e5"'):
        target = tmp_path / "ours" / "fwbouncer.yaml"
        source = put(tmp_path, f"api_key: abcdef0123\ndeny_log_prefix: {value}\n")
        list(moving.write(moving.plan(source, target, {"BACKEND": "nftables"})))
        assert load(target, {}).deny == load(source, {"BACKEND": "nftables"}).deny
        target.unlink()


def test_text_of_nothing() -> None:
    """A setting that is taken away is written as a key without a value."""
    assert takeover.text({"mode": "nftables", "api_key": None}, ["x"]) == "# x\nmode: nftables\napi_key:\n"
