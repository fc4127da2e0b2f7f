"""Whether a port speaks TLS or plainly, asked when talking to it the one way has failed.

It knows sockets, and no credential is ever sent; it must not know the queue or redis-py.
"""

import socket
import ssl
from contextlib import suppress
from urllib.parse import urlsplit

from workerpool_cli.address import DEFAULT_PORT, Address

SECONDS = 2.0
REPLIES = (b"+", b"-")
"""What a Redis answers to PING begins so, whoever asks."""


def remedy(address: Address) -> str | None:
    """Say what is wrong if the port speaks the other way; None if it does not, or is silent."""
    match urlsplit(address.url).scheme:
        case "rediss" if _answers_plainly(address):
            return "answers without TLS: write redis://, or give the port at which it speaks TLS"
        case "redis" if _speaks_tls(address):
            return "speaks TLS at this port: write rediss://"
    return None


def _answers_plainly(address: Address) -> bool:
    with suppress(OSError), _connected(address) as there:
        there.sendall(b"PING\r\n")
        return there.recv(1) in REPLIES
    return False


def _speaks_tls(address: Address) -> bool:
    context = ssl.create_default_context()
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE  # nothing is told to whoever it is
    with suppress(OSError), _connected(address) as there, context.wrap_socket(there):
        return True
    return False


def _connected(address: Address) -> socket.socket:
    parts = urlsplit(address.url)
    where = (parts.hostname or "", parts.port or DEFAULT_PORT)
    if address.local_port is not None:
        where = ("127.0.0.1", address.local_port)
    return socket.create_connection(where, SECONDS)
