"""Steps of others on the host, and of its administrator: what is done to the kernel and to the program."""

from __future__ import annotations

import signal
import threading
import time
from ipaddress import ip_network
from typing import TYPE_CHECKING

from fwbouncer.control.client import ask
from fwbouncer.errors import ControlError
from tests.faults.addresses import HOSTS, RANGES
from tests.faults.judge import Broken
from tests.faults.spares import Unblocked

if TYPE_CHECKING:
    from tests.faults.world import World


# What is done to the kernel.


def vandalise(world: World) -> str | None:
    """Another program changes our tables."""
    if world.churning is not None and world.churning.is_alive():
        return None
    with world.trouble():
        what, taken = world.others.act()
    return what if taken else f"refused: {what}"


def vandalise_often(world: World) -> str | None:
    """Another program fights for our tables."""
    if world.churning is not None and world.churning.is_alive():
        return None
    acts = []
    for _ in range(world.dice.randrange(3, 12)):
        with world.trouble():
            acts.append(world.others.act()[0])
    return " | ".join(act.partition(":")[0] for act in acts)


def flush(world: World) -> str | None:
    """The most usual of all accidents."""
    with world.trouble():
        world.others.flush()
    return ""


def churn(world: World) -> str | None:
    """Another program changes its own table, fast, for a while."""
    if world.churning is not None and world.churning.is_alive():
        return None
    seconds = world.dice.uniform(0.1, 0.8)
    world.churning = threading.Thread(target=world.others.churn, args=(seconds,))
    world.churning.start()
    return f"for {seconds:.1f} s"


# What is done to the program.


def terminate(world: World) -> str | None:
    """It is stopped, and started again."""
    return _end(world, signal.SIGTERM)


def kill(world: World) -> str | None:
    """It crashes, and is started again."""
    return _end(world, signal.SIGKILL)


def _end(world: World, number: signal.Signals) -> str | None:
    if not (world.program.awake if number is signal.SIGTERM else world.program.up):
        return None
    world.end(number)
    seconds = world.dice.choice((0.0, world.dice.uniform(0, 1)))
    world.later(seconds, world.program.start)
    return f"for {seconds:.1f} s"


def suspend(world: World) -> str | None:
    """It does not get to run for a while."""
    if not world.program.up or world.program.suspended:
        return None
    seconds = world.dice.uniform(0.05, 1.5)
    world.program.suspend()
    world.later(seconds, world.program.resume)
    return f"for {seconds:.1f} s"


def reboot(world: World) -> str | None:
    """The machine goes down without a word, and comes up with an empty kernel."""
    if not world.program.up:
        return None
    world.end(signal.SIGKILL)
    world.empty_kernel()
    seconds = world.dice.uniform(0, 0.5)
    world.later(seconds, world.program.start)
    return f"for {seconds:.1f} s"


def reload(world: World) -> str | None:
    """Its configuration is changed and read again."""
    if not world.program.awake:
        return None
    dice, changes = world.dice, world.setting.changes
    some = {key: dice.choice(changes[key]) for key in dice.sample(list(changes), min(2, len(changes)))}
    world.program.configure(**some)
    world.program.reload()
    return str(some)


def reload_nonsense(world: World) -> str | None:
    """Its configuration is spoilt, and refused."""
    if not world.program.awake:
        return None
    world.program.write_configuration("mode: nftabels\n")
    world.program.reload()
    world.later(0.5, world.program.configure)
    return ""


# Who is never blocked.


def list_never_block(world: World) -> str | None:
    """The administrator lists others than before as never to be blocked."""
    if not world.program.awake:
        return None
    some = world.dice.sample((*HOSTS, *RANGES), world.dice.choice((0, 1, 1, 2)))
    world.program.configure(never_block=some)
    world.note("relisted", frozenset(map(ip_network, some)))
    world.program.reload()
    return str(some)


def unblock(world: World) -> str | None:
    """Somebody is unblocked by command."""
    whom = world.dice.choice((*HOSTS, *RANGES))
    if not world.program.awake or whom in world.unblocked:
        return None
    seconds, asked = world.dice.uniform(0.5, 8), time.monotonic()
    answer = _command(world, "unblock", address=whom, seconds=seconds)
    now = time.monotonic()
    # Without a yes nobody can rely on it, but it may come all the same.
    until, kept = (asked, False) if answer is None else (asked + seconds, bool(answer["survives_restart"]))
    one = Unblocked(ip_network(whom), asked, now, until, now + seconds, kept)
    world.journal.note(asked, "unblocked", one)
    world.unblocked[whom] = one.at_most
    world.journal.slowest("unblock", now - asked)
    return f"{whom} for {seconds:.1f} s"


def cancel_unblock(world: World) -> str | None:
    """And is not unblocked any more."""
    now = time.monotonic()
    still = [whom for whom, until in world.unblocked.items() if until > now + 0.5]
    if not world.program.awake or not still:
        return None
    whom = world.dice.choice(still)
    asked = time.monotonic()
    if _command(world, "unblock", cancel=whom) is None:
        return f"{whom}: no answer"
    world.note("cancelled", (ip_network(whom), asked, time.monotonic()))
    return whom


def _command(world: World, command: str, **arguments: object) -> dict[str, object] | None:
    """Ask the program; None where it says no, and has a good reason."""
    try:
        return ask(world.program.bouncer.config.with_name("control.sock"), command, timeout=8, **arguments)
    except ControlError as error:
        forgotten = "is not unblocked" in str(error) and world.disk.was_full
        if forgotten or world.has_died() or world.troubled:
            return None
        raise Broken(f"{command} {arguments}: {error}") from None


# What is done to its files.


def spoil_state(world: World) -> str | None:
    """The state file is damaged, or something else is in its place."""
    dice, path = world.dice, world.disk.state
    if not path.is_file() or not path.stat().st_size or world.disk.full:
        return None
    world.note("spoilt")
    whole = path.read_bytes()
    at = dice.randrange(len(whole))
    contents = {
        "truncated": whole[:at],
        "flipped": whole[:at] + bytes([whole[at] ^ 1 << dice.randrange(8)]) + whole[at + 1 :],
        "longer": whole + b"\0" * 8,
        "noise": dice.randbytes(dice.randrange(4000)),
    }
    how = dice.choice((*contents, "gone") if world.program.up else (*contents, "gone", "folder", "link"))
    path.unlink()
    if how in contents:
        path.write_bytes(contents[how])
    elif how == "folder":
        path.mkdir()
    elif how == "link":
        path.symlink_to("/dev/zero")
    return how


def fill_disk(world: World) -> str | None:
    """The disk on which the state file is kept is full for a while."""
    if world.disk.full:
        return None
    world.note("spoilt")
    world.disk.fill()
    seconds = world.dice.uniform(0.5, 6)
    world.later(seconds, world.disk.free)
    return f"for {seconds:.1f} s"
