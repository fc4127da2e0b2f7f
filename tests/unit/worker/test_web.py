"""Photos from other hosts: what a producer writes decides nothing that was not allowed."""

import io
import socket
import time
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from image_worker import places
from image_worker.errors import JobError, RejectedJob, TransientFailure
from image_worker.web import Web, is_public
from support.certificates import make_certificates
from support.web_server import WebServer

PATIENCE = 30.0


@pytest.fixture
def server() -> Iterator[WebServer]:
    with WebServer(b"a photo") as running:
        yield running


def fetched(
    server: WebServer, url: str, *, seconds: float = PATIENCE, max_bytes: int = 1_000_000
) -> bytes:
    """Fetch with loopback allowed, which production has no setting for."""
    hosts = places.hosts(f"{server.host},photos.test:{server.port}")
    web = Web(hosts, seconds=seconds, allowed_address=lambda address: address == "127.0.0.1")
    out = io.BytesIO()
    web.fetch(url, out, max_bytes=max_bytes)
    return out.getvalue()


def refusal(
    server: WebServer, url: str, *, seconds: float = PATIENCE, max_bytes: int = 1_000_000
) -> JobError:
    with pytest.raises(JobError) as caught:
        fetched(server, url, seconds=seconds, max_bytes=max_bytes)
    return caught.value


def test_a_photo_is_fetched_from_an_allowed_host(server: WebServer) -> None:
    assert fetched(server, server.url("/photo?size=1&x=%20")) == b"a photo"
    assert server.asked == ["/photo?size=1&x=%20"]


def test_loopback_is_refused_though_its_host_is_allowed(server: WebServer) -> None:
    web = Web(places.hosts(server.host), seconds=PATIENCE)
    with pytest.raises(RejectedJob, match=r"127\.0\.0\.1, which is no public address") as caught:
        web.fetch(server.url("/photo"), io.BytesIO(), max_bytes=1_000)
    assert caught.value.reason == "AddressNotAllowed"
    assert server.asked == []


@pytest.mark.parametrize(
    ("address", "public"),
    [
        ("93.184.216.34", True),
        ("2606:2800:220:1:248:1893:25c8:1946", True),
        ("127.0.0.1", False),
        ("0.0.0.0", False),  # noqa: S104  an address to be refused
        ("10.1.2.3", False),
        ("172.16.0.1", False),
        ("192.168.1.1", False),
        ("100.64.0.1", False),
        ("169.254.169.254", False),
        ("192.0.2.1", False),
        ("224.0.0.1", False),
        ("239.1.1.1", False),
        ("255.255.255.255", False),
        ("240.0.0.1", False),
        ("::1", False),
        ("::", False),
        ("::127.0.0.1", False),
        ("::ffff:127.0.0.1", False),
        ("::ffff:93.184.216.34", True),
        ("64:ff9b::7f00:1", False),
        ("64:ff9b::a00:1", False),
        ("2002:7f00:1::", False),
        ("2001:0:4136:e378:8000:63bf:3fff:fdd2", False),
        ("fe80::1%eth0", False),
        ("fec0::1", False),
        ("fd00::1", False),
        ("ff02::1", False),
    ],
)
def test_only_addresses_of_the_internet_are_public(address: str, *, public: bool) -> None:
    assert is_public(address) is public


