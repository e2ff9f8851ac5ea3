"""Completion: bash, zsh and fish offer what the command line takes, asked as a person's shell asks."""

from __future__ import annotations

import os
import pty
import re
import select
import subprocess
import time
from typing import TYPE_CHECKING

import pytest

from fwbouncer.commands import COMMANDS
from tests.lab.documented import written

if TYPE_CHECKING:
    from pathlib import Path

EVERY = {command.name for command in COMMANDS}


@pytest.fixture(scope="module")
def scripts(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Write the scripts."""
    return written("completion", tmp_path_factory.mktemp("completion"))


def bash(scripts: Path, *words: str) -> set[str]:
    """Press the tabulator in bash behind these words, of which the last is begun."""
    script = """
        . "$1/fwbouncer.bash"
        shift
        COMP_WORDS=("$@") COMP_CWORD=$(($# - 1))
        how=($(complete -p fwbouncer))
        "${how[2]}"
        printf '%s\\n' "${COMPREPLY[@]}"
    """
    call = ("bash", "--norc", "-uc", script, "bash", str(scripts), *words)
    done = subprocess.run(call, capture_output=True, text=True, timeout=30, check=True, cwd=scripts)
    assert done.stderr == ""
    return set(done.stdout.split())


def test_bash(scripts: Path) -> None:
    """Commands, their options, files, and usual times."""
    assert bash(scripts, "fwbouncer", "") >= EVERY
    assert bash(scripts, "fwbouncer", "st") == {"status"}
    assert bash(scripts, "fwbouncer", "status", "--j") == {"--json"}
    assert bash(scripts, "fwbouncer", "-c", "/etc/x.yaml", "doct") == {"doctor"}
    assert bash(scripts, "fwbouncer", "-v", "unblock", "--") >= {"--for", "--list", "--cancel", "--json"}
    assert "--for" not in bash(scripts, "fwbouncer", "status", "--")
    assert bash(scripts, "fwbouncer", "-c", "fwb") == {"fwbouncer.bash", "fwbouncer.fish"}
    assert "1h" in bash(scripts, "fwbouncer", "unblock", "192.0.2.1", "--for", "")
    assert bash(scripts, "fwbouncer", "unblock", "--cancel", "") == set()
    assert bash(scripts, "fwbouncer", "no-such-command", "") == set()


def test_bash_as_it_is_loaded(scripts: Path, tmp_path: Path) -> None:
    """bash-completion finds the script by the command's name, and an interactive bash completes with it."""
    folder = tmp_path / "bash-completion" / "completions"
    folder.mkdir(parents=True)
    (folder / "fwbouncer").write_text((scripts / "fwbouncer.bash").read_text())
    script = """
        . /usr/share/bash-completion/bash_completion
        _completion_loader fwbouncer
        complete -p fwbouncer
    """
    environment = {**os.environ, "BASH_COMPLETION_USER_DIR": str(tmp_path / "bash-completion")}
    call = ("bash", "--norc", "-c", script)
    done = subprocess.run(call, capture_output=True, text=True, timeout=30, check=False, env=environment)
    assert "-F _fwbouncer fwbouncer" in done.stdout, done.stderr


def fish(scripts: Path, line: str) -> set[str]:
    """Ask fish what may follow a line."""
    call = ("fish", "--no-config", "-c", f"source {scripts}/fwbouncer.fish; complete -C '{line}'")
    done = subprocess.run(call, capture_output=True, text=True, timeout=60, check=True, cwd=scripts)
    assert done.stderr == ""
    return {offer.partition("\t")[0] for offer in done.stdout.splitlines()}


def test_fish(scripts: Path) -> None:
    """The same in fish."""
    assert fish(scripts, "fwbouncer ") >= EVERY
    assert fish(scripts, "fwbouncer status --j") == {"--json"}
    assert fish(scripts, "fwbouncer unblock --") >= {"--for", "--list", "--cancel", "--config"}
    assert "--for" not in fish(scripts, "fwbouncer status --")
    assert "1h" in fish(scripts, "fwbouncer unblock --for ")


def zsh(scripts: Path, line: str, expected: str) -> str:
    """Type a line and the tabulator into a zsh on a terminal; return the screen once it shows what is expected."""
    setup = (
        f"fpath=({scripts} $fpath); autoload -Uz compinit; compinit -u -D; bindkey '^I' list-choices\n"
        "print RE''ADY\n"
    )
    pid, terminal = pty.fork()
    if pid == 0:
        os.execvp("zsh", ["zsh", "-f", "-i"])
    try:
        os.write(terminal, setup.encode())
        screen = _until(terminal, "READY")
        os.write(terminal, f"{line}\t".encode())
        return screen + _until(terminal, expected)
    finally:
        os.kill(pid, 9)
        os.waitpid(pid, 0)
        os.close(terminal)


def _until(terminal: int, expected: str) -> str:
    screen, deadline = "", time.monotonic() + 30
    while expected not in screen:
        assert time.monotonic() < deadline, screen
        if select.select([terminal], [], [], 0.5)[0]:
            screen += re.sub(r"\x1b\[[0-9;?]*[a-zA-Z]", "", os.read(terminal, 4096).decode(errors="replace"))
    return screen


def test_zsh(scripts: Path) -> None:
    """The same in zsh, where each offer stands beside its explanation."""
    assert "status" in zsh(scripts, "fwbouncer ", "Show what the running daemon does")
    assert "--list" in zsh(scripts, "fwbouncer unblock --", "list who is unblocked")
