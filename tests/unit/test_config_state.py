"""Where the bans are kept: what is written, what systemd says, or nowhere."""

from __future__ import annotations

from pathlib import Path

import pytest

from fwbouncer.config.load import load
from fwbouncer.errors import ConfigError

BASE = "mode: nftables\napi_url: http://127.0.0.1:8080/\napi_key: abc\n"


def _state_file(folder: Path, line: str, **environ: str) -> Path | None:
    path = folder / "c.yaml"
    path.write_text(BASE + line)
    path.chmod(0o600)
    return load(path, environ).state_file


def test_by_itself(tmp_path: Path) -> None:
    """Without a word about it, and without a service's folder, nothing is kept."""
    assert _state_file(tmp_path, "") is None


def test_systemd_names_the_folder(tmp_path: Path) -> None:
    """Under systemd it is in the service's own folder, the first where there are several."""
    assert _state_file(tmp_path, "", STATE_DIRECTORY="/var/lib/private/x:/y") == Path(
        "/var/lib/private/x/state"
    )


def test_the_file_that_is_written_down_wins(tmp_path: Path) -> None:
    """What the administrator says counts more than what systemd says."""
    written = _state_file(tmp_path, "state_file: /srv/bans", STATE_DIRECTORY="/var/lib/x")
    assert written == Path("/srv/bans")


@pytest.mark.parametrize("word", ["none", "None", '""', "''"])
def test_nowhere(tmp_path: Path, word: str) -> None:
    """`none` and an empty text keep nothing."""
    assert _state_file(tmp_path, f"state_file: {word}", STATE_DIRECTORY="/var/lib/x") is None


@pytest.mark.parametrize("word", ["state", "./state", "/"])
def test_nonsense(tmp_path: Path, word: str) -> None:
    """A path that depends on where one stands, or that names no file, is a mistake."""
    with pytest.raises(ConfigError, match=r"4: state_file: .*write an absolute one, or none"):
        _state_file(tmp_path, f"state_file: {word}")