@pytest.mark.parametrize(
    "url",
    [
        "http://evil.test/photo",
        "http://127.0.0.1/photo",
        "http://127.0.0.1:1/photo",
        "http://127.1:{port}/photo",
        "http://2130706433:{port}/photo",
        "http://0x7f000001:{port}/photo",
        "http://[::1]:{port}/photo",
        "http://user@127.0.0.1:{port}/photo",
        "http://127.0.0.1:{port}@evil.test/photo",
        "http://127.0.0.1:{port}\\@evil.test/photo",
        "http://127.0.0.1:{port}.evil.test/photo",
        "http://127.0.0.1:{port}/a b",
        "http://127.0.0.1:{port}/a\r\nHost: evil.test",
        "http://127.0.0.1:{port}/\x7f",
        "http://127.0.0.1:{port}/ü",
        "http://127.0.0.1:99999/photo",
        "http:///photo",
        "http://[::1/photo",
        "https://127.0.0.1:1/photo",
        "ftp://127.0.0.1:{port}/photo",
        "file:///etc/passwd",
        "http://127.0.0.1:{port}/" + "x" * 5_000,
    ],
)
def test_what_is_not_plainly_allowed_is_refused_unasked(server: WebServer, url: str) -> None:
    refused = refusal(server, url.replace("{port}", str(server.port)))
    assert isinstance(refused, RejectedJob)
    assert refused.reason == "AddressNotAllowed"
    assert server.asked == []


def test_redirects_are_followed_to_what_is_allowed(server: WebServer) -> None:
    assert fetched(server, server.url("/to//to//photo")) == b"a photo"
    assert fetched(server, server.url(f"/to/{server.url('/photo')}")) == b"a photo"


@pytest.mark.parametrize(
    "to",
    [
        "http://evil.test/photo",
        "http://localhost:{port}/photo",
        "file:///etc/passwd",
        "//a",
        "http://[::1/",
    ],
)
def test_each_redirect_is_judged_as_the_first_address_was(server: WebServer, to: str) -> None:
    refused = refusal(server, server.url("/to/" + to.replace("{port}", str(server.port))))
    assert isinstance(refused, RejectedJob)
    assert refused.reason == "AddressNotAllowed"
    assert len(server.asked) == 1


def test_redirects_in_a_circle_end(server: WebServer) -> None:
    assert "more than 5 redirects" in refusal(server, server.url("/loop")).sentence
    assert len(server.asked) == 6


def names(monkeypatch: pytest.MonkeyPatch, *answers: list[str]) -> list[str]:
    """Have `photos.test` mean something else each time it is asked for; return the questions."""
    real, asked = socket.getaddrinfo, []

    def answer(host: str, port: int, *args: int, **options: int) -> list[Any]:
        if host != "photos.test":
            return real(host, port, *args, **options)
        asked.append(host)
        return [
            (socket.AF_INET, socket.SOCK_STREAM, 6, "", (address, port))
            for address in answers[min(len(asked), len(answers)) - 1]
        ]

    monkeypatch.setattr(socket, "getaddrinfo", answer)
    return asked


