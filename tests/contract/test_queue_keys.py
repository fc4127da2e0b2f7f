"""Operator and worker share no code, so that they name the same keys is held here."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from image_worker.errors import ConfigError
from image_worker.keys import keys_of
from workerpool_operator.tracking import queue_prefix


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
