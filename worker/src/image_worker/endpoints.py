"""/healthz, /readyz and /metrics over HTTP, from a thread of the supervisor.

It knows HTTP and what Health and Metrics say; it decides nothing.
"""

import errno
import socket
import socketserver
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from image_worker.errors import ConfigError
from image_worker.telemetry import Health, Metrics

CLIENT_SECONDS = 5
METRICS_TYPE = "text/plain; version=0.0.4; charset=utf-8"


class Server:
    """Serves until closed; `port` is the one really bound."""

    def __init__(self, port: int, health: Health, metrics: Metrics) -> None:
        class Handler(_Handler):
            answers = {  # noqa: RUF012 (one server, one class)
                "/healthz": lambda: _verdict(health.stuck()),
                "/readyz": lambda: _verdict(health.obstacles()),
                "/metrics": lambda: (200, metrics.render()),
            }

        try:
            self._server = _listen(port, Handler)
        except OSError as error:
            raise ConfigError(
                f"WORKERPOOL_HTTP_PORT {port} cannot be listened on: {error.strerror}; "
                "choose another, or 0 for any free one"
            ) from error
        self.port: int = self._server.server_address[1]
        self._thread = threading.Thread(
            target=self._server.serve_forever, name="http", daemon=True
        )
        self._thread.start()

    def close(self) -> None:
        """Stop serving."""
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()


class _Ipv4Server(ThreadingHTTPServer):
    daemon_threads = True

    def server_bind(self) -> None:
        """Bind without asking DNS for our own name, which can take seconds in a new pod."""
        socketserver.TCPServer.server_bind(self)
        self.server_name, self.server_port = self.server_address[:2]  # type: ignore[assignment]


class _DualStackServer(_Ipv4Server):
    address_family = socket.AF_INET6

    def server_bind(self) -> None:
        self.socket.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0)
        super().server_bind()


def _listen(port: int, handler: type[BaseHTTPRequestHandler]) -> ThreadingHTTPServer:
    """Listen on every address the pod may be probed at; some kernels have no IPv6."""
    try:
        return _DualStackServer(("::", port), handler)
    except OSError as error:
        if error.errno == errno.EADDRINUSE:
            raise
        return _Ipv4Server(("", port), handler)


def _verdict(problems: tuple[str, ...]) -> tuple[int, str]:
    return (503, "\n".join(problems) + "\n") if problems else (200, "ok\n")


class _Handler(BaseHTTPRequestHandler):
    answers: dict  # type: ignore[type-arg]
    timeout = CLIENT_SECONDS  # a client that says nothing gets nothing

    def do_GET(self) -> None:
        answer = self.answers.get(self.path)
        status, text = answer() if answer else (404, "try /healthz, /readyz or /metrics\n")
        body = text.encode()
        self.send_response(status)
        self.send_header("Content-Type", METRICS_TYPE)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002
        """Probes come every few seconds; they are no news."""
