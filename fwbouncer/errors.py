"""Every error that fwbouncer raises itself, sorted by what the caller does next.

FwbouncerError
├── ConfigError          the administrator changes the configuration       (exit code 2)
├── ControlError         no daemon answers on the control socket           (exit code 1)
├── LapiError            the LAPI gave no usable page: keep the bans, ask for a snapshot later
│   ├── LapiUnreachable      no answer at all: try again
│   ├── LapiRefused          403: the key is wrong or was removed          (exit code 3 at start)
│   └── LapiBadAnswer        an answer that is no page
└── KernelError          the kernel did not take a change: dump it, try again later
    ├── KernelBusy           it was interrupted or overrun: dump it, try again at once
    ├── SetFull              a set of the administrator's has no room left: hold bans back
    ├── NotPermitted         CAP_NET_ADMIN is missing, or the table has another owner
    └── NoSuchObject         somebody removed an object that the change needs
"""


class FwbouncerError(Exception):
    """Base of all errors here; its text is written for the administrator."""


class ConfigError(FwbouncerError):
    """The configuration can't be used. `problems` holds one line for each mistake found."""

    def __init__(self, *problems: str) -> None:
        super().__init__("\n".join(problems))
        self.problems = problems


class ControlError(FwbouncerError):
    """The running daemon can't be asked."""


class LapiError(FwbouncerError):
    """A poll of the LAPI did not end in a parsed page."""


class LapiUnreachable(LapiError):
    """No connection, or it broke or timed out before the answer was complete."""


class LapiRefused(LapiError):
    """The LAPI answered 403: it doesn't know this key or certificate."""


class LapiBadAnswer(LapiError):
    """The LAPI answered with something that is not a decision page."""


class KernelError(FwbouncerError):
    """The kernel refused a change; nothing of it was done."""


class KernelBusy(KernelError):
    """ENOBUFS, EINTR or a ruleset that changed meanwhile: the same change can be tried at once."""


class SetFull(KernelError):
    """ENFILE: the named set has a fixed size, and it is reached."""

    def __init__(self, set_name: str) -> None:
        super().__init__(f"set {set_name} is full")
        self.set_name = set_name


class NotPermitted(KernelError):
    """EPERM: no CAP_NET_ADMIN here, or the table belongs to another socket."""


class NoSuchObject(KernelError):
    """ENOENT: a table, chain or set that the change builds on is gone."""
