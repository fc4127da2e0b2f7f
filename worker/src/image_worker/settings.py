"""The environment → frozen settings, with every mistake reported at once.

Pure but for `with_presets`: it reads a mapping, not the process.  It knows the names of the
WORKERPOOL_ variables; it must not know what is done with their values.
"""

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from datetime import timedelta
from enum import StrEnum
from pathlib import Path
from typing import TypeVar
from urllib.parse import urlsplit

from image_worker import places
from image_worker.errors import ConfigError, TransientFailure
from image_worker.keys import Keys, keys_of
from image_worker.places import Hosts, Place
from image_worker.presets import Presets, parse_json
from image_worker.presets import read as read_presets

PREFIX = "WORKERPOOL_"
_CREDENTIALS = re.compile(r"(?<=://).*(?=@)", re.DOTALL)
"""What of an address is told to nobody, wherever a wrong character may have cut it."""
CHILD_MEMORY = "CHILD_MEMORY_MEGABYTES"
CHILD_RESIDENT = "CHILD_RSS_MEGABYTES"
REDIS_SCHEMES = frozenset({"redis", "rediss", "unix"})
MAX_PORT = 65535
MAX_CORES = 4096
SENTINEL_PORT = 26379
MOST_QUEUES = 16
MOST_WEIGHT = 100
MOST_MEGABYTES = 1 << 20
POD_NAME = re.compile(r"[A-Za-z0-9._-]{0,253}")
LOG_LEVELS = ("DEBUG", "INFO", "WARNING", "ERROR")
T = TypeVar("T")
E = TypeVar("E", bound=StrEnum)


class CpuPolicy(StrEnum):
    """How cores are given out: whole ones with a child each, or a share of any."""

    EXCLUSIVE = "Exclusive"
    SHARED = "Shared"


class Delivery(StrEnum):
    """What becomes of a job whose worker dies: another one gets it, or it is gone."""

    AT_LEAST_ONCE = "at-least-once"
    AT_MOST_ONCE = "at-most-once"


class LogFormat(StrEnum):
    """What a log line is: a JSON object, or words for a person at a terminal."""

    JSON = "json"
    TEXT = "text"


@dataclass(frozen=True, slots=True)
class CpuSettings:
    """Which cores the pool promised; whether it kept that is the kernel's to say."""

    policy: CpuPolicy
    cores: int | None = None
    """How many the pod asked for; with more than that granted, none is our own. None: all."""
    threads_per_core: int = 1
    """CPUs of one physical core that make room for one process."""


@dataclass(frozen=True, slots=True)
class Sentinels:
    """Who knows which server is the master now."""

    addresses: tuple[tuple[str, int], ...]
    master: str
    """The name they know it by."""


@dataclass(frozen=True, slots=True)
class RedisSettings:
    """Where the queue is and who we are there."""

    url: str
    username: str | None
    password: str | None = field(repr=False)
    ca_file: Path | None
    sentinels: Sentinels | None = None
    """With them, the host and port of the URL are theirs to say."""


@dataclass(frozen=True, slots=True)
class ImageSettings:
    """All that a decoding child is told; it holds no credential on purpose."""

    source: Place
    sink: Place
    longest_side: int
    """Pixels of the thumbnail's longest side; smaller photos keep their size."""
    job_timeout: timedelta = timedelta(seconds=120)
    """The supervisor kills a child that works longer on one job; no file is written for longer."""
    presets: Presets = field(default_factory=Presets)
    """What jobs may name; without one a job gets the thumbnail."""
    presets_file: Path | None = None
    """Where more of them are read from, by whoever may read files."""
    max_pixels: int = 200_000_000
    """A photo with more is refused from its header: 200 million take 800 MB to decode."""
    max_file_bytes: int = 512 << 20
    """A file with more is refused before it is read."""
    results_kept: int = 0
    """How many results the list of results keeps; with 0 there is none."""
    endpoint: str | None = None
    """Where the S3 server is; None is Amazon's own."""
    hosts: Hosts = field(default_factory=Hosts)
    """Where photos may be fetched from, if jobs name addresses."""
    memory_bytes: int | None = None
    """A child that would take more address space fails its job; else the kernel kills it.
    None is a share of what the container has."""

    @property
    def carried(self) -> bool:
        """Say whether something else than folders has to be reached."""
        return bool(self.hosts.names) or not (
            isinstance(self.source, Path) and isinstance(self.sink, Path)
        )

    @property
    def input_dir(self) -> Path:
        """The folder photos are in."""
        return _folder(self.source)

    @property
    def output_dir(self) -> Path:
        """The folder renditions go to."""
        return _folder(self.sink)


