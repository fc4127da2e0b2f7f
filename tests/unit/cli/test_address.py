import pytest

from workerpool_cli.address import (
    Address,
    Target,
    completed,
    master_of,
    moved,
    parse,
    sentinel,
    target_of,
)
from workerpool_cli.errors import UsageError


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        ("redis://redis", "redis://redis:6379/0"),
        ("rediss://r.example.com:6380/3", "rediss://r.example.com:6380/3"),
        ("redis://[::1]/2", "redis://[::1]:6379/2"),
        ("unix:///run/redis.sock", "unix:///run/redis.sock"),
    ],
)
def test_an_address_is_shown_in_full(url: str, shown: str) -> None:
    assert parse(url, "--redis-url").url == shown


def test_credentials_are_taken_out_of_the_address() -> None:
    address = parse("redis://ann:s%40cret@redis:6379/0", "--redis-url")
    assert (address.username, address.password) == ("ann", "s@cret")
    assert "s@cret" not in repr(address)
    assert "s%40cret" not in address.url


@pytest.mark.parametrize(
    "url", ["redis", "http://redis", "redis://", "redis://redis:port/0", "redis://redis/images"]
)
def test_what_is_no_address_is_refused_by_its_origin(url: str) -> None:
    with pytest.raises(UsageError, match=r"^WORKERPOOL_REDIS_URL"):
        parse(url, "WORKERPOOL_REDIS_URL")


@pytest.mark.parametrize("secret", ["hun/ter2", "hun#ter2", "hun?ter2"])
@pytest.mark.parametrize("user", ["", "ann"])
def test_no_piece_of_a_password_is_told(user: str, secret: str) -> None:
    with pytest.raises(UsageError, match="%23") as caught:
        parse(f"redis://{user}:{secret}@redis:6379/0", "--redis-url")
    assert "ter2" not in str(caught.value)
    assert "hun" not in str(caught.value)


def test_credentials_in_a_url_win_over_others() -> None:
    address = Address("redis://r:6379/0", username="ann", password="hers")  # noqa: S106
    other = completed(address, username="bob", password="his")  # noqa: S106
    assert (other.username, other.password) == ("ann", "hers")


@pytest.mark.parametrize(
    ("host", "target"),
    [
        ("redis", Target("service", "shop", "redis", 6379)),
        ("redis.data.svc", Target("service", "data", "redis", 6379)),
        ("redis.data.svc.cluster.local", Target("service", "data", "redis", 6379)),
        ("redis-0.redis.data.svc", Target("pod", "data", "redis-0", 6379)),
        ("redis-0.redis.data.svc.cluster.local", Target("pod", "data", "redis-0", 6379)),
        ("redis.example.com", None),
        ("localhost", None),
        ("10.0.0.7", None),
    ],
)
def test_only_names_of_the_cluster_are_reached_through_it(
    host: str, target: Target | None
) -> None:
    assert target_of(parse(f"redis://{host}", ""), "shop") == target


@pytest.mark.parametrize(
    ("words", "url"),
    [
        ("sentinel", "redis://sentinel:26379/0"),
        ("10.0.0.7:5000", "redis://10.0.0.7:5000/0"),
        ("[fd00::7]", "redis://[fd00::7]:26379/0"),
    ],
)
def test_a_sentinel_is_read_as_a_pool_names_it(words: str, url: str) -> None:
    assert sentinel(words).url == url


def test_a_master_is_another_place_of_the_same_redis() -> None:
    found = parse("rediss://ann:secret@MyMaster/3", "")
    there = moved(found, "fd00::7", 6380)
    assert there.url == "rediss://[fd00::7]:6380/3"
    assert (there.username, there.password) == ("ann", "secret")
    assert master_of("rediss://MyMaster/3") == "MyMaster"
