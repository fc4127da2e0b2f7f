"""The process's settings: environment → frozen `Settings`, all bad variables reported together."""

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TypeVar

from workerpool_operator.errors import ConfigError

T = TypeVar("T")

MOST_REQUEST_SECONDS = 15
"""To read a queue anew takes four answers at most (of the Secret, the login, the greeting, the
reading): a silent server must not look like a plane that is stuck, which it is after a minute."""


@dataclass(frozen=True, slots=True)
class Settings:
    """What the process is told at its start."""

    worker_image: str
    """Image of worker pods whose template names none."""
    worker_image_pull_policy: str = "IfNotPresent"
    watch_namespaces: tuple[str, ...] = ()
    """Namespaces to work in; none means all."""
    http_port: int = 8080
    """Where `/healthz`, `/readyz` and `/metrics` are served."""
    tick_seconds: float = 0.25
    """How often a queue that moves is read."""
    safety_poll_seconds: float = 30.0
    """How often a queue is read although nothing was reported; also the sweep's rhythm."""
    survey_seconds: float = 10.0
    """How often workers are asked what they tell of their cores."""
    request_timeout_seconds: float = 5.0
    """For every request to Redis and to the API server."""
    max_writes_in_flight: int = 16
    """More do not make the API server faster (measured: 635 scale writes a second at 16)."""
    price_per_core_hour: float = 0.0
    """What `workerpool_cost_total` is told in, in any currency; 0 leaves the metric out."""
    capacity: bool = True
    """Whether nodes and pods are looked at, to ask for no more cores than there are."""
    retirement: bool = True
    """Whether only idle pods are taken in a scale-in; it needs rights to pods."""
    log_level: str = "INFO"
    log_format: str = "json"
    pod_name: str = "workerpool-operator"
    """Named in Events as the reporting instance, and in the lease as its holder."""
    pod_namespace: str = ""
    """Where the lease lies; without one, nobody is asked and this operator leads."""
    leader_lease_name: str = "workerpool-operator"
    """The operators that run for the same lease are one: one of them works at a time."""
    leader_lease_seconds: float = 10.0
    """After what silence another takes over: longer than a stall, shorter than anybody waits."""


def read_settings(environment: Mapping[str, str]) -> Settings:
    """Return the settings in `environment`.

    Raises:
        ConfigError: one line for each variable that is missing or wrong.
    """
    problems: list[str] = []

    def take(name: str, parse: Callable[[str], T], default: T) -> T:
        text = environment.get(name, "").strip()
        if not text:
            return default
        try:
            return parse(text)
        except ValueError as error:
            problems.append(f"{name}={text!r}: {error}")
            return default

    worker_image = environment.get("WORKERPOOL_WORKER_IMAGE", "").strip()
    if not worker_image:
        problems.append("WORKERPOOL_WORKER_IMAGE is missing: name the image of worker pods")
    settings = Settings(
        worker_image=worker_image,
        worker_image_pull_policy=take(
            "WORKERPOOL_WORKER_IMAGE_PULL_POLICY",
            _one_of("Always", "IfNotPresent", "Never"),
            "IfNotPresent",
        ),
        watch_namespaces=take("WORKERPOOL_WATCH_NAMESPACES", _names, ()),
        http_port=take("WORKERPOOL_HTTP_PORT", _port, 8080),
        tick_seconds=take("WORKERPOOL_TICK_SECONDS", _seconds, 0.25),
        safety_poll_seconds=take("WORKERPOOL_SAFETY_POLL_SECONDS", _seconds, 30.0),
        survey_seconds=take("WORKERPOOL_SURVEY_SECONDS", _seconds, 10.0),
        request_timeout_seconds=take("WORKERPOOL_REQUEST_TIMEOUT_SECONDS", _patience, 5.0),
        max_writes_in_flight=take("WORKERPOOL_MAX_WRITES_IN_FLIGHT", _positive, 16),
        price_per_core_hour=take("WORKERPOOL_PRICE_PER_CORE_HOUR", _price, 0.0),
        capacity=take("WORKERPOOL_CAPACITY", _one_of("true", "false"), "true") == "true",
        retirement=take("WORKERPOOL_RETIREMENT", _one_of("on", "off"), "on") == "on",
        log_level=take(
            "WORKERPOOL_LOG_LEVEL", _one_of("DEBUG", "INFO", "WARNING", "ERROR"), "INFO"
        ),
        log_format=take("WORKERPOOL_LOG_FORMAT", _one_of("json", "text"), "json"),
        pod_name=environment.get("POD_NAME") or "workerpool-operator",
        pod_namespace=environment.get("POD_NAMESPACE", "").strip(),
        leader_lease_name=take("WORKERPOOL_LEADER_LEASE_NAME", _name, "workerpool-operator"),
        leader_lease_seconds=take("WORKERPOOL_LEADER_LEASE_SECONDS", _lease_seconds, 10.0),
    )
    if settings.pod_namespace and not environment.get("POD_NAME"):
        problems.append("POD_NAME is missing: the lease in POD_NAMESPACE needs a holder's name")
    if problems:
        raise ConfigError("\n".join(problems))
    return settings


def _one_of(*words: str) -> Callable[[str], str]:
    def parse(text: str) -> str:
        if text not in words:
            raise ValueError(f"must be one of {', '.join(words)}")
        return text

    return parse


def _names(text: str) -> tuple[str, ...]:
    return tuple(name.strip() for name in text.split(",") if name.strip())


def _name(text: str) -> str:
    if not re.fullmatch(r"[a-z0-9]([a-z0-9.-]{0,251}[a-z0-9])?", text):
        raise ValueError("must be a Kubernetes name: lower case letters, digits, '-' and '.'")
    return text


def _lease_seconds(text: str) -> float:
    if not text.isdecimal() or not 2 <= int(text) <= 600:  # noqa: PLR2004  a stall, ten minutes
        raise ValueError("must be whole seconds from 2 to 600")
    return float(text)


def _positive(text: str) -> int:
    if not text.isdecimal() or int(text) < 1:
        raise ValueError("must be a whole number of at least 1")
    return int(text)


def _port(text: str) -> int:
    if not text.isdecimal() or not 1 <= int(text) <= 65535:  # noqa: PLR2004  TCP's range
        raise ValueError("must be a port from 1 to 65535")
    return int(text)


def _price(text: str) -> float:
    try:
        price = float(text)
    except ValueError:
        price = -1.0
    if not 0 <= price < float("inf"):
        raise ValueError("must be a number of at least 0, such as 0.045")
    return price


def _seconds(text: str) -> float:
    return _seconds_up_to(3600, text)


def _patience(text: str) -> float:
    return _seconds_up_to(MOST_REQUEST_SECONDS, text)


def _seconds_up_to(most: int, text: str) -> float:
    try:
        seconds = float(text)
    except ValueError:
        seconds = 0.0
    if not 0.01 <= seconds <= most:  # noqa: PLR2004  the least a tick can be
        raise ValueError(f"must be seconds from 0.01 to {most}")
    return seconds
