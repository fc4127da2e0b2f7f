"""A web server on loopback that behaves as badly as a stranger's may.

It knows HTTP only; what is asked of it is in its log.
"""

import ssl
import threading
from contextlib import suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from support.certificates import Certificates
from support.context import Context

DRIP_SECONDS = 0.05
STOP_SECONDS = 0.005
"""How often it looks whether it is to stop: tests wait for that at the end of each."""
REFUSAL = b"""<?xml version="1.0" encoding="UTF-8"?>
<Error><Code>SignatureDoesNotMatch</Code><Message>Check your &#34;key&#34;.</Message></Error>
"""
"""What an S3 server says of a wrong secret, here in the bucket `refused`."""


class WebServer(Context):
    """Serves `/photo`, and faults named by their paths."""

    def __init__(self, photo: bytes = b"photo", *, tls: Certificates | None = None) -> None:
        self._scheme = "http" if tls is None else "https"
        self.photo = photo
        self.asked: list[str] = []
        self.closing = threading.Event()
        owner = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                owner.asked.append(self.path)
                with suppress(OSError):  # the client hung up, as it should
                    owner.answer(self)

            def log_message(self, *_: object) -> None:
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        if tls is not None:
            context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            context.load_cert_chain(tls.certificate, tls.key)
            self.server.socket = context.wrap_socket(self.server.socket, server_side=True)
        self.server.daemon_threads = True
        self.server.block_on_close = False
        self._thread = threading.Thread(target=self.server.serve_forever, args=(STOP_SECONDS,))

    @property
    def port(self) -> int:
        return int(self.server.server_address[1])

    @property
    def host(self) -> str:
        """What an allow-list has to name."""
        return f"127.0.0.1:{self.port}"

    def url(self, path: str) -> str:
        return f"{self._scheme}://{self.host}{path}"

    def _begin(self) -> None:
        self._thread.start()

    def _end(self) -> None:
        self.closing.set()
        if self._thread.is_alive():
            self.server.shutdown()
            self._thread.join(10)
        self.server.server_close()

    def answer(self, ask: BaseHTTPRequestHandler) -> None:
        what, _, rest = ask.path.lstrip("/").partition("/")
        match what:
            case "to" | "loop":
                ask.send_response(302)
                ask.send_header("Location", rest or "/loop")
                ask.end_headers()
            case "status":
                ask.send_response(int(rest))
                ask.end_headers()
            case "refused":
                self._body(ask, REFUSAL, claimed=len(REFUSAL), status=403)
            case "claims":
                self._body(ask, b"x" * 10, claimed=int(rest))
            case "endless":
                ask.send_response(200)
                ask.end_headers()
                while not self.closing.is_set():
                    ask.wfile.write(b"x" * 65536)
            case "drip":
                self._body(ask, b"", claimed=1_000)
                self._drip(ask)
            case "drip-headers":
                ask.wfile.write(b"HTTP/1.1 200 OK\r\n")
                self._drip(ask)
            case "nonsense":
                ask.wfile.write(b"\0\1\2 nothing of HTTP\r\n\r\n")
            case _:
                self._body(ask, self.photo, claimed=len(self.photo))

    def _drip(self, ask: BaseHTTPRequestHandler) -> None:
        while not self.closing.wait(DRIP_SECONDS):
            ask.wfile.write(b"x")

    def _body(
        self, ask: BaseHTTPRequestHandler, body: bytes, *, claimed: int, status: int = 200
    ) -> None:
        ask.send_response(status)
        ask.send_header("Content-Length", str(claimed))
        ask.end_headers()
        ask.wfile.write(body)
