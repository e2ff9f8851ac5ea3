"""The running service: starts the tasks, and sees to stop, reload and the commands. Decides nothing itself."""

from __future__ import annotations

import asyncio
import logging
import os
import signal
from collections.abc import Callable, Coroutine, Sequence
from typing import TYPE_CHECKING, Any

from fwbouncer.config.schema import Config
from fwbouncer.control.server import Control, Handler
from fwbouncer.daemon import assembly
from fwbouncer.daemon.answers import Answers
from fwbouncer.daemon.expiry import expire
from fwbouncer.daemon.keeper import Keeper
from fwbouncer.daemon.parts import Parts
from fwbouncer.daemon.poller import Poller
from fwbouncer.daemon.saver import Saver
from fwbouncer.daemon.scope import Scope
from fwbouncer.daemon.vigil import Vigil
from fwbouncer.errors import ConfigError, FwbouncerError
from fwbouncer.host import logs, memory
from fwbouncer.lapi.endpoint import describe

if TYPE_CHECKING:
    from fwbouncer.host.systemd import Manager

_log = logging.getLogger("fwbouncer")

FINE = 0
# A unit that others wait for must not hold them up for ever when the LAPI hangs and nothing is known yet.
_PATIENCE = 60.0
_HOPE = 5000  # milliseconds in which a LAPI that starts together with us has come up
_TIDY = 1.0  # seconds, by which the kernel has been told as well

Reload = Callable[[], Config]


