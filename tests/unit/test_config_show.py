"""What `-T` prints: the merged configuration, and no secret."""

from __future__ import annotations

from typing import TYPE_CHECKING

import yaml

from fwbouncer.config.show import merged

if TYPE_CHECKING:
    from pathlib import Path


def test_merged_and_masked(tmp_path: Path) -> None:
    """What both files say together comes out as YAML, with its origin, and the key as its length."""
    path = tmp_path / "c.yaml"
    path.write_text(
        "mode: $M\napi_key: 0123456789abcdef\nnftables: {ipv4: {table: a}}\norigins: [x, 'y z']\n"
    )
    (tmp_path / "c.yaml.local").write_text("nftables: {ipv4: {priority: -5}}\ndeny_log_prefix: 'é: '\n")
    text, problems = merged(path, {"M": "dry-run"})
    assert problems == ()
    assert yaml.safe_load(text) == {
        "mode": "dry-run",
        "api_key": "(hidden, 16 characters)",
        "nftables": {"ipv4": {"table": "a", "priority": -5}},
        "origins": ["x", "y z"],
        "deny_log_prefix": "é: ",
    }
    assert f"priority: -5  # {path}.local:1\n" in text


def test_wrong_files_show_no_secret(tmp_path: Path) -> None:
    """A password in a URL is hidden, and the value of a misspelt key isn't shown at all."""
    path = tmp_path / "c.yaml"
    path.write_text("api_url: http://me:SECRET/99@h/\napi_kye: SECRET99\nmode: x\n")
    text, problems = merged(path, {})
    assert "SECRET" not in text
    assert "http://(hidden)@h/" in text
    assert [f"{path}:2: api_kye: unknown key; the nearest known key is api_key"] == list(problems)
