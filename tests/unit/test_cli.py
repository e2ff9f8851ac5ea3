"""The command line: which words do what, which codes come back, and that no traceback is ever shown."""

from __future__ import annotations

import asyncio
import json
import os
import subprocess
import sys
import threading
import time
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any

import pytest

from fwbouncer import __version__, cli
from fwbouncer.commands import demo, places
from fwbouncer.control.server import Control
from fwbouncer.errors import KernelError, LapiRefused
from fwbouncer.host import logs

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

ROOT = Path(__file__).parents[2]
GOOD = "mode: dry-run\napi_url: http://127.0.0.1:8080/\napi_key: SECRET99\n"


def command(*arguments: str | Path) -> list[str]:
    """Return the command as the system's own interpreter runs it."""
    python = "/usr/bin/python3" if Path("/usr/bin/python3").exists() else sys.executable
    return [python, "-m", "fwbouncer", *map(str, arguments)]


def execute(*arguments: str | Path, **environ: str) -> subprocess.CompletedProcess[str]:
    """Run a command to its end."""
    env = {**os.environ, **environ}
    return subprocess.run(
        command(*arguments), cwd=ROOT, env=env, capture_output=True, text=True, timeout=20, check=False
    )


@pytest.fixture
def config(tmp_path: Path) -> Callable[[str], Path]:
    """Write a private configuration."""

    def write(text: str) -> Path:
        path = tmp_path / "c.yaml"
        path.write_text(text)
        path.chmod(0o600)
        return path

    return write


@pytest.fixture
def daemon(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    """Put a daemon in place that only remembers what it was given, and stays out of the process's logging."""
    module = ModuleType("fwbouncer.daemon")
    module.run = lambda config, reload: setattr(module, "seen", (config, reload)) or 0  # type: ignore[attr-defined]
    module.teardown = lambda config: setattr(module, "removed", config) or 0  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "fwbouncer.daemon", module)
    monkeypatch.setattr(logs, "setup", lambda *_: None)
    return module


@pytest.fixture
def control(tmp_path: Path) -> Iterator[Callable[..., Path]]:
    """Answer commands in a thread, as a daemon does."""
    loop = asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_forever)
    thread.start()
    started: list[Control] = []

    def serve(**handlers: Any) -> Path:
        path = tmp_path / "c.sock"
        started.append(Control(path, handlers))
        assert asyncio.run_coroutine_threadsafe(started[-1].start(), loop).result(5)
        return path

    yield serve
    for one in started:
        asyncio.run_coroutine_threadsafe(one.stop(), loop).result(5)
    loop.call_soon_threadsafe(loop.stop)
    thread.join()
    loop.close()


class TestUsage:
    """What needs no configuration."""

    def test_nothing(self) -> None:
        """Without any argument there is help, and the code for bad usage."""
        done = execute()
        assert (done.returncode, done.stdout) == (2, "")
        assert "usage: fwbouncer" in done.stderr

    @pytest.mark.parametrize("flag", ["-V", "-version", "--version", "--V"])
    def test_version(self, capsys: pytest.CaptureFixture[str], flag: str) -> None:
        """The version is shown for each of the incumbent's flags, as Go takes them."""
        assert cli.main([flag]) == 0
        assert capsys.readouterr().out == f"fwbouncer {__version__}\n"

    @pytest.mark.parametrize("arguments", [["-x"], ["nope"], ["run", "extra"], ["-c"], ["status", "--what"]])
    def test_bad_usage(self, capsys: pytest.CaptureFixture[str], arguments: list[str]) -> None:
        """Bad usage is code 2 and a word about it."""
        with pytest.raises(SystemExit) as left:
            cli.main(arguments)
        assert left.value.code == 2
        assert "fwbouncer" in capsys.readouterr().err

    def test_light(self) -> None:
        """The commands start without asyncio, httpx, rich, pyroute2, and all else that takes long to import."""
        heavy = (
            "{'asyncio', 'dataclasses', 'httpx', 'logging', 'pyroute2', 'rich', 'yaml'} & set(sys.modules)"
        )
        line = f"import sys, fwbouncer.cli, fwbouncer.commands; print(sorted({heavy}))"
        done = subprocess.run(
            [sys.executable, "-c", line], cwd=ROOT, capture_output=True, text=True, check=True
        )
        assert done.stdout == "[]\n"