class Daemon:
    """One running fwbouncer."""

    def __init__(self, config: Config, reload: Reload, manager: Manager) -> None:
        self._scope = Scope(config)
        self._config = self._scope.resolve(config)
        self._reload = reload
        self._manager = manager
        self._since = assembly.clock()
        self._stop: asyncio.Future[int] | None = None
        self._polling: asyncio.Task[None] | None = None
        self._leave_kernel = False
        self._changing = asyncio.Lock()
        self._tidied: int | None = None  # when the snapshot came after which memory was given back
        self._no_news = asyncio.Event()  # nothing is known, and the LAPI has failed to tell

    async def run(self) -> int:
        """Start everything, wait for the end, clean up."""
        memory.hold()
        loop = asyncio.get_running_loop()
        loop.call_later(_PATIENCE, memory.resume)  # a LAPI that is down must not make us grow
        self._stop = loop.create_future()
        for line in describe(self._config.lapi):
            _log.info("%s", line)
        await self._begin()
        control = await self._listen()
        tasks = [self._guard(each) for each in self._work()]
        self._start_polling()
        try:
            return await self._stop
        finally:
            self._manager.say("STOPPING=1")
            await self._end([*tasks, self._polling])
            await control.stop()
            self._guardian.close()
            await self._metrics.counting.finish()
            await self._saver.finish()
            await self._clean_up()

    async def _begin(self) -> None:
        """Look at the kernel and at what was known before, in the order in which each needs the other."""
        self._where = assembly.place(self._config, self._manager)
        self._keeper = Keeper(
            assembly.book(self._config), assembly.backend(self._config, self._where), assembly.clock
        )
        self._guardian = assembly.guardian(self._config, self._keeper)
        self._cutter = assembly.cutter(self._config, self._keeper)
        await self._guardian.begin()
        await self._keeper.begin()
        self._metrics = await assembly.metrics(self._config, self._keeper, self._parts)
        self._saver = Saver(self._keeper.book, assembly.state_file(self._config))
        await self._saver.restore(self._config, self._scope.sorting)
        self._keeper.wake()
        self._vigil = Vigil(self._on_awake)
        self._client = assembly.client(self._config, self._scope.sorting)
        self._poller = self._poller_of(self._config)

    async def _listen(self) -> Control:
        """Take signals and commands from now on."""
        for number, act in (
            (signal.SIGTERM, self._on_stop),
            (signal.SIGINT, self._on_stop),
            (signal.SIGHUP, self._on_reload),
        ):
            asyncio.get_running_loop().add_signal_handler(number, act)
        commands: dict[str, Handler] = {
            **Answers(self._parts, self._metrics.counting.totals).handlers(),
            "teardown": self._teardown,
            "unblock": self._guardian.unblocked.handle,
        }
        control = Control(self._config.control_socket, commands)
        await control.start()
        return control

    def _work(self) -> list[Coroutine[Any, Any, None]]:
        """Return what goes on all the time, beside the polling."""
        return [
            self._keeper.run(),
            self._keeper.pulse(),
            self._get_ready(),
            self._feed_watchdog(),
            expire(self._keeper, assembly.clock),
            self._saver.run(),
            self._vigil.run(),
            self._guardian.run(),
            self._follow_james(),
            self._cutter.run(),
            self._metrics.run(),
        ]

    def _guard(self, work: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        """Start a task whose failure is the daemon's."""
        task = asyncio.get_running_loop().create_task(work)
        task.add_done_callback(self._on_done)
        return task

    def _on_done(self, task: asyncio.Task[None]) -> None:
        if self._stop is None or self._stop.done() or task.cancelled():
            return
        error = task.exception()
        if error is not None:
            self._leave_kernel = True  # the bans stand while the next of us starts
            self._stop.set_exception(error)

    def _on_stop(self) -> None:
        _log.info("Received shutdown signal, exiting gracefully")
        if self._stop is not None and not self._stop.done():
            self._stop.set_result(FINE)

    def _on_reload(self) -> None:
        self._reloading = self._guard(self._take_over_configuration())

    def _on_awake(self) -> None:
        """Put right what a sleep of the machine leaves behind."""
        self._keeper.book.expire(assembly.clock())
        self._keeper.distrust()
        self._poller.hurry()

    def _after_poll(self) -> None:
        failing = self._poller.pacing.failing_since
        if failing is not None and not self._keeper.book.synced and assembly.clock() - failing >= _HOPE:
            self._no_news.set()
        self._saver.look()
        self._vigil.look()
        self._guardian.after_poll()
        if self._poller.last_snapshot != self._tidied:  # a snapshot is large, and gone now
            self._tidied = self._poller.last_snapshot
            asyncio.get_running_loop().call_later(_TIDY, memory.trim)

    def _poller_of(self, config: Config) -> Poller:
        pacing, keeper = assembly.pacing(config), self._keeper
        return Poller(self._client, pacing, keeper.book, keeper, assembly.clock, self._after_poll)

    def _start_polling(self) -> None:
        self._metrics.change()
        self._polling = self._guard(self._poller.run())

    async def _take_over_configuration(self) -> None:
        """Read the configuration again. The kernel goes on with what it has until the new one is complete."""
        self._manager.say("RELOADING=1", f"MONOTONIC_USEC={int(asyncio.get_running_loop().time() * 1e6)}")
        try:
            async with self._changing:  # one signal after the other
                config = self._reload()
                if config.mode is not self._config.mode:
                    raise ConfigError(f"mode {config.mode.value} needs a restart")
                await self._change_to(self._scope.resolve(config))
            logs.setup(config.log, os.environ)
            _log.info("configuration read again", extra=logs.fields("reload"))
        except FwbouncerError as error:
            for line in str(error).splitlines():
                _log.error("configuration not taken over: %s", line)
        self._manager.say("READY=1")

    async def _change_to(self, config: Config) -> None:
        before = self._config
        client = assembly.client(config, self._scope.sorting)  # may refuse: nothing has changed yet
        backend = assembly.backend(config, self._where)
        await self._end([self._polling])
        await self._client.aclose()
        self._config, self._client = config, client
        old_poller = self._poller
        self._poller = self._poller_of(config)
        self._saver.move(assembly.state_file(config))
        self._poller.go_on_from(old_poller)
        self._keeper.book.keep_to(config.families)
        self._scope.take_over(config.policies, self._keeper.book)
        self._guardian.change_to(config)
        await self._metrics.counting.totals()
        (await self._keeper.replace(backend)).close()
        self._cutter.change_to(config)
        try:
            await self._keeper.step()
            gone = assembly.left_behind(before, config)
            if gone is not None:
                await self._keeper.clear(assembly.backend(gone, self._where))
        finally:
            self._keeper.distrust()  # where the step failed, the keeper goes on trying
            self._start_polling()

    async def _follow_james(self) -> None:
        """Have the rules follow James's ports; which ban belongs where stays as it is."""
        async for _ in self._scope.changes():
            async with self._changing:
                self._config = self._scope.again(self._config)
                (await self._keeper.replace(assembly.backend(self._config, self._where))).close()
                self._cutter.change_to(self._config)

    async def _get_ready(self) -> None:
        """Say READY when what is known is in the kernel: the last state, or the first page.

        Where there is neither, because the LAPI fails, that is said after seconds: at boot the network waits for us,
        and the LAPI may wait for the network.
        """
        news = [asyncio.create_task(event.wait()) for event in (self._keeper.settled, self._no_news)]
        await asyncio.wait(news, timeout=_PATIENCE, return_when=asyncio.FIRST_COMPLETED)
        await self._end([*news])
        if not self._keeper.settled.is_set():
            _log.warning("no word from the LAPI yet; ready all the same, with what the kernel holds")
        self._manager.say("READY=1", self._summary())
        _log.info("ready: %d decisions enforced", len(self._keeper.book.ledger), extra=logs.fields("ready"))
        await self._keeper.settled.wait()
        await self._keeper.alone(lambda: assembly.clear_earlier(self._config, self._where, self._manager))
        memory.settle()
        self._manager.say(self._summary())

    async def _feed_watchdog(self) -> None:
        interval = self._manager.watchdog_interval()
        while True:
            await asyncio.sleep(interval or 60.0)
            self._manager.say(*(["WATCHDOG=1"] if interval else []), self._summary())

    def _summary(self) -> str:
        bans = len(self._keeper.book.ledger)
        if self._poller.error:
            return f"STATUS={bans} decisions enforced; the LAPI fails: {self._poller.error}"
        return f"STATUS={bans} decisions enforced"

    def _parts(self) -> Parts:
        return Parts(
            self._config,
            self._keeper,
            self._poller,
            self._saver,
            self._guardian,
            self._scope,
            self._cutter,
            owned=self._where.owned,
            since=self._since,
        )

    async def _teardown(self, request: dict[str, Any]) -> dict[str, Any]:
        """Take everything out of the kernel through the socket that owns it, and end."""
        del request
        await self._end([self._polling])
        await self._metrics.counting.finish()
        await self._keeper.remove()
        self._leave_kernel = True
        if self._stop is not None and not self._stop.done():
            asyncio.get_running_loop().call_later(0.1, self._stop.set_result, FINE)
        return {"removed": True}

    async def _end(self, tasks: Sequence[asyncio.Task[Any] | None]) -> None:
        going = [task for task in tasks if task is not None]
        for task in going:
            task.cancel()
        await asyncio.gather(*going, return_exceptions=True)

    async def _clean_up(self) -> None:
        """Leave the kernel as our end asks for: an owned table goes or stays with the socket in the store."""
        await self._client.aclose()
        if not await self._bans_stay():
            await self._keeper.remove()
            await self._metrics.counting.gone()
        self._keeper.close()

    async def _bans_stay(self) -> bool:
        if self._leave_kernel or self._where.owned or self._config.keep_on_stop:
            return True
        return await asyncio.to_thread(self._manager.restarting)
