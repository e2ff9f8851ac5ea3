"""The block `on_ban`: whose sessions are cut, by what else the configuration says."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from fwbouncer.config.load import load
from fwbouncer.core.model import Family

if TYPE_CHECKING:
    from pathlib import Path

    from fwbouncer.config.schema import Config

REST = "api_url: http://127.0.0.1:8080/\napi_key: k\n"
ON, OFF = "on_ban: {close_sessions: true}\n", "on_ban: {close_sessions: false}\n"
BOTH = {Family.V4, Family.V6}


def config(tmp_path: Path, text: str) -> Config:
    """Load a file of this text."""
    path = tmp_path / "fwbouncer.yaml"
    path.write_text(text + REST)
    path.chmod(0o600)
    return load(path, {})


@pytest.mark.parametrize("mode", ["nftables", "iptables"])
def test_on_unless_it_is_turned_off(tmp_path: Path, mode: str) -> None:
    """Where the rules are ours, sessions are cut unless the file says not to."""
    assert config(tmp_path, f"mode: {mode}\n").close_sessions == BOTH
    assert config(tmp_path, f"mode: {mode}\n{OFF}").close_sessions == set()


@pytest.mark.parametrize("mode", ["set-only", "ipset"])
def test_the_administrators_rules(tmp_path: Path, mode: str) -> None:
    """Where the rules are the administrator's, sessions are cut only if the file says so."""
    assert config(tmp_path, f"mode: {mode}\n").close_sessions == set()
    assert config(tmp_path, f"mode: {mode}\n{ON}").close_sessions == BOTH


def test_one_family_of_each_kind(tmp_path: Path) -> None:
    """With the administrator's set for one family alone, the other one's sessions are cut."""
    mixed = "mode: nftables\nnftables: {ipv4: {set-only: true}}\n"
    assert config(tmp_path, mixed).close_sessions == {Family.V6}
    assert config(tmp_path, mixed + ON).close_sessions == BOTH


def test_a_dry_run(tmp_path: Path) -> None:
    """A dry run cuts nothing, whatever the file says."""
    assert config(tmp_path, f"mode: dry-run\n{ON}").close_sessions == set()


@pytest.mark.parametrize(
    ("text", "why"),
    [
        (
            "mode: iptables\niptables_chains: [INPUT]\ndeny_action: LOG\n",
            "deny_action LOG lets the banned pass",
        ),
        ("mode: nftables\nnftables_hooks: [forward]\n", "this host's own ports stay open to the banned"),
    ],
)
def test_where_a_ban_shuts_nobody_out(tmp_path: Path, text: str, why: str) -> None:
    """What doesn't block sessions doesn't cut them either; who asked for it by name is told."""
    quiet = config(tmp_path, text)
    assert (quiet.close_sessions, quiet.warnings) == (set(), ())
    asked = config(tmp_path, text + ON)
    assert asked.close_sessions == set()
    (warning,) = asked.warnings
    assert "on_ban.close_sessions" in warning
    assert why in warning
