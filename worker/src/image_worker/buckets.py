"""Files in S3-compatible buckets, by the names they would have in a folder.

An upload is there as a whole or not at all: that is S3's promise, so nothing is renamed.
Credentials come from the environment that the library reads by itself (AWS_ACCESS_KEY_ID, …).
The library is an extra: it is loaded when the first bucket is.
"""

import html
import re
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from importlib.util import find_spec
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, BinaryIO

from image_worker.errors import ConfigError, RejectedJob, TransientFailure
from image_worker.places import Bucket, Place

if TYPE_CHECKING:
    from obstore.store import S3Store

CHUNK_BYTES = 1 << 20
CONNECT_WITHIN = timedelta(seconds=5)
RETRIES = 3
CONTENT_TYPES = {
    ".jpg": "image/jpeg",
    ".jpeg": "image/jpeg",
    ".png": "image/png",
    ".webp": "image/webp",
    ".avif": "image/avif",
    ".json": "application/json",
}
# https://docs.aws.amazon.com/AmazonS3/latest/API/ErrorResponses.html
SERVERS_WORDS = re.compile(r"<Code>([A-Za-z]{1,100})</Code>\s*<Message>([^<]{0,300})")


def refuse_without_library(*places: Place) -> None:
    """Say at once that a bucket cannot be reached, instead of failing every job."""
    for place in places:
        if isinstance(place, Bucket) and find_spec("obstore") is None:
            raise ConfigError(f"{place} needs the extra: pip install 'image-worker[remote]'")


def opened(bucket: Bucket, endpoint: str | None, within: timedelta) -> "S3Store":
    """Prepare a bucket; nothing is asked yet."""
    refuse_without_library(bucket)
    from obstore.store import S3Store  # noqa: PLC0415 (an extra)

    return S3Store(
        bucket.name,
        prefix=bucket.prefix or None,
        endpoint=endpoint,
        client_options={
            "allow_http": (endpoint or "").startswith("http://"),
            "connect_timeout": CONNECT_WITHIN,
            "timeout": within,
        },
        retry_config={"max_retries": RETRIES, "retry_timeout": within},
    )


def fetch(store: "S3Store", path: PurePosixPath, out: BinaryIO, *, max_bytes: int) -> None:
    """Write what is there into a file."""
    import obstore  # noqa: PLC0415 (an extra)

    with _translated(path):
        found = obstore.get(store, str(path))
        size = found.meta["size"]
        if size > max_bytes:
            raise RejectedJob("FileTooLarge", f"{path} has {size} bytes; {max_bytes} are the most")
        out.writelines(found.stream(min_chunk_size=CHUNK_BYTES))


def store(target: "S3Store", path: PurePosixPath, file: Path) -> None:
    """Put a whole file in place, replacing what was there."""
    import obstore  # noqa: PLC0415 (an extra)

    with _translated(path):
        obstore.put(
            target,
            str(path),
            file,
            attributes={"Content-Type": CONTENT_TYPES[path.suffix.lower()]},
        )


@contextmanager
def _translated(path: PurePosixPath) -> Iterator[None]:
    try:
        yield
    except FileNotFoundError as error:
        if "NoSuchBucket" in str(error):
            raise TransientFailure("MissingFolder", "the bucket does not exist") from error
        raise TransientFailure("MissingFile", f"{path} does not exist") from error
    except ValueError as error:
        raise RejectedJob("BadFilename", f"{path} cannot be the name of an object") from error
    except RejectedJob:
        raise
    except Exception as error:
        # The library's own errors are many; each of them is the world's fault and not the job's.
        raise TransientFailure("Storage", f"{path}: {_said(str(error))}") from error


def _said(words: str) -> str:
    """Prefer the server's words: its library calls a wrong secret a missing right."""
    if answer := SERVERS_WORDS.search(words):
        return f"the server says {answer[1]}: {html.unescape(answer[2])}"
    return words.partition("\n")[0][:300]
