"""/healthz, /readyz and /metrics over HTTP, from a thread of the supervisor.

It knows HTTP and what Health and Metrics say; it decides nothing.
"""

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
            self._server = ThreadingHTTPServer(("", port), Handler)
        except OSError as error:
            raise ConfigError(
                f"WORKERPOOL_HTTP_PORT {port} cannot be listened on: {error.strerror}; "
                "choose another, or 0 for any free one"
            ) from error
        self._server.daemon_threads = True
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
