import socket

import pytest

from workerpool_cli import dialect
from workerpool_cli.address import Address


@pytest.mark.parametrize(
    ("reply", "is_redis"),
    [
        (b"+PONG\r\n", True),
        (b"-NOAUTH Authentication required.\r\n", True),
        (b"HTTP/1.1 400 Bad Request\r\n", False),
        (b"\x15\x03\x01\0\x02\x02\x46", False),
        (b"", False),
    ],
)
def test_a_redis_without_tls_is_known_by_its_first_words(
    monkeypatch: pytest.MonkeyPatch, reply: bytes, *, is_redis: bool
) -> None:
    here, there = socket.socketpair()
    monkeypatch.setattr(socket, "create_connection", lambda *_: here)
    with there:
        there.sendall(reply)
        there.shutdown(socket.SHUT_WR)
        said = dialect.remedy(Address("rediss://127.0.0.1:6379/0"))
        assert (said is not None) is is_redis
        assert there.recv(99) == b"PING\r\n", "and no credential"


@pytest.mark.parametrize("url", ["redis://127.0.0.1:1/0", "rediss://127.0.0.1:1/0", "unix:///x"])
def test_nothing_is_said_of_a_port_where_nobody_is(url: str) -> None:
    assert dialect.remedy(Address(url)) is None
