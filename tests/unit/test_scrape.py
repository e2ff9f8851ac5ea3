"""The page for Prometheus: what it says, who gets it, and that no scraper can do harm."""

from __future__ import annotations

import asyncio
import socket
import stat
import time
from contextlib import suppress
from typing import TYPE_CHECKING, Any

import pytest

from fwbouncer.control.figures import Figures, Process
from fwbouncer.control.prometheus import exposition
from fwbouncer.control.scrape import Place, Scrapes, Tcp, Unix
from fwbouncer.core.latency import Latency
from fwbouncer.core.model import Family
from fwbouncer.core.tally import Traffic
from tests.lab.scrape import Scrape, scrape_socket

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

V4, V6 = Family.V4, Family.V6
PLAIN = b"GET /metrics HTTP/1.1\r\nHost: x\r\n\r\n"


def _free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port: int = taken.getsockname()[1]
        return port


async def _page(accept: str) -> tuple[str, bytes]:
    return "text/plain; charset=utf-8", f"accepts {accept}\n".encode()


def serving(place: Place, use: Callable[[], Any], page: Any = _page, patience: float = 10.0) -> Any:
    """Run `use` in a thread while a loop here serves."""

    async def main() -> Any:
        server = asyncio.create_task(Scrapes(place, page, patience=patience).run())
        try:
            return await asyncio.wait_for(asyncio.to_thread(use), 60)
        finally:
            server.cancel()
            with suppress(asyncio.CancelledError):
                await server

    return asyncio.run(main())


def _dial(place: Place) -> socket.socket:
    deadline = time.monotonic() + 30
    family = socket.AF_UNIX if isinstance(place, Unix) else socket.AF_INET
    address: Any = str(place.path) if isinstance(place, Unix) else (place.address, place.port)
    while True:
        peer = socket.socket(family)
        peer.settimeout(30)
        try:
            peer.connect(address)
        except OSError:
            peer.close()
            assert time.monotonic() < deadline
            time.sleep(0.01)
        else:
            return peer


def _ask(place: Place, question: bytes) -> bytes:
    with _dial(place) as peer:
        peer.sendall(question)
        answer = b""
        with suppress(ConnectionResetError):
            while part := peer.recv(65536):
                answer += part
        return answer