@dataclass(frozen=True, slots=True)
class Origin:
    """Where this process runs, for people who read the worker's record; None is unknown."""

    namespace: str | None
    pool: str | None
    pod: str | None
    node: str | None
    region: str | None = None


@dataclass(frozen=True, slots=True)
class Queue:
    """A queue to take jobs from, and how much of the time if there are others."""

    keys: Keys
    weight: int = 1


@dataclass(frozen=True, slots=True)
class Settings:
    """All that a supervisor is told."""

    keys: Keys
    """The queue, or the first of several."""
    queues: tuple[Queue, ...]
    delivery: Delivery
    redis: RedisSettings
    images: ImageSettings
    origin: Origin
    job_timeout: timedelta
    """A child that works longer on one job is killed, and the attempt has failed."""
    max_attempts: int
    """Failed attempts after which a job is buried."""
    lease: timedelta
    """A job whose worker is silent for this long belongs to others; one value per queue."""
    cpu: CpuSettings
    child_jobs: int
    """Jobs after which a child is replaced; 0 is never."""
    child_resident_bytes: int | None
    """A child that has more memory after a job is replaced, too; 0 is never, None the usual."""
    ids_kept: timedelta
    """For how long the id of a job that was done is remembered; zero: ids mean nothing."""
    http_port: int
    """Where health and metrics are served; 0 takes any free port."""
    log_level: str
    log_format: LogFormat


def read(environ: Mapping[str, str]) -> Settings:
    """Read every variable, or raise one ConfigError that names all the wrong ones."""
    reader = _Reader(environ)
    images = _images(reader)
    queues = _queues(reader)
    settings = Settings(
        keys=queues[0].keys,
        queues=queues,
        delivery=_delivery(reader, queues),
        redis=RedisSettings(
            url=reader.parsed("REDIS_URL", "", "", _redis_url),
            username=reader.optional("REDIS_USERNAME"),
            password=reader.optional("REDIS_PASSWORD"),
            ca_file=_path(reader.optional("REDIS_CA_FILE")),
            sentinels=_sentinels(reader),
        ),
        images=images,
        origin=Origin(
            namespace=reader.optional("NAMESPACE"),
            pool=reader.optional("POOL"),
            pod=reader.parsed("POD", "", None, _pod),
            node=reader.optional("NODE"),
            region=reader.optional("REGION"),
        ),
        job_timeout=images.job_timeout,
        max_attempts=reader.integer("JOB_MAX_ATTEMPTS", 5, least=1, most=100),
        lease=reader.seconds("LEASE_SECONDS", 15, least=1, most=3_600),
        cpu=_cpu(reader),
        child_jobs=reader.integer("CHILD_JOBS", 50_000, least=0, most=1_000_000_000),
        child_resident_bytes=_resident(reader),
        ids_kept=reader.seconds("IDS_KEPT_SECONDS", 86_400, least=0, most=31_536_000),
        http_port=reader.integer("HTTP_PORT", 8081, least=0, most=MAX_PORT),
        log_level=reader.parsed("LOG_LEVEL", "INFO", "INFO", _log_level),
        log_format=reader.parsed("LOG_FORMAT", "json", LogFormat.JSON, _one_of(LogFormat)),
    )
    reader.finish()
    return settings


def read_images(environ: Mapping[str, str]) -> ImageSettings:
    """Read only what a decoding child is told."""
    reader = _Reader(environ)
    images = _images(reader)
    reader.finish()
    return images


def with_presets(images: ImageSettings) -> ImageSettings:
    """Read the file of presets, if there is one: the only file a setting names and we open."""
    if images.presets_file is None:
        return images
    return replace(images, presets=read_presets(images.presets_file))


