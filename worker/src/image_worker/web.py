"""Photos from hosts that the pool allows, and from nowhere else.

A job's producer chooses the address, so each step is distrusted: the host has to be allowed, all
its addresses public, and the connection goes to an address that was checked and not to whatever
the name means a moment later.  Every redirect goes the same way again.  It knows HTTP; it must
not know images or jobs.
"""

import http.client
import ipaddress
import math
import socket
import ssl
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from functools import cached_property
from http import HTTPStatus
from typing import BinaryIO, Self
from urllib.parse import urljoin, urlsplit

from image_worker.errors import RejectedJob, TransientFailure
from image_worker.places import DEFAULT_PORTS, Hosts

MAX_REDIRECTS = 5
MAX_ADDRESS_CHARACTERS = 4_000
CHUNK_BYTES = 1 << 16
REDIRECTS = frozenset({301, 302, 303, 307, 308})
WORTH_A_RETRY = frozenset({404, 408, 425, 429})
NAT64 = ipaddress.ip_network("64:ff9b::/96")
HEADERS = {
    "Accept": "image/*",
    "Accept-Encoding": "identity",  # nothing is unpacked here, so nothing can be a bomb
    "User-Agent": "image-worker",
    "Connection": "close",
}


@dataclass(frozen=True, slots=True)
class Target:
    """An address that may be asked."""

    scheme: str
    host: str
    port: int
    path: str


def is_public(address: str) -> bool:
    """Say whether an address is one of the internet's: and not loopback, private or link-local."""
    ip = ipaddress.ip_address(address.partition("%")[0])
    if isinstance(ip, ipaddress.IPv6Address):
        inner = ip.ipv4_mapped or ip.sixtofour
        if ip in NAT64:
            inner = ipaddress.IPv4Address(ip.packed[-4:])
        if inner is not None:
            return is_public(str(inner))
        if ip.teredo or ip.is_reserved or ip.is_site_local:
            return False
    return ip.is_global and not ip.is_multicast


class Web:
    """Fetches from allowed hosts, within a time for all of it."""

    def __init__(
        self,
        hosts: Hosts,
        *,
        seconds: float,
        allowed_address: Callable[[str], bool] = is_public,
    ) -> None:
        self._hosts = hosts
        self._seconds = seconds
        self._allowed_address = allowed_address

    @cached_property
    def _tls(self) -> ssl.SSLContext:
        """Whom to trust, which takes tens of milliseconds to read; many need it for no photo."""
        return ssl.create_default_context()

    def fetch(self, url: str, out: BinaryIO, *, max_bytes: int) -> None:
        """Write what is there into a file.

        Raises RejectedJob for what is not allowed, TransientFailure for what may yet come.
        """
        with _Deadline(self._seconds) as deadline:
            for _ in range(MAX_REDIRECTS + 1):
                target = self._target(url)
                with self._answer(target, deadline) as answer:
                    if answer.status not in REDIRECTS:
                        _save(answer, target, out, max_bytes)
                        return
                    url = _led_on(url, answer.headers.get("Location", ""))
                if target.scheme == "https" and not url.startswith("https:"):
                    raise RejectedJob("AddressNotAllowed", f"{target.host} leads away from https")
        raise RejectedJob("AddressNotAllowed", f"more than {MAX_REDIRECTS} redirects")

    def _target(self, url: str) -> Target:
        """Read an address strictly: what two programs may understand differently is refused."""
        if len(url) > MAX_ADDRESS_CHARACTERS:
            raise _refused(f"the address has more than {MAX_ADDRESS_CHARACTERS} characters")
        if not url.isascii() or not url.isprintable() or set(url) & set(' \\"<>'):
            raise _refused("the address has characters that have to be percent-encoded")
        try:
            parts = urlsplit(url)
            port = parts.port
        except ValueError as error:
            raise _refused(f"the address is none: {error}") from error
        scheme, host = parts.scheme.lower(), parts.hostname or ""
        if scheme not in DEFAULT_PORTS:
            raise _refused(f"the address has the scheme {scheme!r}, and not https or http")
        if "@" in parts.netloc:
            raise _refused("the address has a user name")
        port = DEFAULT_PORTS[scheme] if port is None else port
        if not self._hosts.allow(host, port, scheme):
            raise _refused(f"the host {host!r}, port {port}, is not in WORKERPOOL_HTTP_HOSTS")
        path = parts.path or "/"
        return Target(scheme, host, port, f"{path}?{parts.query}" if parts.query else path)

    @contextmanager
    def _answer(self, target: Target, deadline: "_Deadline") -> Iterator[http.client.HTTPResponse]:
        kind = http.client.HTTPSConnection if target.scheme == "https" else _Plain
        try:
            # With a socket of its own the connection never resolves the name again.
            with deadline.holding(self._connected(target, deadline)) as plain:
                connection = kind(target.host, target.port)
                connection.sock = (
                    self._tls.wrap_socket(plain, server_hostname=target.host)
                    if target.scheme == "https"
                    else plain
                )
                connection.request("GET", target.path, headers=HEADERS)
                with connection.sock, connection.getresponse() as answer:
                    yield answer
                if deadline.passed:  # what was cut off then may look like an end
                    raise TimeoutError
        except (OSError, http.client.HTTPException) as error:
            what = f"took longer than {self._seconds:g} s" if deadline.passed else str(error)
            raise TransientFailure("Download", f"{target.host}: {what}") from error

    def _connected(self, target: Target, deadline: "_Deadline") -> socket.socket:
        """Connect to an address that was checked, within the time that is left of the whole."""
        try:
            found = socket.getaddrinfo(target.host, target.port, type=socket.SOCK_STREAM)
        except (socket.gaierror, UnicodeError) as error:
            raise TransientFailure("Download", f"{target.host} is not found: {error}") from error
        addresses = list(dict.fromkeys(str(info[4][0]) for info in found))
        private = [address for address in addresses if not self._allowed_address(address)]
        if private:
            raise _refused(f"{target.host} is at {private[0]}, which is no public address")
        problem: OSError | None = None
        for address in addresses:
            left = deadline.left()
            if left <= 0:
                raise TimeoutError
            try:
                return socket.create_connection((address, target.port), left)
            except OSError as error:
                problem = error
        raise problem or OSError("it has no address")


