"""A real redis-server for tests: its own folder, a free loopback port and a unix socket.

It knows how to start, stop, kill, freeze and restart one server, and nothing of what is
stored in it.

    with RedisServer() as server:
        client = redis.Redis.from_url(server.url)
"""

import contextlib
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator, Mapping
from pathlib import Path

import redis

from support.context import Context

START_DEADLINE_SECONDS = 60.0
STOP_DEADLINE_SECONDS = 60.0
PORT_ATTEMPTS = 5
CLIENT_SECONDS = 60.0
"""For an answer. redis-py's own 5 s are soon over on a machine that stands still, and it asks
again: what was pushed would be pushed twice."""


class RedisServerError(RuntimeError):
    """The server did not do what the test asked for; the message carries the end of its log."""


class RedisServer(Context):
    """One redis-server process, stopped and its folder removed when the context ends.

    `config` holds redis.conf directives (`{"maxmemory": "4mb"}`); persistence is off unless
    they turn it on.  The port, the socket and the data survive `restart()`.
    """

    def __init__(
        self, config: Mapping[str, str] | None = None, *, command: str = "redis-server"
    ) -> None:
        self._config = dict(config or {})
        self._command = command
        self._folder: Path | None = None
        self._process: subprocess.Popen[bytes] | None = None
        self._clients: list[redis.Redis] = []
        self.port = 0

    @property
    def url(self) -> str:
        """Its TCP address, database 0."""
        return f"redis://127.0.0.1:{self.port}/0"

    @property
    def known_port(self) -> int:
        """The port that others of its kind know it by: the one with TLS, if it has one."""
        return int(self._config.get("tls-port", self.port))

    @property
    def unix_url(self) -> str:
        """Its unix socket, database 0."""
        return f"unix://{self.folder / 'redis.sock'}?db=0"

    @property
    def folder(self) -> Path:
        """Where its data, socket and log lie."""
        if self._folder is None:
            raise RedisServerError("this RedisServer is not running; use it in a with statement")
        return self._folder

    @property
    def pid(self) -> int:
        """The process id of the running server."""
        return self._running().pid

    def _begin(self) -> None:
        if shutil.which(self._command) is None:
            raise RedisServerError(f"{self._command} is not installed: run `make packages`")
        # A unix socket's path is limited to 107 bytes, and pytest's tmp_path often is longer.
        self._folder = Path(tempfile.mkdtemp(prefix="redis-"))
        self._start_on_a_free_port()

    def client(self) -> redis.Redis:
        """Return a client that survives restarts; it is closed with the server."""
        client = redis.Redis.from_url(self.url, socket_timeout=CLIENT_SECONDS)
        self._clients.append(client)
        return client

    def kill(self) -> None:
        """End the server as a power cut would: nothing is flushed, nobody is told."""
        process = self._running()
        process.kill()
        process.wait(STOP_DEADLINE_SECONDS)
        self._process = None

    def start(self) -> None:
        """Start it again on the same port with the data that was persisted."""
        self._launch()
        self._wait_until_it_answers()

    def begin_to_start(self) -> None:
        """Start it again, and do not wait until it has loaded its data."""
        self._launch()

    def restart(self) -> None:
        """Kill and start."""
        self.kill()
        self.start()

    @contextlib.contextmanager
    def frozen(self) -> Iterator[None]:
        """Hold the process still: connections stay open and nothing answers."""
        process = self._running()
        process.send_signal(signal.SIGSTOP)
        try:
            yield
        finally:
            process.send_signal(signal.SIGCONT)

    @contextlib.contextmanager
    def killed(self) -> Iterator[None]:
        """Be without the process: connections end and nobody listens."""
        self.kill()
        try:
            yield
        finally:
            self.start()

    def _start_on_a_free_port(self) -> None:
        for attempt in range(1, PORT_ATTEMPTS + 1):
            self.port = free_port()
            try:
                self.start()
            except RedisServerError:
                # Somebody may have taken the port between our look and the server's bind.
                if attempt == PORT_ATTEMPTS or "Address already in use" not in self._log():
                    raise
            else:
                return

    def _launch(self) -> None:
        if self._process is not None:
            raise RedisServerError(f"redis-server {self._process.pid} runs already")
        config = {
            "port": str(self.port),
            "bind": "127.0.0.1",
            "unixsocket": str(self.folder / "redis.sock"),
            "dir": str(self.folder),
            "logfile": str(self.folder / "redis.log"),
            "save": "",
            "appendonly": "no",
            "daemonize": "no",
            **self._config,
        }
        arguments = [word for name, value in config.items() for word in (f"--{name}", value)]
        self._process = subprocess.Popen(
            [self._command, *arguments], stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL
        )

    def _wait_until_it_answers(self) -> None:
        deadline = time.monotonic() + START_DEADLINE_SECONDS
        process = self._running()
        while not self._answers():
            if process.poll() is not None:
                self._process = None
                raise RedisServerError(
                    f"redis-server ended with {process.returncode} while starting:\n{self._log()}"
                )
            if time.monotonic() > deadline:
                raise RedisServerError(
                    f"redis-server did not answer in {START_DEADLINE_SECONDS} s:\n{self._log()}"
                )
            time.sleep(0.01)

    def _answers(self) -> bool:
        """Say whether commands are served: LOADING counts as no, NOAUTH as yes.

        At its socket, which it opens after its port: there somebody else's server might answer.
        """
        try:
            with socket.socket(socket.AF_UNIX) as connection:
                connection.settimeout(1.0)
                connection.connect(str(self.folder / "redis.sock"))
                connection.sendall(b"PING\r\n")
                answer = connection.recv(64)
        except OSError:
            return False
        return answer.startswith((b"+PONG", b"-NOAUTH", b"-NOPERM"))

    def _running(self) -> subprocess.Popen[bytes]:
        if self._process is None:
            raise RedisServerError("redis-server is not running")
        return self._process

    def _end(self) -> None:
        for client in self._clients:
            client.close()
        if self._process is not None:
            self.kill()
        if self._folder is not None:
            shutil.rmtree(self._folder)
            self._folder = None

    def _log(self) -> str:
        try:
            return (self.folder / "redis.log").read_text(errors="replace")[-2000:]
        except FileNotFoundError:
            return "(it wrote no log)"


def free_port() -> int:
    """Return a port of loopback that was free a moment ago."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
    return port