def test_the_connection_goes_to_the_address_that_was_checked(
    server: WebServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = names(monkeypatch, ["127.0.0.1"], ["192.0.2.1"])
    assert fetched(server, f"http://photos.test:{server.port}/photo") == b"a photo"
    assert asked == ["photos.test"]


def test_a_name_is_asked_for_and_checked_again_after_a_redirect(
    server: WebServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = names(monkeypatch, ["127.0.0.1"], ["127.0.0.2"])
    refused = refusal(server, f"http://photos.test:{server.port}/to//photo")
    assert "127.0.0.2, which is no public address" in refused.sentence
    assert len(asked) == 2
    assert server.asked == ["/to//photo"]


def test_one_private_address_among_public_ones_is_too_many(
    server: WebServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    names(monkeypatch, ["127.0.0.1", "10.0.0.1"])
    refused = refusal(server, f"http://photos.test:{server.port}/photo")
    assert "10.0.0.1, which is no public address" in refused.sentence
    assert server.asked == []


@pytest.mark.parametrize("path", ["/claims/5000", "/endless"])
def test_no_more_is_taken_than_a_file_may_have(server: WebServer, path: str) -> None:
    refused = refusal(server, server.url(path), max_bytes=1_000)
    assert refused.reason == "FileTooLarge"


@pytest.mark.parametrize("path", ["/drip", "/drip-headers"])
def test_all_of_it_has_to_come_in_time_however_slowly_it_drips(
    server: WebServer, path: str
) -> None:
    late = refusal(server, server.url(path), seconds=0.5)
    assert isinstance(late, TransientFailure)
    assert "took longer than 0.5 s" in late.sentence


def test_an_address_that_never_answers_takes_no_more_than_all_the_time(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    names(monkeypatch, ["127.0.0.1", "127.0.0.2", "127.0.0.3"])
    now, tried = [100.0], []

    def silent(address: tuple[str, int], timeout: float) -> socket.socket:
        tried.append((address[0], timeout))
        now[0] += timeout
        raise TimeoutError

    monkeypatch.setattr(time, "perf_counter", lambda: now[0])
    monkeypatch.setattr(socket, "create_connection", silent)
    web = Web(places.hosts("photos.test:80"), seconds=PATIENCE, allowed_address=lambda _: True)
    with pytest.raises(TransientFailure, match=r"photos\.test: took longer than 30 s") as caught:
        web.fetch("http://photos.test/photo", io.BytesIO(), max_bytes=1_000)
    assert caught.value.reason == "Download"
    assert tried == [("127.0.0.1", PATIENCE)]


def test_of_several_addresses_the_next_one_gets_what_time_is_left(
    server: WebServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    names(monkeypatch, ["127.0.0.2", "127.0.0.1"])
    connect, given = socket.create_connection, []

    def noted(address: tuple[str, int], timeout: float) -> socket.socket:
        given.append(timeout)
        return connect(address, timeout)

    monkeypatch.setattr(socket, "create_connection", noted)
    hosts = places.hosts(f"photos.test:{server.port}")
    web, out = Web(hosts, seconds=PATIENCE, allowed_address=lambda _: True), io.BytesIO()
    web.fetch(f"http://photos.test:{server.port}/photo", out, max_bytes=1_000)
    assert out.getvalue() == b"a photo"
    first, second = given
    assert PATIENCE >= first > second > 0


@pytest.mark.parametrize(
    ("path", "kind"),
    [
        ("/status/404", TransientFailure),
        ("/status/429", TransientFailure),
        ("/status/503", TransientFailure),
        ("/status/403", RejectedJob),
        ("/status/410", RejectedJob),
        ("/status/204", RejectedJob),
        ("/claims/100", TransientFailure),
        ("/nonsense", TransientFailure),
    ],
)
def test_what_may_yet_come_is_worth_a_retry(
    server: WebServer, path: str, kind: type[JobError]
) -> None:
    failed = refusal(server, server.url(path))
    assert isinstance(failed, kind)
    assert failed.reason == "Download"


def test_a_host_that_is_away_is_worth_a_retry(monkeypatch: pytest.MonkeyPatch) -> None:
    names(monkeypatch, ["127.0.0.1"], [])
    with closing(socket.socket()) as taken:  # so that nobody else can answer there
        taken.bind(("127.0.0.1", 0))
        url = f"http://photos.test:{taken.getsockname()[1]}/photo"
        hosts = places.hosts(url.split("/")[2])
        web = Web(hosts, seconds=PATIENCE, allowed_address=lambda _: True)
        for words in ("Connection refused", "it has no address"):
            with pytest.raises(TransientFailure, match=words):
                web.fetch(url, io.BytesIO(), max_bytes=1_000)


def test_a_certificate_has_to_be_right_and_https_is_not_left(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = make_certificates(tmp_path)
    with WebServer(b"a photo", tls=made) as server, WebServer() as plain:
        unknown = refusal(server, server.url("/photo"))
        assert isinstance(unknown, TransientFailure)
        assert "certificate" in unknown.sentence
        monkeypatch.setenv("SSL_CERT_FILE", str(made.ca))
        assert fetched(server, server.url("/photo")) == b"a photo"
        assert fetched(server, server.url("/to//photo")) == b"a photo"
        left = refusal(server, server.url(f"/to/{plain.url('/photo')}"))
        assert isinstance(left, RejectedJob)
        assert "leads away from https" in left.sentence
        assert plain.asked == []


def test_environment_variables_name_no_proxy_that_would_resolve_for_us(
    server: WebServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:1")
    assert fetched(server, server.url("/photo")) == b"a photo"