class TestCheck:
    """`check-config`, `-t` and `-T` read, and that is all they do."""

    def test_valid(self, config: Callable[[str], Path]) -> None:
        """A valid configuration is said to be valid in the incumbent's words."""
        path = config(GOOD)
        one, two = execute("check-config", "-c", path), execute("-t", "-c", path)
        assert (one.returncode, one.stdout, one.stderr) == (0, "config is valid\n", "")
        assert (two.returncode, two.stdout) == (0, "")
        assert two.stderr.endswith('level=info msg="config is valid"\n')

    def test_flag_before_and_behind(
        self, config: Callable[[str], Path], capsys: pytest.CaptureFixture[str]
    ) -> None:
        """The file may be named in front of the command or behind it, and as Go's flags are written."""
        path = config(GOOD)
        for arguments in (
            ["-c", str(path), "check-config"],
            ["check-config", f"-c={path}"],
            ["--c", str(path), "check-config"],
        ):
            assert cli.main([*arguments]) == 0
        assert capsys.readouterr().out == "config is valid\n" * 3

    def test_wrong(self, config: Callable[[str], Path]) -> None:
        """A wrong configuration is code 2, and each mistake is a line."""
        path = config(GOOD + "deny_log: maybe\nwhat: 1\n")
        one, two = execute("check-config", "-c", path), execute("-t", "-c", path)
        assert (one.returncode, two.returncode) == (2, 2)
        assert [line.split(" ")[1] for line in one.stderr.splitlines()] == [f"{path}:4:", f"{path}:5:"]
        assert two.stderr.count("level=fatal") == 2

    def test_warnings(self, config: Callable[[str], Path]) -> None:
        """Warnings are shown, and are no failure."""
        path = config(GOOD + "pid_dir: /run\n")
        one, two = execute("check-config", "-c", path), execute("-t", "-c", path)
        assert (one.returncode, two.returncode) == (0, 0)
        assert one.stderr.startswith(f"warning: {path}:4: pid_dir: has no effect")
        assert "level=warning" in two.stderr

    @pytest.mark.parametrize("flags", [["check-config", "-c"], ["-t", "-c"], ["-T", "-c"], ["-c"]])
    def test_missing_file(self, tmp_path: Path, flags: list[str]) -> None:
        """A file that isn't there is code 2 and one line, whatever was to be done with it."""
        done = execute(*flags, tmp_path / "gone.yaml")
        assert done.returncode == 2
        assert "gone.yaml: unable to read config file: No such file or directory" in done.stderr
        assert len(done.stderr.splitlines()) == 1

    def test_touches_nothing(self, tmp_path: Path, config: Callable[[str], Path]) -> None:
        """A check makes no log, no directory and no socket, even where the configuration names them."""
        more = f"log_mode: file\nlog_dir: {tmp_path}/logs\ncontrol_socket: {tmp_path}/run/c.sock\n"
        path = config(GOOD + more)
        for arguments in (["check-config", "-c"], ["-t", "-c"], ["-T", "-c"]):
            assert execute(*arguments, path).returncode == 0
        assert [entry.name for entry in tmp_path.iterdir()] == ["c.yaml"]

    def test_show(self, config: Callable[[str], Path]) -> None:
        """-T shows the merged configuration without its key."""
        path = config(GOOD)
        path.with_name("c.yaml.local").write_text("mode: ${M}\n")
        done = execute("-T", "-c", path, M="set-only")
        assert done.returncode == 0
        assert f"mode: set-only  # {path}.local:1\n" in done.stdout
        assert "api_key: (hidden, 8 characters)" in done.stdout
        assert "SECRET" not in done.stdout + done.stderr

    def test_reader_that_leaves(self, config: Callable[[str], Path]) -> None:
        """A pipe that is closed early shows no traceback."""
        reader, writer = os.pipe()
        os.close(reader)
        done = subprocess.run(
            command("-T", "-c", config(GOOD)),
            cwd=ROOT,
            stdout=writer,
            stderr=subprocess.PIPE,
            text=True,
            check=False,
        )
        os.close(writer)
        assert (done.returncode, done.stderr) == (1, "")

    @pytest.mark.parametrize("redirect", [">&-", ">/dev/full", "2>&-", "2>/dev/full", ">&- 2>&-"])
    @pytest.mark.parametrize("words", ["-T -c", "-c", "check-config -c"])
    def test_output_that_fails(self, config: Callable[[str], Path], redirect: str, words: str) -> None:
        """A closed or full output is no reason for a traceback, whichever command meets it."""
        path = config("mode: nonsense\n")
        script = f"{' '.join(command())} {words} {path} {redirect}"
        done = subprocess.run(
            ["sh", "-c", script], cwd=ROOT, capture_output=True, text=True, timeout=20, check=False
        )
        assert done.returncode in (0, 1, 2)
        assert "Traceback" not in done.stderr
        assert "Exception ignored" not in done.stderr