class _Reader:
    """Reads one variable after the other and remembers every mistake."""

    def __init__(self, environ: Mapping[str, str]) -> None:
        self._environ = environ
        self._mistakes: list[str] = []

    def text(self, name: str, default: str) -> str:
        return self._environ.get(PREFIX + name) or default

    def optional(self, name: str) -> str | None:
        return self._environ.get(PREFIX + name) or None

    def parsed(self, name: str, default: str, fallback: T, parse: Callable[[str], T]) -> T:
        """Return the parsed value, or note the mistake and return something of its type."""
        value = self.text(name, default)
        try:
            return parse(value)
        except (ValueError, ConfigError) as error:
            self.mistake(name, f"is {_CREDENTIALS.sub('***', value)!r}: {error}")
            return fallback

    def integer(self, name: str, default: int, *, least: int, most: int) -> int:
        def parse(value: str) -> int:
            if not (value.isdecimal() and least <= int(value) <= most):
                raise ValueError(f"write a whole number from {least} to {most}")
            return int(value)

        return self.parsed(name, str(default), default, parse)

    def seconds(self, name: str, default: int, *, least: int, most: int) -> timedelta:
        return timedelta(seconds=self.integer(name, default, least=least, most=most))

    def mistake(self, name: str, what: str) -> None:
        self._mistakes.append(f"{PREFIX}{name} {what}")

    def finish(self) -> None:
        if self._mistakes:
            raise ConfigError(
                "the environment is wrong:\n" + "\n".join(f"  {line}" for line in self._mistakes)
            )


def _images(reader: _Reader) -> ImageSettings:
    inward: Place = Path("/photos/in")
    outward: Place = Path("/photos/out")
    source = reader.parsed("INPUT_DIR", str(inward), inward, places.parse)
    sink = reader.parsed("OUTPUT_DIR", str(outward), outward, places.parse)
    if source == sink:
        reader.mistake("OUTPUT_DIR", "is the INPUT_DIR: thumbnails would replace the photos")
    if reader.optional("PRESETS") and reader.optional("PRESETS_FILE"):
        reader.mistake("PRESETS", "and PRESETS_FILE are both set: keep one")
    return ImageSettings(
        source=source,
        sink=sink,
        endpoint=reader.parsed("S3_ENDPOINT", "", None, places.endpoint),
        hosts=reader.parsed("HTTP_HOSTS", "", Hosts(), places.hosts),
        longest_side=reader.integer("THUMBNAIL_PIXELS", 256, least=1, most=16_384),
        job_timeout=reader.seconds("JOB_TIMEOUT_SECONDS", 120, least=1, most=86_400),
        presets=reader.parsed("PRESETS", "{}", Presets(), parse_json),
        presets_file=_path(reader.optional("PRESETS_FILE")),
        results_kept=reader.integer("RESULTS_KEPT", 0, least=0, most=1_000_000),
        memory_bytes=_megabytes(reader),
    )


def _cpu(reader: _Reader) -> CpuSettings:
    cpu = CpuSettings(
        policy=reader.parsed("CPU_POLICY", "Shared", CpuPolicy.SHARED, _one_of(CpuPolicy)),
        cores=reader.integer("CORES", 0, least=0, most=MAX_CORES) or None,
        threads_per_core=reader.integer("THREADS_PER_CORE", 1, least=1, most=8),
    )
    if (cpu.cores or 0) % cpu.threads_per_core:
        reader.mistake("CORES", f"is {cpu.cores}: write a multiple of THREADS_PER_CORE")
    return cpu


def _folder(place: Place) -> Path:
    if isinstance(place, Path):
        return place
    raise TransientFailure("MissingFolder", f"{place} is no folder")


def _megabytes(reader: _Reader) -> int | None:
    if reader.optional(CHILD_MEMORY) is None:
        return None
    return reader.integer(CHILD_MEMORY, 0, least=128, most=MOST_MEGABYTES) << 20


def _resident(reader: _Reader) -> int | None:
    if reader.optional(CHILD_RESIDENT) is None:
        return None
    least = 64  # with less a fresh child would be too large already

    def parse(value: str) -> int:
        if value != "0" and not (value.isdecimal() and least <= int(value) <= MOST_MEGABYTES):
            raise ValueError(f"write 0 for never, or a number from {least} to {MOST_MEGABYTES}")
        return int(value)

    return reader.parsed(CHILD_RESIDENT, "0", 0, parse) << 20


