"""What everything is called, so that the table, the targets and the plot find it."""

from __future__ import annotations

MODES = ("nftables", "iptables")
OURS, DEBIANS, GIVEN, LINE = "fwbouncer", "Debian's incumbent", "the incumbent given", "curl | jq | nft"

COLD = "cold start"
SECONDS, CPU_SECONDS, PEAK = "seconds", "CPU seconds", "MB at peak"
FLOOR = "kernel alone"
UNAVOIDABLE = "unavoidable"  # interpreter and imports, LAPI, json.loads, kernel
PIECES = ("interpreter and imports", "the LAPI's answer", "json.loads", FLOOR)

IDLE = "idle"
CPU_A_POLL, WAKEUPS, REST, HIGHEST = (
    "CPU ms a poll",
    "wake-ups a poll",
    "MB at rest (PSS)",
    "MB at peak (resident)",
)

CHANGE = "one change"
ADDED, RENEWED, DELETED = "added", "renewed", "deleted"
WIDE_ADDED, WIDE_DELETED = "ms, a range over others added", "ms, a range over others deleted"

WARM = "warm start"
ADOPTED, REPAIRED = "seconds until a new ban, after a crash", "seconds until all is back, after a flush"

PACKETS = "packets"
ACCEPTED, FORWARDED, FLOOD = "accepted", "forwarded", "flood"
OPENINGS = ("TCP SYN", "ICMP echo")  # the kinds of packet that begin a connection
TRACKED, UNTRACKED = "tracked", "not tracked"
LEFT = "tracked connections left by a flood"


def who(whose: str, mode: str) -> str:
    """Return what a contender is called in one of its modes."""
    return f"{whose} {mode}"


def changed(count: int, deed: str) -> str:
    """Return what a change is called: so many added, renewed or deleted."""
    return f"ms, {count:,} {deed}"


def paid(what: str, kind: str, version: int, words: str) -> str:
    """Return what the cost of a packet is called: `ns, flood, TCP SYN, IPv4, 1 origin, tracked`."""
    return f"ns, {what}, {kind}, IPv{version}, {words}"