class TestRun:
    """Bare `fwbouncer -c FILE` and `fwbouncer run`."""

    # What the incumbent's own tests wait for, in their order.
    @pytest.mark.parametrize(
        ("text", "lines"),
        [
            ("log_level: info", ["unable to load configuration: config does not contain 'mode'"]),
            ("mode: whatever", ["firewall 'whatever' is not supported"]),
            ("mode: $BOUNCER_MODE", ["firewall 'fromenv' is not supported"]),
            (
                "mode: dry-run",
                [
                    "Starting crowdsec-firewall-bouncer",
                    "backend type: dry-run",
                    "backend.Init() called",
                    "unable to configure bouncer: config does not contain LAPI url",
                ],
            ),
            ("mode: iptables\nlog_level: trace", ["using 'DROP' as deny_action"]),
            ("mode: iptables\ndeny_action: reject", ["using 'REJECT' as deny_action"]),
            ("mode: iptables\ndeny_action: tarpit", ["using 'TARPIT' as deny_action"]),
            (
                "mode: iptables\ndeny_action: somethingelse",
                ["invalid deny_action 'somethingelse', must be one of DROP, REJECT, TARPIT"],
            ),
        ],
    )
    def test_words_and_end(self, config: Callable[[str], Path], text: str, lines: list[str]) -> None:
        """The words come in the incumbent's order, and soon after the last the process is gone."""
        path = config(text)
        environ = {**os.environ, "BOUNCER_MODE": "fromenv"}
        with subprocess.Popen(
            command("-c", path), cwd=ROOT, env=environ, stderr=subprocess.PIPE, text=True, bufsize=1
        ) as process:
            assert process.stderr is not None
            wanted = iter([*lines, None])
            word = next(wanted)
            for line in process.stderr:
                if word is not None and word in line:
                    word = next(wanted)
                    last = time.monotonic()
            assert word is None
            assert process.wait(1) == 2
            assert time.monotonic() - last < 1

    def test_starts_the_daemon(self, config: Callable[[str], Path], daemon: ModuleType) -> None:
        """A valid configuration reaches the daemon; -v makes it talk; a reload reads the file again."""
        path = config(GOOD)
        assert cli.main(["-v", "-c", str(path)]) == 0
        given, reload = daemon.seen
        assert (given.mode.value, given.log.level) == ("dry-run", 10)
        config(GOOD + "log_level: trace\ndeny_log: on\n")
        assert (reload().deny.log, reload().log.level) == (True, 5)

    @pytest.mark.parametrize(
        ("error", "code"), [(LapiRefused("no"), 3), (KernelError("a\nb"), 1), (OSError(28, "full", "/x"), 1)]
    )
    def test_codes(
        self,
        config: Callable[[str], Path],
        daemon: ModuleType,
        caplog: pytest.LogCaptureFixture,
        error: Exception,
        code: int,
    ) -> None:
        """An end by an error has the incumbent's words, and the code that the service manager goes by."""

        def run(*_: object) -> int:
            raise error

        daemon.run = run  # type: ignore[attr-defined]
        assert cli.main(["run", "-c", str(config(GOOD))]) == code
        assert "process terminated with error: " in caplog.text
        assert "\nb" not in [record.getMessage() for record in caplog.records]

    def test_log_file(self, tmp_path: Path, config: Callable[[str], Path]) -> None:
        """With a log file, what is wrong is in the file and on standard error."""
        path = config(f"mode: dry-run\nlog_mode: file\nlog_dir: {tmp_path}\n")
        done = execute("-c", path)
        log = (tmp_path / "crowdsec-firewall-bouncer.log").read_text()
        assert "backend type: dry-run" in log
        assert "backend type" not in done.stderr
        assert "config does not contain LAPI url" in log
        assert "config does not contain LAPI url" in done.stderr

    def test_interrupted(
        self, config: Callable[[str], Path], daemon: ModuleType, capsys: pytest.CaptureFixture[str]
    ) -> None:
        """An interrupt before the daemon minds signals is a word, not a traceback."""

        def run(*_: object) -> int:
            raise KeyboardInterrupt

        daemon.run = run  # type: ignore[attr-defined]
        assert cli.main(["-c", str(config(GOOD))]) == 1
        assert capsys.readouterr().err == "fwbouncer: interrupted\n"


