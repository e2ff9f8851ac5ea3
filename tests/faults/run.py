"""Mixes faults at random and holds every packet against the model.

    make faults                                    1,000 steps in each setting
    make faults STEPS=10000 SEED=7 SETTING=owned   the same steps again, in one setting

A seed gives the same steps again; what they meet depends on time. Prints its figures at the end; where a promise
is broken, the seed, the last steps, what was expected and what came.
"""

from __future__ import annotations

import argparse
import signal
import sys
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING

from tests.faults.judge import Broken
from tests.faults.settings import SETTINGS, Setting
from tests.faults.steps import STEPS
from tests.faults.world import World
from tests.lab.net import network

if TYPE_CHECKING:
    from collections.abc import Sequence

    from tests.lab.net import Network


def run(net: Network, folder: Path, setting: Setting, *, steps: int, seed: int) -> str:
    """Run so many steps; return the figures. Raises Broken."""
    world = World(net, folder, setting, seed)
    number = 0
    try:
        world.program.start()
        world.pass_time(1.5)
        for number in range(1, steps + 1):  # noqa: B007 - told where it breaks
            one_step(world)
        _settle(world)
        _stop(world)
        return figures(world, steps, seed)
    except AssertionError as error:
        raise Broken(report(world, error, number, seed)) from error
    finally:
        world.close()


def one_step(world: World) -> None:
    """Take one step, and let a little time pass."""
    kinds, weights = list(STEPS), list(STEPS.values())
    while True:
        step = world.dice.choices(kinds, weights)[0]
        words = step(world)
        if words is not None:
            break
    world.journal.step(step.__name__, words)
    world.pass_time(world.dice.choice((0.0, 0.05, 0.1, 0.15, 0.3)))


def _settle(world: World) -> None:
    """Let everything end that goes on, and judge what is left."""
    world.pass_time(4)
    if not world.program.up:
        raise Broken("the program is not running at the end")


def _stop(world: World) -> None:
    """Stop the service: nothing of ours stays, and what isn't ours does."""
    world.end(signal.SIGTERM)
    if world.manager is not None:
        world.manager.empty_store()
    if world.setting.keeps:
        world.program.bouncer.ask("teardown")
    time.sleep(0.1)
    world.expect_empty()
    if not world.others.theirs():
        raise Broken("what belongs to somebody else is gone")


def figures(world: World, steps: int, seed: int) -> str:
    """Say what was done, and how well it went."""
    judge, journal = world.judge, world.journal
    kinds = ", ".join(f"{name} {count}" for name, count in journal.counted.most_common())
    packets = judge.counted["passed"] + judge.counted["blocked"]
    times = {**judge.worst, **journal.slow}.items()
    worst = ", ".join(f"{what} {seconds * 1000:.0f} ms" for what, seconds in times)
    return (
        f"{world.setting.name}: {steps} steps in {time.monotonic() - journal.began:.0f} s, seed {seed}: "
        "no promise broken\n"
        f"  steps: {kinds}\n"
        f"  packets: {packets} sent, {judge.counted['blocked']} blocked, {judge.counted['passed']} passed; "
        f"{judge.counted['forbidden']} had to be blocked, {judge.counted['free']} had to pass, "
        f"{judge.counted['never to be blocked']} had to pass for never being blocked, "
        f"{judge.counted['vague']} told nothing\n"
        f"  pages: {judge.counted['snapshots']} snapshots, {judge.counted['deltas']} deltas\n"
        f"  worst: {worst}"
    )


def report(world: World, error: AssertionError, step: int, seed: int) -> str:
    """Say how to see it again, and what led to it."""
    log = "\n".join(f"  {line}" for line in world.program.bouncer.log.splitlines()[-30:])
    return (
        f"{world.setting.name}, seed {seed}, step {step}: {error}\n"
        f"last steps:\n{world.journal.history()}\nthe program's log:\n{log}"
    )


def main(arguments: Sequence[str] | None = None) -> int:
    """Read the arguments, run, print."""
    parser = argparse.ArgumentParser(
        description="Mix faults at random and hold every packet against a model."
    )
    parser.add_argument("--steps", type=int, default=1000)
    parser.add_argument("--seed", type=int, default=None, help="default: another one each time")
    parser.add_argument("--setting", choices=SETTINGS, action="append", help="default: all of them")
    options = parser.parse_args(arguments)
    seed = int(time.time()) % 100_000 if options.seed is None else options.seed
    failed = False
    for name in options.setting or SETTINGS:
        with network() as net, tempfile.TemporaryDirectory() as folder:
            try:
                print(run(net, Path(folder), SETTINGS[name], steps=options.steps, seed=seed), flush=True)
            except Broken as broken:
                failed = True
                print(f"BROKEN: {broken}", file=sys.stderr, flush=True)
    return int(failed)


if __name__ == "__main__":
    sys.exit(main())
