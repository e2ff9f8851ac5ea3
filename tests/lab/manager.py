"""What systemd is to a service: a socket for its notifications, and a store for its descriptors."""

from __future__ import annotations

import os
import socket
import threading
import time
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path


class Manager:
    """Listens on a NOTIFY_SOCKET, remembers every message and keeps every descriptor that is sent to it."""

    def __init__(self, folder: Path) -> None:
        self.path = folder / "notify.sock"
        self.messages: list[str] = []
        self.store: dict[str, int] = {}
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self._socket.bind(str(self.path))
        self._done = threading.Event()
        self._socket.settimeout(0.05)
        self._thread = threading.Thread(target=self._receive, daemon=True)
        self._thread.start()

    def close(self) -> None:
        """Stop listening and let go of what the store holds, as a stop of the service does."""
        self._done.set()
        self._thread.join()
        self._socket.close()
        self.empty_store()

    def empty_store(self) -> None:
        """Close every kept descriptor."""
        for descriptor in self.store.values():
            os.close(descriptor)
        self.store.clear()

    def said(self, word: str) -> int:
        """Count the messages that contain this line, or begin a line with it if it ends in "="."""
        return sum(
            line == word or (word.endswith("=") and line.startswith(word))
            for message in list(self.messages)
            for line in message.splitlines()
        )

    def wait_for(self, word: str, *, times: int = 1, within: float = 10) -> None:
        """Wait until a line was said."""
        deadline = time.monotonic() + within
        while self.said(word) < times:
            assert time.monotonic() < deadline, f"{word!r} was not said; heard: {self.messages}"
            time.sleep(0.005)

    def _receive(self) -> None:
        while not self._done.is_set():
            try:
                data, descriptors, _, _ = socket.recv_fds(self._socket, 8192, 16)
            except TimeoutError:
                continue
            message = data.decode()
            self._keep(message, descriptors)
            self.messages.append(message)

    def _keep(self, message: str, descriptors: list[int]) -> None:
        """Do as systemd does with FDSTORE=1 and FDSTOREREMOVE=1; any other descriptor is closed."""
        words = dict(line.partition("=")[::2] for line in message.splitlines())
        name = words.get("FDNAME", "stored")
        if "FDSTOREREMOVE" in words and name in self.store:
            os.close(self.store.pop(name))
        for descriptor in descriptors:
            if words.get("FDSTORE") == "1" and name not in self.store:
                self.store[name] = descriptor
            else:
                os.close(descriptor)
