"""The process's settings."""

import pytest

from workerpool_operator.__main__ import STUCK_SECONDS
from workerpool_operator.errors import ConfigError
from workerpool_operator.settings import MOST_REQUEST_SECONDS, Settings, read_settings

IMAGE = {"WORKERPOOL_WORKER_IMAGE": "image-worker:1"}


def test_the_worker_image_is_all_that_must_be_said() -> None:
    assert read_settings(IMAGE) == Settings(worker_image="image-worker:1")


def test_every_variable_is_read() -> None:
    assert read_settings(
        {
            "WORKERPOOL_WORKER_IMAGE": " image-worker:2 ",
            "WORKERPOOL_WORKER_IMAGE_PULL_POLICY": "Never",
            "WORKERPOOL_WATCH_NAMESPACES": "shop, studio,",
            "WORKERPOOL_HTTP_PORT": "9090",
            "WORKERPOOL_TICK_SECONDS": "0.5",
            "WORKERPOOL_SAFETY_POLL_SECONDS": "10",
            "WORKERPOOL_REQUEST_TIMEOUT_SECONDS": "2.5",
            "WORKERPOOL_MAX_WRITES_IN_FLIGHT": "4",
            "WORKERPOOL_PRICE_PER_CORE_HOUR": "0.045",
            "WORKERPOOL_LOG_LEVEL": "DEBUG",
            "WORKERPOOL_LOG_FORMAT": "text",
            "POD_NAME": "operator-0",
            "POD_NAMESPACE": "scaling",
            "WORKERPOOL_CAPACITY": "false",
            "WORKERPOOL_LEADER_LEASE_NAME": "images-operator",
            "WORKERPOOL_LEADER_LEASE_SECONDS": "15",
        }
    ) == Settings(
        worker_image="image-worker:2",
        worker_image_pull_policy="Never",
        watch_namespaces=("shop", "studio"),
        http_port=9090,
        tick_seconds=0.5,
        safety_poll_seconds=10.0,
        request_timeout_seconds=2.5,
        max_writes_in_flight=4,
        price_per_core_hour=0.045,
        log_level="DEBUG",
        log_format="text",
        pod_name="operator-0",
        pod_namespace="scaling",
        capacity=False,
        leader_lease_name="images-operator",
        leader_lease_seconds=15.0,
    )


def test_an_empty_variable_is_as_good_as_none() -> None:
    """A chart renders a value that was left out as an empty string."""
    empty = dict.fromkeys(("WORKERPOOL_HTTP_PORT", "WORKERPOOL_LOG_LEVEL", "POD_NAME"), "")

    assert read_settings(IMAGE | empty) == read_settings(IMAGE)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("WORKERPOOL_WORKER_IMAGE_PULL_POLICY", "Sometimes"),
        ("WORKERPOOL_HTTP_PORT", "0"),
        ("WORKERPOOL_HTTP_PORT", "65536"),
        ("WORKERPOOL_HTTP_PORT", "http"),
        ("WORKERPOOL_HTTP_PORT", "-1"),
        ("WORKERPOOL_TICK_SECONDS", "0"),
        ("WORKERPOOL_TICK_SECONDS", "nan"),
        ("WORKERPOOL_TICK_SECONDS", "inf"),
        ("WORKERPOOL_TICK_SECONDS", "1s"),
        ("WORKERPOOL_SAFETY_POLL_SECONDS", "-3"),
        ("WORKERPOOL_SAFETY_POLL_SECONDS", "3601"),
        ("WORKERPOOL_REQUEST_TIMEOUT_SECONDS", "15.1"),
        ("WORKERPOOL_MAX_WRITES_IN_FLIGHT", "0"),
        ("WORKERPOOL_MAX_WRITES_IN_FLIGHT", "1.5"),
        ("WORKERPOOL_LOG_LEVEL", "debug"),
        ("WORKERPOOL_LOG_FORMAT", "xml"),
    ],
)
def test_a_bad_variable_is_named_with_its_value_and_what_it_must_be(name: str, value: str) -> None:
    with pytest.raises(ConfigError, match=rf"^{name}='{value}': must be ") as caught:
        read_settings(IMAGE | {name: value})

    assert len(str(caught.value).splitlines()) == 1


def test_all_bad_variables_are_reported_together() -> None:
    with pytest.raises(ConfigError) as caught:
        read_settings(
            {
                "WORKERPOOL_HTTP_PORT": "x",
                "WORKERPOOL_TICK_SECONDS": "y",
                "WORKERPOOL_LOG_FORMAT": "z",
            }
        )

    named = [line.partition("=")[0].split()[0] for line in str(caught.value).splitlines()]
    assert named == [
        "WORKERPOOL_WORKER_IMAGE",
        "WORKERPOOL_HTTP_PORT",
        "WORKERPOOL_TICK_SECONDS",
        "WORKERPOOL_LOG_FORMAT",
    ]


def test_a_lease_needs_a_holder_that_can_be_told_from_others() -> None:
    with pytest.raises(ConfigError, match="POD_NAME is missing"):
        read_settings(IMAGE | {"POD_NAMESPACE": "scaling"})


@pytest.mark.parametrize(
    ("name", "value", "complaint"),
    [
        ("WORKERPOOL_LEADER_LEASE_NAME", "Images", "must be a Kubernetes name"),
        ("WORKERPOOL_LEADER_LEASE_SECONDS", "1", "whole seconds from 2 to 600"),
        ("WORKERPOOL_LEADER_LEASE_SECONDS", "2.5", "whole seconds from 2 to 600"),
    ],
)
def test_a_lease_that_cannot_be_held_is_refused(name: str, value: str, complaint: str) -> None:
    with pytest.raises(ConfigError, match=complaint):
        read_settings(IMAGE | {name: value})


def test_four_answers_that_are_waited_for_are_no_stuck_plane() -> None:
    assert STUCK_SECONDS >= 4 * MOST_REQUEST_SECONDS
