"""Operator and worker share no code, so that they name the same keys is held here."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from image_worker.errors import ConfigError
from image_worker.keys import keys_of, served
from workerpool_operator.keys import queue_prefix
from workerpool_operator.served import VARIABLE, mark, queues_of


@given(st.text(alphabet="ab:{}", min_size=1, max_size=12))
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
    ],
)
def test_the_keys_share_the_lists_slot(queue: str, prefix: str) -> None:
    assert queue_prefix(queue) == keys_of(queue).prefix == prefix


@given(st.lists(st.text(alphabet="ab=é", min_size=1, max_size=6), min_size=1, max_size=16))
def test_operator_and_worker_mark_the_same_queues_in_the_same_way(lists: list[str]) -> None:
    written = ", ".join(f"{name}={number + 1}" for number, name in enumerate(lists))
    env = [{"name": VARIABLE, "value": written}]
    template = {"spec": {"containers": [{"name": "worker", "env": env}]}}
    read = queues_of({"spec": {"template": template}}, "another")
    assert list(read) == lists
    assert mark(read) == served(lists)
