"""Run commands, in the machine's own network or inside a namespace."""

from __future__ import annotations

import subprocess


def run(*words: str, check: bool = True, text: str | None = None, timeout: float = 60) -> str:
    """Return what a command printed; a failure shows both of its outputs."""
    done = subprocess.run(words, input=text, capture_output=True, text=True, timeout=timeout, check=False)
    if check and done.returncode != 0:
        raise AssertionError(f"{' '.join(words)} ended with {done.returncode}:\n{done.stdout}{done.stderr}")
    return done.stdout
