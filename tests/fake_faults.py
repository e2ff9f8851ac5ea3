"""Ways for the fake LAPI to misbehave: each is a function that answers one request."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, TypeAlias

if TYPE_CHECKING:
    from tests.fake_http import Handler

Fault: TypeAlias = Callable[["Handler"], None]


def status(code: int, body: bytes = b'{"message":"it went wrong"}', **headers: str) -> Fault:
    """Answer with this status."""
    return lambda handler: handler.answer(code, body, headers)


def redirect(location: str, code: int = 302) -> Fault:
    """Send the client elsewhere."""
    return status(code, b"", Location=location)


def answer(body: bytes, **headers: str) -> Fault:
    """Answer 200 with these bytes, which are no page."""
    return status(200, body, **headers)


def truncated(share: float = 0.5) -> Fault:
    """Answer properly, 200 and all, with only the first part of the page."""
    return lambda handler: handler.answer(200, _part(handler.page(), share))


def reset(share: float = 0.5) -> Fault:
    """Send the first part of the page, then reset the connection."""

    def fault(handler: Handler) -> None:
        handler.head(200, {"Transfer-Encoding": "chunked"})
        handler.chunk(_part(handler.page(), share))
        handler.cut()

    return fault


def hang_up() -> Fault:
    """Close the connection without an answer."""
    return lambda handler: handler.cut(abruptly=False)


def hang(seconds: float = 3600) -> Fault:
    """Read the request and say nothing for a long time."""

    def fault(handler: Handler) -> None:
        handler.wait(seconds)
        handler.cut(abruptly=False)

    return fault


def drip(pause: float = 0.1, size: int = 1, head: bool = True) -> Fault:
    """Send the page `size` bytes at a time; with `head` false even the headers drip."""

    def fault(handler: Handler) -> None:
        body = handler.page()
        if head:
            handler.head(200, {"Content-Length": str(len(body))})
        else:
            body = b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % len(body) + body
        for start in range(0, len(body), size):
            handler.wfile.write(body[start : start + size])
            handler.wfile.flush()
            handler.wait(pause)

    return fault


def endless(
    piece: bytes = b" " * 65536, start: bytes = b'{"new":[', most: int = 2**40, length: int | None = None
) -> Fault:
    """Send `start`, then `piece` again and again; `length` is what the headers promise, if anything."""

    def fault(handler: Handler) -> None:
        promise = {"Transfer-Encoding": "chunked"} if length is None else {"Content-Length": str(length)}
        handler.head(200, promise)
        write = handler.chunk if length is None else handler.wfile.write
        write(start)
        for _ in range(0, most, len(piece)):
            write(piece)
        handler.cut(abruptly=False)

    return fault


def _part(body: bytes, share: float) -> bytes:
    return body[: int(len(body) * share)]
