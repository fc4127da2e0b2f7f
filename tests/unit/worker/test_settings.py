from datetime import timedelta
from pathlib import Path

import pytest

from image_worker.errors import ConfigError
from image_worker.settings import CpuPolicy, CpuSettings, LogFormat, Sentinels, read, read_images

LEAST = {"WORKERPOOL_QUEUE": "queue:images", "WORKERPOOL_REDIS_URL": "redis://redis:6379/0"}


def test_two_variables_are_enough() -> None:
    settings = read(LEAST)
    assert settings.keys.list == "queue:images"
    assert settings.keys.prefix == "{queue:images}:"
    assert settings.redis.url == "redis://redis:6379/0"
    assert settings.redis.password is None
    assert settings.job_timeout == timedelta(seconds=120)
    assert settings.max_attempts == 5
    assert settings.lease == timedelta(seconds=15)
    assert settings.cpu == CpuSettings(CpuPolicy.SHARED)
    assert settings.images.input_dir == Path("/photos/in")
    assert settings.images.output_dir == Path("/photos/out")
    assert settings.images.longest_side == 256
    assert settings.child_jobs == 50_000
    assert settings.child_resident_bytes is None
    assert settings.http_port == 8081
    assert settings.log_format is LogFormat.JSON


def several(value: str, **others: str) -> dict[str, int]:
    environ = {"WORKERPOOL_REDIS_URL": "redis://redis", "WORKERPOOL_QUEUES": value, **others}
    return {queue.keys.list: queue.weight for queue in read(environ).queues}


def test_one_queue_is_a_list_of_one() -> None:
    (queue,) = read(LEAST).queues
    assert (queue.keys.list, queue.weight) == ("queue:images", 1)


def test_several_queues_have_weights() -> None:
    assert several("queue:urgent=3, q:{eu}:images=1,a=b=2") == {
        "queue:urgent": 3,
        "q:{eu}:images": 1,
        "a=b": 2,
    }
    assert several("a=1,b=2", WORKERPOOL_QUEUE="b") == {"a": 1, "b": 2}


@pytest.mark.parametrize(
    "wrong",
    [
        *("a", "a=", "=1", "a=0", "a=101", "a=x", "a=-1", ",", "a=1,a=2", "a b=1", "a}=1"),
        ",".join(f"q{n}=1" for n in range(17)),
    ],
)
def test_what_are_no_weighted_queues_is_named(wrong: str) -> None:
    with pytest.raises(ConfigError, match="WORKERPOOL_QUEUES"):
        several(wrong)


def test_the_list_that_the_operator_scales_on_must_be_among_them() -> None:
    with pytest.raises(ConfigError, match="leaves out c"):
        several("a=1,b=2", WORKERPOOL_QUEUE="c")


def test_sentinels_are_a_list_with_the_usual_port() -> None:
    assert read(LEAST).redis.sentinels is None
    environ = {**LEAST, "WORKERPOOL_REDIS_SENTINELS": "a:1, b,[::1]:2"}
    sentinels = read(environ).redis.sentinels
    assert sentinels == Sentinels((("a", 1), ("b", 26379), ("::1", 2)), "mymaster")
    named = read({**environ, "WORKERPOOL_REDIS_SENTINEL_MASTER": "photos"}).redis.sentinels
    assert named is not None
    assert named.master == "photos"


@pytest.mark.parametrize("wrong", ["a:x", "a:99999", "redis://a:1", "u@a:1", ":1"])
def test_what_is_no_sentinels_address_is_named(wrong: str) -> None:
    with pytest.raises(ConfigError, match="WORKERPOOL_REDIS_SENTINELS"):
        read({**LEAST, "WORKERPOOL_REDIS_SENTINELS": wrong})


def test_every_variable_is_read() -> None:
    settings = read(
        {
            "WORKERPOOL_QUEUE": "q:{eu}:images",
            "WORKERPOOL_REDIS_URL": "rediss://redis.example:6380/3",
            "WORKERPOOL_REDIS_USERNAME": "worker",
            "WORKERPOOL_REDIS_PASSWORD": "secret",
            "WORKERPOOL_REDIS_CA_FILE": "/ca.crt",
            "WORKERPOOL_JOB_TIMEOUT_SECONDS": "30",
            "WORKERPOOL_JOB_MAX_ATTEMPTS": "3",
            "WORKERPOOL_LEASE_SECONDS": "5",
            "WORKERPOOL_CPU_POLICY": "Exclusive",
            "WORKERPOOL_NAMESPACE": "photos",
            "WORKERPOOL_POOL": "images",
            "WORKERPOOL_POD": "images-worker-1",
            "WORKERPOOL_NODE": "node-1",
            "WORKERPOOL_CORES": "4",
            "WORKERPOOL_THREADS_PER_CORE": "2",
            "WORKERPOOL_INPUT_DIR": "/in",
            "WORKERPOOL_OUTPUT_DIR": "/out",
            "WORKERPOOL_THUMBNAIL_PIXELS": "1024",
            "WORKERPOOL_CHILD_MEMORY_MEGABYTES": "300",
            "WORKERPOOL_CHILD_JOBS": "1000",
            "WORKERPOOL_CHILD_RSS_MEGABYTES": "200",
            "WORKERPOOL_PRESETS_FILE": "/presets.toml",
            "WORKERPOOL_HTTP_PORT": "9000",
            "WORKERPOOL_LOG_LEVEL": "debug",
            "WORKERPOOL_LOG_FORMAT": "text",
        }
    )
    assert settings.keys.prefix == "q:{eu}:images:"
    assert (settings.redis.username, settings.redis.password) == ("worker", "secret")
    assert settings.redis.ca_file == Path("/ca.crt")
    assert settings.job_timeout == timedelta(seconds=30)
    assert settings.max_attempts == 3
    assert settings.lease == timedelta(seconds=5)
    assert settings.cpu == CpuSettings(CpuPolicy.EXCLUSIVE, cores=4, threads_per_core=2)
    assert settings.origin.namespace == "photos"
    assert settings.origin.pool == "images"
    assert settings.origin.pod == "images-worker-1"
    assert settings.origin.node == "node-1"
    assert settings.images.input_dir == Path("/in")
    assert settings.images.output_dir == Path("/out")
    assert settings.images.longest_side == 1024
    assert settings.images.memory_bytes == 300 << 20
    assert settings.child_jobs == 1000
    assert settings.child_resident_bytes == 200 << 20
    assert settings.images.presets_file == Path("/presets.toml")
    assert settings.http_port == 9000
    assert settings.log_level == "DEBUG"
    assert settings.log_format is LogFormat.TEXT