class TestServer:
    """Over HTTP."""

    @pytest.fixture
    def place(self) -> Tcp:
        """Choose a port that is free."""
        return Tcp("127.0.0.1", _free_port())

    @pytest.mark.parametrize(
        ("question", "answer"),
        [
            (PLAIN, b"HTTP/1.1 200 OK\r\n"),
            (b"GET /metrics?x=1 HTTP/1.0\n\n", b"HTTP/1.1 200 OK\r\n"),
            (b"GET / HTTP/1.1\r\n\r\n", b"HTTP/1.1 404 Not Found\r\n"),
            (b"POST /metrics HTTP/1.1\r\n\r\n", b"HTTP/1.1 405 Method Not Allowed\r\n"),
            (b"\r\n\r\n", b"HTTP/1.1 400 Bad Request\r\n"),
            (b"\xff\x00 \xfe\r\n\r\n", b"HTTP/1.1 400 Bad Request\r\n"),
            (b"GET /metrics SMTP/1.1\r\n\r\n", b"HTTP/1.1 400 Bad Request\r\n"),
        ],
    )
    def test_questions(self, place: Tcp, question: bytes, answer: bytes) -> None:
        """Each question gets a proper answer, and the connection ends with it."""
        found = serving(place, lambda: _ask(place, question))
        assert found.startswith(answer)
        head, _, body = found.partition(b"\r\n\r\n")
        assert f"Content-Length: {len(body)}".encode() in head

    def test_head(self, place: Tcp) -> None:
        """HEAD gets what GET gets, without the page."""
        head = serving(place, lambda: _ask(place, b"HEAD /metrics HTTP/1.1\r\n\r\n"))
        assert head.startswith(b"HTTP/1.1 200 OK\r\n")
        assert head.endswith(b"\r\n\r\n")

    def test_what_is_accepted_is_heard(self, place: Tcp) -> None:
        """The page is made in the format that the reader asks for."""
        question = b"GET /metrics HTTP/1.1\r\nACCEPT: a/b\r\n\r\n"
        assert serving(place, lambda: _ask(place, question)).endswith(b"accepts  a/b\n")

    @pytest.mark.parametrize(
        "question", [b"GET /" + b"a" * 10**6, b"GET /metrics HTTP/1.1\r\n" + b"X: y\r\n" * 10**5]
    )
    def test_huge_questions(self, place: Tcp, question: bytes) -> None:
        """Who asks without end is cut off, and others are served."""

        def use() -> bytes:
            with suppress(ConnectionError):
                assert not _ask(place, question).startswith(b"HTTP/1.1 200")
            return _ask(place, PLAIN)

        assert serving(place, use).startswith(b"HTTP/1.1 200")

    def test_the_slow_and_the_many(self, place: Tcp) -> None:
        """Connections that ask nothing run out of time; while there are too many of them, more are turned away."""

        def use() -> bytes:
            idle = [_dial(place) for _ in range(100)]
            ends = [peer.recv(1) if _ended(peer) else None for peer in idle]
            assert ends == [b""] * 100
            for peer in idle:
                peer.close()
            return _ask(place, PLAIN)

        assert serving(place, use, patience=1.0).startswith(b"HTTP/1.1 200")

    def test_who_reads_nothing_is_cut_off(self, place: Tcp) -> None:
        """A scraper that doesn't read its page holds up neither the loop nor the others."""
        sizes = iter([50_000_000, 1])

        async def large(accept: str) -> tuple[str, bytes]:
            del accept
            return "text/plain", b"x" * next(sizes)

        def use() -> int:
            with _dial(place) as slow:
                slow.sendall(PLAIN)
                slow.recv(1)
                assert _ask(place, PLAIN).startswith(b"HTTP/1.1 200")
                time.sleep(2)
                got = 0
                with suppress(ConnectionResetError):
                    while part := slow.recv(1 << 20):
                        got += len(part)
                return got

        assert serving(place, use, page=large, patience=1.0) < 50_000_000

    def test_a_mistake_of_ours(self, place: Tcp) -> None:
        """A page that can't be made is an error for its reader, and for nobody else."""
        pages = iter([ValueError("no"), None])

        async def page(accept: str) -> tuple[str, bytes]:
            found = next(pages)
            if found is not None:
                raise found
            return await _page(accept)

        def use() -> tuple[bytes, bytes]:
            return _ask(place, PLAIN), _ask(place, PLAIN)

        first, second = serving(place, use, page=page)
        assert first.startswith(b"HTTP/1.1 500")
        assert second.startswith(b"HTTP/1.1 200")

    def test_a_port_that_is_taken(self, place: Tcp, caplog: pytest.LogCaptureFixture) -> None:
        """A port that somebody else has is asked for again until it is free; that is said once."""
        with socket.create_server((place.address, place.port)) as other:

            def use() -> bytes:
                time.sleep(2)
                other.close()
                return _ask(place, PLAIN)

            assert serving(place, use).startswith(b"HTTP/1.1 200")
        said = [record.message for record in caplog.records if record.levelname == "WARNING"]
        assert len(said) == 1
        assert said[0].startswith(f"metrics can't be served at {place}, trying again: Address already in use")

    @pytest.mark.parametrize("address", ["192.0.2.1", "no such name", "a" * 300, "..", "2001:db8::1%nowhere"])
    def test_an_address_that_is_not_there(self, address: str, caplog: pytest.LogCaptureFixture) -> None:
        """An address that this host hasn't, or nobody has, is warned of, and nothing else ends for it."""

        def use() -> None:
            deadline = time.monotonic() + 30
            while not caplog.records:
                assert time.monotonic() < deadline
                time.sleep(0.01)

        serving(Tcp(address, 60601), use)
        assert caplog.records[0].message.startswith(
            f"metrics can't be served at {Tcp(address, 60601)}, trying"
        )


def _ended(peer: socket.socket) -> bool:
    with suppress(ConnectionResetError):
        return peer.recv(1, socket.MSG_PEEK) == b""
    return True


class TestUnixSocket:
    """The same in the file system."""

    def test_everybody_who_reaches_it_may_read(self, tmp_path: Path) -> None:
        """It is for everybody who can reach its folder, and is gone when nobody serves it."""
        path = tmp_path / "m.sock"

        def use() -> tuple[bytes, int]:
            return _ask(Unix(path), PLAIN), path.stat().st_mode

        answer, mode = serving(Unix(path), use)
        assert answer.startswith(b"HTTP/1.1 200")
        assert stat.S_IMODE(mode) == 0o666
        assert not path.exists()

    def test_what_a_crash_left(self, tmp_path: Path) -> None:
        """A socket on which nobody listens any more is replaced."""
        path = tmp_path / "m.sock"
        with socket.socket(socket.AF_UNIX) as dead:
            dead.bind(str(path))
        assert serving(Unix(path), lambda: _ask(Unix(path), PLAIN)).startswith(b"HTTP/1.1 200")

    @pytest.mark.parametrize("what", ["file", "listener", "no folder"])
    def test_what_is_somebody_elses_stays(
        self, tmp_path: Path, what: str, caplog: pytest.LogCaptureFixture
    ) -> None:
        """A file, a socket in use or a folder that isn't there is warned of, and left as it is."""
        path = tmp_path / "no" / "m.sock" if what == "no folder" else tmp_path / "m.sock"
        listener = socket.socket(socket.AF_UNIX)
        if what == "file":
            path.write_text("precious")
        elif what == "listener":
            listener.bind(str(path))
            listener.listen()

        def use() -> None:
            deadline = time.monotonic() + 30
            while not caplog.records:
                assert time.monotonic() < deadline
                time.sleep(0.01)

        serving(Unix(path), use)
        listener.close()
        assert "metrics can't be served" in caplog.text
        assert path.exists() is (what != "no folder")