def _queues(reader: _Reader) -> tuple[Queue, ...]:
    nothing: tuple[Queue, ...] = (Queue(Keys("", "")),)
    if reader.optional("QUEUES") is None:
        return (Queue(reader.parsed("QUEUE", "", Keys("", ""), keys_of)),)
    queues = reader.parsed("QUEUES", "", nothing, _weighted)
    alone = reader.optional("QUEUE")
    if queues != nothing and alone not in {None, *(queue.keys.list for queue in queues)}:
        reader.mistake("QUEUES", f"leaves out {alone}, the WORKERPOOL_QUEUE; add it")
    return queues


def _delivery(reader: _Reader, queues: tuple[Queue, ...]) -> Delivery:
    usual = Delivery.AT_LEAST_ONCE
    delivery = reader.parsed("DELIVERY", usual, usual, _one_of(Delivery))
    if delivery is Delivery.AT_MOST_ONCE and len(queues) > 1:
        reader.mistake("DELIVERY", f"is {delivery}, which can be had for one queue only")
    return delivery


def _weighted(value: str) -> tuple[Queue, ...]:
    """Read `queue:urgent=3,queue:images=1`."""
    words = [word.strip() for word in value.split(",") if word.strip()]
    queues = tuple(_queue(word) for word in words)
    if not 1 <= len(queues) <= MOST_QUEUES:
        raise ValueError(f"write 1 to {MOST_QUEUES} lists, like queue:urgent=3,queue:images=1")
    if len({queue.keys for queue in queues}) < len(queues):
        raise ValueError("a list stands there twice")
    return queues


def _queue(word: str) -> Queue:
    name, _, weight = word.rpartition("=")
    if not (name and weight.isdecimal() and 1 <= int(weight) <= MOST_WEIGHT):
        example = f"{word.partition('=')[0]}=3"
        raise ValueError(f"write {example}, with a weight from 1 to {MOST_WEIGHT}")
    return Queue(keys_of(name), int(weight))


def _sentinels(reader: _Reader) -> Sentinels | None:
    nobody: tuple[tuple[str, int], ...] = ()
    addresses = reader.parsed("REDIS_SENTINELS", "", nobody, _addresses)
    if not addresses:
        return None
    return Sentinels(addresses, reader.text("REDIS_SENTINEL_MASTER", "mymaster"))


def _addresses(value: str) -> tuple[tuple[str, int], ...]:
    return tuple(_address(word.strip()) for word in value.split(",") if word.strip())


def _address(word: str) -> tuple[str, int]:
    parts = urlsplit(f"//{word}")
    if not parts.hostname or parts.username or parts.path:
        raise ValueError("write addresses like sentinel-0:26379,sentinel-1:26379")
    return parts.hostname, parts.port or SENTINEL_PORT


def _pod(value: str) -> str | None:
    """Accept what may end a worker's id: the scripts split lines and keys at other characters."""
    if not POD_NAME.fullmatch(value):
        raise ValueError("write at most 253 letters, digits, dots, underscores and hyphens")
    return value or None


def _path(value: str | None) -> Path | None:
    return None if value is None else Path(value)


def _one_of(kind: type[E]) -> Callable[[str], E]:
    def parse(value: str) -> E:
        if value not in {str(word) for word in kind}:
            raise ValueError(f"write {' or '.join(kind)}")
        return kind(value)

    return parse


def _log_level(value: str) -> str:
    if value.upper() not in LOG_LEVELS:
        raise ValueError(f"write one of {', '.join(LOG_LEVELS)}")
    return value.upper()


def _redis_url(value: str) -> str:
    """Accept an address without credentials: those come by variables that are Secrets."""
    example = "redis://redis:6379/0"
    parts = urlsplit(value)
    if parts.scheme not in REDIS_SCHEMES:
        raise ValueError(f"write an address like {example} (or rediss:// for TLS)")
    if parts.username or parts.password:
        raise ValueError("credentials belong in REDIS_USERNAME and REDIS_PASSWORD")
    if parts.scheme != "unix" and not parts.hostname:
        raise ValueError(f"the host is missing; write an address like {example}")
    try:
        _ = parts.port
    except ValueError:  # whose words quote it: it may be a piece of a password
        raise ValueError(f"the port is none; write an address like {example}") from None
    return value
