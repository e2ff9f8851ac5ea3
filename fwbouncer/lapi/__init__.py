"""What CrowdSec says."""

import sys
from types import ModuleType


def _no_command_line() -> None:
    """Stand in for httpx's own command line.

    It would bring rich, click and pygments along, which take a third of the time that the program needs to start.
    httpx takes whatever module of this name it finds.
    """


_stand_in = ModuleType("httpx._main")
_stand_in.__dict__["main"] = _no_command_line
sys.modules.setdefault("httpx._main", _stand_in)