class TestPage:
    """What stands in it."""

    def figures(self, **more: Any) -> Figures:
        """Make up some."""
        return Figures("1.2", "nftables", owned=True, process=Process(1.0), **more)

    def page(self, figures: Figures, accept: str = "") -> Scrape:
        """Write and read it."""
        return Scrape(exposition(figures, accept)[1].decode())

    def test_the_incumbents_names(self) -> None:
        """Names, labels and types are the incumbent's, also where there is nothing to tell yet."""
        page = self.page(
            self.figures(
                banned={("CAPI", V4): 3, ("lists:x", V6): 4},
                dropped={("CAPI", V4): Traffic(5, 600)},
                processed={V4: Traffic(7, 800), V6: Traffic()},
                lapi_requests=9,
                lapi_failures=2,
            )
        )
        expected = {
            "fw_bouncer_banned_ips{ip_type=ipv4,origin=CAPI}": 3,
            "fw_bouncer_banned_ips{ip_type=ipv6,origin=lists:x}": 4,
            "fw_bouncer_dropped_packets{ip_type=ipv4,origin=CAPI}": 5,
            "fw_bouncer_dropped_bytes{ip_type=ipv4,origin=CAPI}": 600,
            "fw_bouncer_processed_packets{ip_type=ipv4}": 7,
            "fw_bouncer_processed_bytes{ip_type=ipv4}": 800,
            "fw_bouncer_processed_packets{ip_type=ipv6}": 0,
            "lapi_requests_total": 9,
            "lapi_requests_failures_total": 2,
        }
        assert {name: page[name] for name in expected} == expected
        kinds = {page.types[name] for name in page.types if name.startswith("fw_bouncer_")}
        assert kinds == {"gauge"}
        assert page.types["lapi_requests"] == "counter"

    def test_hostile_words(self) -> None:
        """A reason with any characters in it is one label, and no line of its own."""
        reason = 'scope "\n# TYPE x\\ 1\nfw_bouncer_banned_ips{} 99'
        page = self.page(self.figures(rejects={reason: 1}))
        assert page[f"fwbouncer_rejected_decisions{{reason={reason}}}"] == 1

    def test_latencies(self) -> None:
        """A latency is a histogram, each bound with all that were no longer."""
        latency = Latency((0.1, 1.0))
        for seconds in (0.05, 0.1, 0.5, 7.0):
            latency.add(seconds)
        page = self.page(self.figures(applies=latency))
        assert page.named("fwbouncer_apply_seconds_bucket") == {"le=0.1": 2, "le=1.0": 3, "le=+Inf": 4}
        assert page["fwbouncer_apply_seconds_count"] == 4
        assert page["fwbouncer_apply_seconds_sum"] == pytest.approx(7.65)

    def test_ages_that_are_not_known(self) -> None:
        """Where the LAPI never answered, there is no age, rather than a wrong one."""
        page = self.page(self.figures())
        assert "fwbouncer_lapi_answer_age_seconds" not in page
        assert page["fwbouncer_lapi_up"] == 0

    @pytest.mark.parametrize(
        ("accept", "kind"),
        [
            ("", "text/plain; version="),
            ("text/plain", "text/plain; version="),
            ("\xff;q=,,,;", "text/plain; version="),
            ("application/openmetrics-text; version=1.0.0", "application/openmetrics-text; version="),
        ],
    )
    def test_formats(self, accept: str, kind: str) -> None:
        """Both formats are there; whoever asks for nothing or nonsense gets the plain one."""
        content_type, body = exposition(self.figures(), accept)
        assert content_type.startswith(kind)
        assert body.endswith(b"# EOF\n") is content_type.startswith("application/")


def test_the_lab_reads_it(tmp_path: Path) -> None:
    """What the tests of the whole program use reads what is served."""
    path = tmp_path / "m.sock"

    async def page(accept: str) -> tuple[str, bytes]:
        return exposition(Figures("1.2", "dry-run", owned=False, process=Process(1.0)), accept)

    def use() -> Scrape:
        _dial(Unix(path)).close()
        return scrape_socket(path)

    assert serving(Unix(path), use, page=page)["fwbouncer_info{mode=dry-run,owned=false,version=1.2}"] == 1
