"""Operator and worker share no code, so that they name the same keys is held here."""

from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from image_worker.errors import ConfigError
from image_worker.keys import keys_of, served
from workerpool_operator.keys import queue_prefix
from workerpool_operator.served import VARIABLE, mark, queues_of

names = st.text(alphabet="ab:{}", min_size=1, max_size=12)
tagged = names.map("{{{}}}".format)


@given(names | tagged)
def test_operator_and_worker_name_the_same_keys(queue: str) -> None:
    try:
        keys = keys_of(queue)
    except ConfigError:
        return  # the CRD refuses it as well (test_crd_refuses.py)
    assert queue_prefix(queue) == keys.prefix


@pytest.mark.parametrize(
    ("queue", "prefix"),
    [
        ("queue:images", "{queue:images}:"),
        ("queue:{eu}:images", "queue:{eu}:images:"),
        ("queue{images", "{queue{images}:"),
        ("{images}", "{images}{images}:"),
    ],
)
def test_the_keys_share_the_lists_slot(queue: str, prefix: str) -> None:
    assert queue_prefix(queue) == keys_of(queue).prefix == prefix


@given(st.sets(names, min_size=1).map(lambda some: some | {f"{{{name}}}" for name in some}))
def test_no_two_lists_share_a_key(lists: set[str]) -> None:
    owners: dict[str, str] = {}
    for queue in sorted(lists):
        with suppress(ConfigError):
            keys = keys_of(queue)
            prefix = queue_prefix(queue)
            beside = {*keys.shared[1:], keys.landing, keys.results, keys.retired}
            for key in (prefix, *beside, keys.memory("1"), keys.record("1")):
                assert owners.setdefault(key, queue) == queue


@given(st.lists(st.text(alphabet="ab=é", min_size=1, max_size=6), min_size=1, max_size=16))
def test_operator_and_worker_mark_the_same_queues_in_the_same_way(lists: list[str]) -> None:
    written = ", ".join(f"{name}={number + 1}" for number, name in enumerate(lists))
    env = [{"name": VARIABLE, "value": written}]
    template = {"spec": {"containers": [{"name": "worker", "env": env}]}}
    read = queues_of({"spec": {"template": template}}, "another")
    assert list(read) == lists
    assert mark(read) == served(lists)
