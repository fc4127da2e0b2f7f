import pytest

from image_worker.errors import ConfigError
from image_worker.keys import keys_of


def hash_tag(key: str) -> str:
    """Return what Redis Cluster hashes of a key, by its published rule."""
    start = key.find("{")
    if start >= 0:
        end = key.find("}", start + 1)
        if end > start + 1:
            return key[start + 1 : end]
    return key


@pytest.mark.parametrize(
    ("name", "prefix"),
    [
        ("queue:images", "{queue:images}:"),
        ("q", "{q}:"),
        ("open{brace", "{open{brace}:"),
        ("q:{eu}:images", "q:{eu}:images:"),
        ("{images}", "{images}{images}:"),
        ("queue:{images}", "queue:{images}:"),
        ("{images}:new", "{images}:new:"),
        ("ärger", "{ärger}:"),
    ],
)
def test_all_keys_of_a_queue_share_a_slot(name: str, prefix: str) -> None:
    keys = keys_of(name)
    assert keys.prefix == prefix
    assert keys.shared == (
        name,
        *(prefix + key for key in ("jobs", "inflight", "retry", "dead", "workers", "stats")),
    )
    every = (*keys.shared, keys.landing, keys.retired, keys.record("w1"))
    assert {hash_tag(key) for key in every} == {hash_tag(name)}


@pytest.mark.parametrize(
    "name",
    [
        "",
        "x" * 513,
        "a b",
        "a\tb",
        "a\nb",
        "a\x00b",
        "a\x7fb",
        "a}b",
        "{}",
        "a{}b",
        "{a}{b}",
        "{a}}",
        "{{a}}",
        "}a{",
    ],
)
def test_names_that_cannot_be_tagged_are_refused(name: str) -> None:
    with pytest.raises(ConfigError, match="a list's name"):
        keys_of(name)
