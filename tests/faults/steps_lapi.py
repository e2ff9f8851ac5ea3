"""Steps of decisions and of the LAPI: what is decided, and how the LAPI fails to tell it."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING

from tests import fake_faults
from tests.faults.addresses import HOSTS, RANGES

if TYPE_CHECKING:
    from tests.fake_faults import Fault
    from tests.faults.world import World

MOST = 18  # watched bans at a time: more of them are doubted for longer when they vanish
_ORIGINS = ("cscli", "crowdsec", "CAPI", "odd origin\u2028\n")


# What is decided.


def ban(world: World) -> str | None:
    """Somebody is banned, for seconds."""
    if len(world.lapi.live()) >= MOST:
        return None
    value = world.dice.choice(world.dice.choice((HOSTS, RANGES)))
    longest = 60 if world.dice.random() < 0.08 else 12
    return _ban(world, value, world.dice.uniform(1.5, longest))


def ban_again(world: World) -> str | None:
    """Somebody who is banned is banned again, for longer or for a shorter time."""
    live = world.lapi.live()
    if not live or len(live) >= MOST:
        return None
    claim = world.lapi.claims[world.dice.choice(live)]
    return _ban(world, str(claim.network), world.dice.uniform(1, 14))


def ban_for_a_moment(world: World) -> str | None:
    """A ban that is over almost before it can be enforced."""
    value = world.dice.choice((*HOSTS, *RANGES))
    return _ban(world, value, world.dice.uniform(0.001, 0.6))


def _ban(world: World, value: str, seconds: float) -> str:
    value = value.removesuffix("/32").removesuffix("/128") if world.dice.random() < 0.5 else value
    origin = world.dice.choice(_ORIGINS)
    claim = world.lapi.decide(value, seconds, origin=origin)
    return f"{claim.serial}: {value} for {seconds:.2f} s"


def flood(world: World) -> str | None:
    """A list of many whom nobody watches."""
    count = world.dice.randrange(200, 1500)
    world.lapi.flood(count, world.dice.uniform(1, 4))
    return f"{count}"


def unban(world: World) -> str | None:
    """Decisions are taken back, as `cscli decisions delete` does."""
    return _take_back(world, silently=False)


def forget(world: World) -> str | None:
    """Their alert is deleted: the rows vanish without a word."""
    return _take_back(world, silently=True)


def _take_back(world: World, *, silently: bool) -> str | None:
    live = world.lapi.live()
    if not live:
        return None
    some = world.dice.sample(live, world.dice.choice((1, 1, 1, 2, len(live))) if len(live) > 1 else 1)
    serials = [world.lapi.claims[number].serial for number in some]
    world.lapi.take_back(some, silently=silently)
    return f"{serials}"


# What the LAPI does.


def rebuild(world: World) -> str | None:
    """The LAPI's database is made anew, and its numbers begin at 1 again."""
    world.lapi.rebuild()
    return ""


def lose_cursors(world: World) -> str | None:
    """The LAPI no longer knows what it has told."""
    ahead = world.dice.random() < 0.3
    world.lapi.lose_cursors(ahead=ahead)
    return "as if all had been told" if ahead else "as if nothing had been told"


def lie_once(world: World) -> str | None:
    """One snapshot is empty or sharply shrunken."""
    return _lie(world, 1)


def lie_twice(world: World) -> str | None:
    """Several snapshots in a row are."""
    return _lie(world, world.dice.choice((2, 2, 6)))


def _lie(world: World, times: int) -> str | None:
    if world.lapi.lies or not world.lapi.honest:
        return None
    share = world.dice.choice((0.0, 0.0, 0.15))
    world.lapi.lies.extend([share] * times)
    world.lapi.faults.append(fake_faults.hang_up())  # the next poll asks for everything
    return f"{times} times, with {share:.0%} of the bans"


def _simple(world: World) -> tuple[str, Fault]:
    dice = world.dice
    kinds = {
        "hang up": fake_faults.hang_up(),
        "reset": fake_faults.reset(dice.random()),
        "truncated": fake_faults.truncated(dice.random()),
        "garbage": fake_faults.answer(dice.randbytes(dice.randrange(2000))),
        "wrong JSON": fake_faults.answer(dice.choice((b"[]", b"null", b"{}", b'{"new":{}}', b"1", b'""'))),
        "5xx": fake_faults.status(dice.choice((500, 502, 503, 504))),
        "4xx": fake_faults.status(dice.choice((400, 404, 429))),
        "redirect": fake_faults.redirect(world.lapi.url + "elsewhere"),
        "nesting": fake_faults.answer(b'{"new":' + b"[" * 100_000),
        "endless": fake_faults.endless(b" " * 4096, most=1 << 24),
        "drip": fake_faults.drip(0.02, size=200),
        "refuse key": world.lapi.refuse,
    }
    name = dice.choice(list(kinds))
    return name, kinds[name]


def break_once(world: World) -> str | None:
    """The next answers are broken."""
    name, fault = _simple(world)
    world.lapi.faults.extend([fault] * world.dice.choice((1, 1, 2)))
    return name


def break_for_a_while(world: World) -> str | None:
    """All answers are broken for a while."""
    if not world.calm:
        return None
    name, fault = _simple(world)
    seconds = world.dice.uniform(0.1, 2.0)
    world.lapi.misbehave(fault)
    world.later(seconds, lambda: world.lapi.misbehave(None))
    return f"{name} for {seconds:.1f} s"


def hang(world: World) -> str | None:
    """The LAPI says nothing for a while, then answers what it would have answered before."""
    if not world.calm:
        return None
    over = threading.Event()
    seconds = world.dice.uniform(0.1, 4.0)
    world.lapi.misbehave(world.lapi.hanging(over))

    def end() -> None:
        world.lapi.misbehave(None)
        over.set()

    world.later(seconds, end)
    return f"for {seconds:.1f} s"


def outage(world: World) -> str | None:
    """Nobody listens where the LAPI was."""
    if not world.calm:
        return None
    world.lapi.misbehave(fake_faults.hang_up())
    world.note("unheard")
    world.lapi.stop()

    def back() -> None:
        with world.net.mail.inside():
            world.lapi.start()
        world.lapi.misbehave(None)

    seconds = world.dice.uniform(0.1, 4.0)
    world.later(seconds, back)
    return f"for {seconds:.1f} s"


def cut(world: World) -> str | None:
    """The LAPI closes its connections, as it does with idle ones."""
    world.note("unheard")
    world.lapi.drop_connections()
    return ""