class _Deadline:
    """Ends a conversation however slowly the other side drips its bytes."""

    def __init__(self, seconds: float) -> None:
        self._seconds = seconds
        self._ends = math.inf
        self._lock = threading.Lock()
        self._socket: socket.socket | None = None
        self._timer = threading.Timer(seconds, self._pass)
        self._timer.daemon = True

    def __enter__(self) -> Self:
        self._ends = time.perf_counter() + self._seconds
        self._timer.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._timer.cancel()

    def left(self) -> float:
        """Return the seconds that are left; none or fewer when it is over."""
        return self._ends - time.perf_counter()

    @property
    def passed(self) -> bool:
        """Say whether the time is over."""
        return self.left() <= 0

    @contextmanager
    def holding(self, connected: socket.socket) -> Iterator[socket.socket]:
        """Have a socket end with the time."""
        # The timer needs one of its own: TLS takes the other over.
        with connected, connected.dup() as ours:
            with self._lock:
                if self.passed:
                    raise TimeoutError
                self._socket = ours
            try:
                yield connected
            finally:
                with self._lock:
                    self._socket = None

    def _pass(self) -> None:
        with self._lock:
            if self._socket is not None:
                with suppress(OSError):
                    self._socket.shutdown(socket.SHUT_RDWR)


_Plain = http.client.HTTPConnection


def _save(answer: http.client.HTTPResponse, target: Target, out: BinaryIO, max_bytes: int) -> None:
    if answer.status != HTTPStatus.OK:
        what = f"{target.host} answers {answer.status} {answer.reason[:100]}"
        if answer.status in WORTH_A_RETRY or answer.status >= HTTPStatus.INTERNAL_SERVER_ERROR:
            raise TransientFailure("Download", what)
        raise RejectedJob("Download", what)
    wanted, got = answer.length, 0
    while chunk := answer.read(CHUNK_BYTES) if (wanted or 0) <= max_bytes else b"":
        got += len(chunk)
        if got > max_bytes:
            break
        out.write(chunk)
    if max(got, wanted or 0) > max_bytes:
        raise RejectedJob("FileTooLarge", f"{max_bytes} bytes are the most")
    if wanted is not None and got < wanted:
        raise ConnectionError(f"it sent {got} of {wanted} bytes")


def _led_on(url: str, location: str) -> str:
    try:
        return urljoin(url, location)
    except ValueError as error:
        raise _refused(f"it leads to what is no address: {error}") from error


def _refused(what: str) -> RejectedJob:
    return RejectedJob("AddressNotAllowed", what)
