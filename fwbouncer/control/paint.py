"""Colours for terminals: the few codes that every terminal knows, and nothing that takes time to import."""

from __future__ import annotations

import os
import sys
from typing import TextIO

_CODES = {"bold": 1, "dim": 2, "red": 31, "green": 32, "yellow": 33, "cyan": 36}


def wanted(stream: TextIO | None = None) -> bool:
    """Tell whether to colour what goes to a stream: on terminals, unless NO_COLOR is set (https://no-color.org)."""
    stream = stream or sys.stdout
    return stream.isatty() and not os.environ.get("NO_COLOR") and os.environ.get("TERM") != "dumb"


def paint(text: str, style: str) -> str:
    """Put a text into a style; one without a style stays as it is."""
    return f"\x1b[{_CODES[style]}m{text}\x1b[0m" if style and text else text
