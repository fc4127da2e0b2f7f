"""Where photos are and renditions go: a folder, a bucket, and hosts that photos may come from.

Pure: words → places, with the remedy for wrong ones.  It must not know how any is reached.
"""

import re
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

BUCKET_SCHEME = "s3"
_BUCKET = re.compile(r"[a-z0-9][a-z0-9.-]{1,61}[a-z0-9]")
_LABEL = r"[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?"
_HOST = re.compile(rf"(\*\.(?={_LABEL}\.))?{_LABEL}(\.{_LABEL})*(:[0-9]{{1,5}})?")
DEFAULT_PORTS = {"http": 80, "https": 443}


@dataclass(frozen=True, slots=True)
class Bucket:
    """A prefix in an S3 bucket; names below it are those below a folder."""

    name: str
    prefix: str

    def __str__(self) -> str:
        return f"{BUCKET_SCHEME}://{self.name}/{self.prefix}".rstrip("/")


Place = Path | Bucket


@dataclass(frozen=True, slots=True)
class Hosts:
    """Hosts a job may name: `host`, `host:port`, `*.domain`; without a port the usual ones."""

    names: tuple[str, ...] = ()

    def allow(self, host: str, port: int, scheme: str) -> bool:
        """Say whether a photo may be fetched from there."""
        return any(_matches(name, host, port, scheme) for name in self.names)


def parse(text: str) -> Place:
    """Read an absolute path or `s3://bucket/prefix`."""
    if "://" not in text:
        if not text.startswith("/"):
            raise ValueError("write an absolute path or s3://bucket/prefix")
        return Path(text)
    parts = urlsplit(text)
    if parts.scheme != BUCKET_SCHEME or parts.query or parts.fragment:
        raise ValueError("write an absolute path or s3://bucket/prefix")
    if "@" in parts.netloc:
        raise ValueError("credentials belong in AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY")
    if not _BUCKET.fullmatch(parts.netloc):
        raise ValueError("the bucket has to be of a-z, 0-9, . and -, 3 to 63 characters")
    prefix = parts.path.strip("/")
    if prefix and {"", ".", ".."} & set(prefix.split("/")):
        raise ValueError("the prefix has an empty part, a . or a ..")
    return Bucket(parts.netloc, prefix)


def endpoint(text: str) -> str | None:
    """Read where the S3 server is; empty is Amazon's own."""
    if not text:
        return None
    parts = urlsplit(text)
    _ = parts.port  # raises ValueError when it is no port
    if parts.scheme not in DEFAULT_PORTS or not parts.hostname or parts.path.strip("/"):
        raise ValueError("write an address like https://minio.example.org:9000")
    if "@" in parts.netloc:
        raise ValueError("credentials belong in AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY")
    return f"{parts.scheme}://{parts.netloc}"


def hosts(text: str) -> Hosts:
    """Read the hosts that photos may be fetched from, separated by commas."""
    names = tuple(word.strip().lower() for word in text.split(",") if word.strip())
    wrong = [name for name in names if not _HOST.fullmatch(name)]
    if wrong:
        raise ValueError(f"{wrong[0]!r} is no host; write images.example.org,*.cdn.example.org")
    return Hosts(names)


def _matches(name: str, host: str, port: int, scheme: str) -> bool:
    allowed, _, own_port = name.partition(":")
    if port != (int(own_port) if own_port else DEFAULT_PORTS[scheme]):
        return False
    return host.endswith(allowed[1:]) if allowed.startswith("*.") else host == allowed
