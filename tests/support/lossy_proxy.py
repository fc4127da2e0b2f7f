"""A TCP proxy on loopback that loses answers, or whole connections, as a network does."""

import contextlib
import select
import socket
import threading
from urllib.parse import urlsplit

from support.context import Context

CHUNK_BYTES = 1 << 16
END_SECONDS = 10.0


class LossyProxy(Context):
    """Forwards to one server; after `lose_answer_to(words)` it swallows one answer.

    The request goes through and is executed; its answer is dropped and the connection closed.
    After `swallow()` every connection that is open is half-open: what either side says is taken
    and goes nowhere, and nobody is told.  New connections are sound.
    """

    def __init__(self, url: str) -> None:
        parts = urlsplit(url)
        self._server = (parts.hostname, parts.port)
        self._listener = socket.create_server(("127.0.0.1", 0))
        self._closing = threading.Event()
        self._words: bytes | None = None
        self._forwarding: list[threading.Event] = []
        self._threads: list[threading.Thread] = []
        self.swallowed = threading.Event()
        self.lost = threading.Event()

    @property
    def url(self) -> str:
        return f"redis://127.0.0.1:{self._listener.getsockname()[1]}/0"

    def lose_answer_to(self, words: bytes) -> None:
        """Lose the answer to the next request that contains these bytes."""
        self.lost.clear()
        self._words = words

    def swallow(self) -> None:
        """Let what is said on the present connections disappear, from now on."""
        self.swallowed.clear()
        for sound in self._forwarding:
            sound.clear()

    def _begin(self) -> None:
        self._start(threading.Thread(target=self._accept, daemon=True))

    def _end(self) -> None:
        """Close all connections: one that waits for a job would get the next test's."""
        self._closing.set()
        with contextlib.suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)  # which wakes who accepts
        self._listener.close()
        while self._threads:
            self._threads.pop(0).join(END_SECONDS)

    def _start(self, thread: threading.Thread) -> None:
        self._threads.append(thread)
        thread.start()

    def _accept(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                client, _ = self._listener.accept()
                forward = threading.Thread(target=self._forward, args=(client,), daemon=True)
                self._start(forward)

    def _forward(self, client: socket.socket) -> None:
        with client, socket.create_connection(self._server) as server:
            losing = False
            sound = threading.Event()
            sound.set()
            self._forwarding.append(sound)
            while not self._closing.is_set():
                readable, _, _ = select.select([client, server], [], [], 0.1)
                with contextlib.suppress(OSError):
                    if not sound.is_set() and readable:
                        said = [side.recv(CHUNK_BYTES) for side in readable]
                        if client in readable:
                            self.swallowed.set()
                        if not all(said):
                            return
                        continue
                    if client in readable:
                        request = client.recv(CHUNK_BYTES)
                        if not request:
                            return
                        if self._words is not None and self._words in request:
                            self._words, losing = None, True
                        server.sendall(request)
                    if server in readable:
                        answer = server.recv(CHUNK_BYTES)
                        if losing or not answer:
                            self.lost.set()
                            return
                        client.sendall(answer)
                    continue
                return