@pytest.mark.parametrize(
    ("name", "value", "hint"),
    [
        ("QUEUE", "", "1 to 512 characters"),
        ("QUEUE", "with space", "no spaces"),
        ("QUEUE", "a{}b", "exactly one hash tag"),
        ("REDIS_URL", "", "redis://redis:6379/0"),
        ("REDIS_URL", "http://redis", "redis://redis:6379/0"),
        ("CORES", "2.5", "a whole number"),
        ("THREADS_PER_CORE", "0", "from 1 to 8"),
        ("REDIS_URL", "redis://", "the host is missing"),
        ("REDIS_URL", "redis://user:secret@redis", "REDIS_USERNAME and REDIS_PASSWORD"),
        ("REDIS_URL", "redis://redis:99999", "the port is none"),
        ("JOB_TIMEOUT_SECONDS", "0", "from 1 to 86400"),
        ("JOB_TIMEOUT_SECONDS", "soon", "whole number from 1 to 86400"),
        ("JOB_MAX_ATTEMPTS", "101", "from 1 to 100"),
        ("LEASE_SECONDS", "-3", "from 1 to 3600"),
        ("CPU_POLICY", "exclusive", "Exclusive or Shared"),
        ("INPUT_DIR", "photos", "absolute path"),
        ("OUTPUT_DIR", "/photos/in", "would replace the photos"),
        ("THUMBNAIL_PIXELS", "0", "from 1 to 16384"),
        ("CHILD_MEMORY_MEGABYTES", "100", "from 128 to 1048576"),
        ("CHILD_JOBS", "-1", "from 0 to"),
        ("CHILD_RSS_MEGABYTES", "63", "0 for never, or a number from 64 to 1048576"),
        ("CHILD_RSS_MEGABYTES", "much", "0 for never"),
        ("POD", "images worker", "letters, digits, dots"),
        ("POD", "images\nworker", "letters, digits, dots"),
        ("POD", "a@b", "letters, digits, dots"),
        ("POD", "büro", "letters, digits, dots"),
        ("POD", "x" * 254, "at most 253"),
        ("HTTP_PORT", "70000", "from 0 to 65535"),
        ("LOG_LEVEL", "LOUD", "DEBUG, INFO, WARNING, ERROR"),
        ("LOG_FORMAT", "xml", "json or text"),
    ],
)
def test_a_wrong_variable_is_named_with_the_remedy(name: str, value: str, hint: str) -> None:
    with pytest.raises(ConfigError) as caught:
        read({**LEAST, f"WORKERPOOL_{name}": value})
    (line,) = str(caught.value).splitlines()[1:]
    assert f"WORKERPOOL_{name} " in line
    assert hint in line


def test_a_child_of_any_size_and_age_may_be_kept() -> None:
    never = {"WORKERPOOL_CHILD_JOBS": "0", "WORKERPOOL_CHILD_RSS_MEGABYTES": "0"}
    settings = read({**LEAST, **never})
    assert (settings.child_jobs, settings.child_resident_bytes) == (0, 0)


def test_all_mistakes_are_reported_together() -> None:
    with pytest.raises(ConfigError) as caught:
        read({"WORKERPOOL_LEASE_SECONDS": "x", "WORKERPOOL_CPU_POLICY": "y"})
    text = str(caught.value)
    names = ("QUEUE", "REDIS_URL", "LEASE_SECONDS", "CPU_POLICY")
    assert all(f"WORKERPOOL_{name}" in text for name in names)


def test_a_password_never_shows_in_a_representation() -> None:
    settings = read({**LEAST, "WORKERPOOL_REDIS_PASSWORD": "hunter2"})
    assert "hunter2" not in repr(settings)


def test_a_child_reads_its_part_without_the_rest() -> None:
    assert read_images({"WORKERPOOL_THUMBNAIL_PIXELS": "64"}).longest_side == 64


@pytest.mark.parametrize("secret", ["hunter2", "hun/ter2", "hun#ter2", "hun?ter2", "hun@ter2"])
@pytest.mark.parametrize("user", ["", "ann"])
def test_no_piece_of_a_password_is_told(user: str, secret: str) -> None:
    with pytest.raises(ConfigError) as caught:
        read({**LEAST, "WORKERPOOL_REDIS_URL": f"redis://{user}:{secret}@redis:6379/0"})
    assert "ter2" not in str(caught.value)
    assert "hun" not in str(caught.value)
