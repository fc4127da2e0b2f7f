"""Which Redis, and who we are there.

Pure: options and environment → a frozen address.  Credentials may come in a URL or in
variables; they are taken apart here, so that whatever is shown later holds none.
"""

import re
from dataclasses import dataclass, field, replace
from typing import NamedTuple
from urllib.parse import unquote, urlsplit, urlunsplit

from workerpool_cli.errors import UsageError

PREFIX = "WORKERPOOL_"
EXAMPLE = "redis://redis.example.com:6379/0"
DEFAULT_PORT = 6379
SCHEMES = frozenset({"redis", "rediss", "unix"})
SENTINEL_PORT = 26379
_UNQUOTED = "write / # ? @ of a password as %2F %23 %3F %40, and numbers for port and database"
_LABEL = r"[a-z0-9]([a-z0-9-]*[a-z0-9])?"
_SERVICE = re.compile(rf"(?P<name>{_LABEL})(\.(?P<namespace>{_LABEL})\.svc(\..+)?)?")
_POD = re.compile(rf"(?P<name>{_LABEL})\.{_LABEL}\.(?P<namespace>{_LABEL})\.svc(\..+)?")


@dataclass(frozen=True, slots=True)
class Address:
    """How to reach one Redis."""

    url: str
    """Without credentials: fit to be shown."""
    username: str | None = field(default=None, repr=False)
    password: str | None = field(default=None, repr=False)
    password_from: str | None = None
    """Where the password was given, to be told when it is wrong."""
    ca_file: str | None = None
    """A file of PEM certificates to verify a rediss:// server with."""
    ca_pem: str | None = field(default=None, repr=False)
    """The certificates themselves, when they come from a Secret."""
    local_port: int | None = None
    """Where a port-forward to it listens on this machine."""


class Target(NamedTuple):
    """A service or a pod inside the cluster."""

    kind: str
    namespace: str
    name: str
    port: int


def parse(url: str, origin: str) -> Address:
    """Take a URL apart; `origin` says where it was written, for the error."""
    try:
        parts = urlsplit(url)
        host, port = parts.hostname, parts.port
    except ValueError:
        # Its words quote what may be a piece of the password.
        raise UsageError(f"{origin} is no address: {_UNQUOTED}, as in {EXAMPLE}") from None
    if parts.scheme not in SCHEMES or not (host or parts.scheme == "unix"):
        raise UsageError(f"{origin} is no address of a Redis: write {EXAMPLE} (rediss:// for TLS)")
    database = parts.path.strip("/")
    if parts.scheme != "unix" and not f"{database}0".isdecimal():
        raise UsageError(f"{origin} has no number where that of the database belongs: {_UNQUOTED}")
    if parts.scheme == "unix":
        shown = url
    else:
        name = f"[{host}]" if host and ":" in host else host or ""
        shown = urlunsplit(
            (parts.scheme, f"{name}:{port or DEFAULT_PORT}", f"/{database or 0}", "", "")
        )
    return Address(
        url=shown,
        username=unquote(parts.username) if parts.username else None,
        password=unquote(parts.password) if parts.password else None,
        password_from=origin if parts.password else None,
    )


def completed(
    address: Address,
    *,
    username: str | None = None,
    password: str | None = None,
    password_from: str | None = None,
    ca_file: str | None = None,
    ca_pem: str | None = None,
) -> Address:
    """Add what the URL left open; credentials in a URL were written for that URL, and win."""
    if address.password is None:
        address = replace(
            address,
            username=username or address.username,
            password=password or None,
            password_from=password_from,
        )
    return replace(address, ca_file=ca_file or None, ca_pem=ca_pem or None)


def sentinel(words: str) -> Address:
    """Read a Sentinel as a pool names it, `host:port`; they are asked plainly."""
    return moved(parse("redis://sentinel/0", ""), *_host_and_port(words, SENTINEL_PORT))


def moved(address: Address, host: str, port: int) -> Address:
    """Return the same Redis at another place."""
    parts = urlsplit(address.url)
    name = f"[{host}]" if ":" in host else host
    return replace(address, url=urlunsplit(parts._replace(netloc=f"{name}:{port}")))


def master_of(url: str) -> str:
    """Read a master's name where a host would be; to Sentinels case matters."""
    return urlsplit(url).netloc


def target_of(address: Address, namespace: str) -> Target | None:
    """Say what of the cluster a pool's address means; None if it is a host of the world.

    A bare name is a service of the pool's own namespace, as it is for the pool's workers.
    """
    host, port = _host_and_port(urlsplit(address.url).netloc, DEFAULT_PORT)
    host = host.lower()
    if host == "localhost":
        return None
    if match := _SERVICE.fullmatch(host):
        return Target("service", match["namespace"] or namespace, match["name"], port)
    if match := _POD.fullmatch(host):
        return Target("pod", match["namespace"], match["name"], port)
    return None


def _host_and_port(words: str, default: int) -> tuple[str, int]:
    parts = urlsplit(f"//{words}")
    return parts.hostname or "", parts.port or default