class TestAsking:
    """`status` and `teardown`."""

    def test_status(self, control: Callable[..., Path], capsys: pytest.CaptureFixture[str]) -> None:
        """The daemon's answer is a page, or one JSON object."""
        path = control(status=lambda _: {"version": "9", "mode": "nftables"})
        assert cli.main(["status", "--control-socket", str(path)]) == 0
        assert capsys.readouterr().out == "daemon  fwbouncer 9, mode nftables\n"
        assert cli.main(["status", "--json", "--control-socket", str(path)]) == 0
        assert json.loads(capsys.readouterr().out) == {"version": "9", "mode": "nftables"}

    def test_socket_from_the_configuration(
        self, control: Callable[..., Path], config: Callable[[str], Path], capsys: pytest.CaptureFixture[str]
    ) -> None:
        """The configuration names the socket, also one that has become wrong since the daemon read it."""
        path = control(status=lambda _: {"version": "9"})
        file = config(f"mode: nonsense\ncontrol_socket: {path}\n")
        assert cli.main(["status", "-c", str(file)]) == 0
        assert "fwbouncer 9" in capsys.readouterr().out

    def test_socket_without_the_configuration(
        self,
        control: Callable[..., Path],
        monkeypatch: pytest.MonkeyPatch,
        capsys: pytest.CaptureFixture[str],
    ) -> None:
        """Where the usual socket is, status needs no configuration at all."""
        monkeypatch.setattr(places, "SOCKET", control(status=lambda _: {"version": "9"}))
        monkeypatch.setattr(places, "CONFIG", Path("/nowhere/c.yaml"))
        assert cli.main(["status"]) == 0
        assert "fwbouncer 9" in capsys.readouterr().out

    def test_no_daemon(self, tmp_path: Path) -> None:
        """Without a daemon status is code 1 and one line."""
        done = execute("status", "--control-socket", tmp_path / "c.sock")
        assert done.returncode == 1
        assert done.stderr == f"fwbouncer: no daemon is running: nobody listens at {tmp_path}/c.sock\n"

    def test_teardown_by_the_daemon(
        self,
        control: Callable[..., Path],
        config: Callable[[str], Path],
        daemon: ModuleType,
        capsys: pytest.CaptureFixture[str],
    ) -> None:
        """A running daemon is asked to remove what is its own, because the table may be owned by it."""
        path = control(teardown=lambda _: {"text": "removed\x1b[2J"})
        assert cli.main(["teardown", "-c", str(config(GOOD)), "--control-socket", str(path)]) == 0
        assert capsys.readouterr().out == "removed\\x1b[2J\n"
        assert not hasattr(daemon, "removed")

    def test_teardown_without_daemon(
        self, tmp_path: Path, config: Callable[[str], Path], daemon: ModuleType
    ) -> None:
        """Without a daemon the command removes everything itself."""
        file = config(GOOD + f"control_socket: {tmp_path}/c.sock\n")
        assert cli.main(["teardown", "-c", str(file)]) == 0
        assert daemon.removed.path == file

    def test_teardown_refused(
        self, control: Callable[..., Path], config: Callable[[str], Path], daemon: ModuleType
    ) -> None:
        """A daemon that can't is believed: the command doesn't go behind its back."""

        def refuse(_: dict[str, Any]) -> dict[str, Any]:
            raise KernelError("busy")

        path = control(teardown=refuse)
        assert cli.main(["teardown", "-c", str(config(GOOD)), "--control-socket", str(path)]) == 1
        assert not hasattr(daemon, "removed")


class TestDemo:
    """`demo` becomes the script."""

    def test_becomes_the_script(self, tmp_path: Path) -> None:
        """The script takes over the process, with the arguments behind the command, and its code is ours."""
        script = tmp_path / "demo"
        script.write_text('#!/bin/sh\necho "$@"\nexit 5\n')
        script.chmod(0o755)
        line = (
            "import sys, pathlib; from fwbouncer import cli; from fwbouncer.commands import demo; "
            f"demo.DEMOS = (pathlib.Path({str(tmp_path / 'gone')!r}), pathlib.Path({str(script)!r})); "
            "sys.exit(cli.main(['demo', 'a', '--b']))"
        )
        done = subprocess.run(
            [sys.executable, "-c", line], cwd=ROOT, capture_output=True, text=True, check=False
        )
        assert (done.returncode, done.stdout) == (5, "a --b\n")

    def test_not_installed(
        self, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
    ) -> None:
        """Where there is no demo, that is said."""
        monkeypatch.setattr(demo, "DEMOS", (tmp_path / "a", tmp_path / "b"))
        assert cli.main(["demo"]) == 1
        assert "the demo is not installed" in capsys.readouterr().err
