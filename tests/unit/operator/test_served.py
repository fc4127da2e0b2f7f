"""Which queues pods serve, as their template says."""

from typing import Any

import pytest

from workerpool_operator.served import mark, queues_of


def deployment(*env: dict[str, Any]) -> dict[str, Any]:
    worker = {"name": "worker", "env": [{"name": "WORKERPOOL_QUEUE", "value": "a"}, *env]}
    containers = [{"name": "log-shipper"}, worker]
    return {"spec": {"template": {"spec": {"containers": containers}}}}


@pytest.mark.parametrize(
    ("env", "queues"),
    [
        pytest.param([], ("a",), id="one"),
        pytest.param([{"value": "b=3, a=1,"}], ("b", "a"), id="several"),
        pytest.param([{"value": "b=x=3"}], ("b=x",), id="a name with the sign in it"),
        pytest.param([{"valueFrom": {"configMapKeyRef": {}}}], ("a",), id="unreadable"),
    ],
)
def test_the_queues_of_a_template(env: list[dict[str, Any]], queues: tuple[str, ...]) -> None:
    body = deployment(*({"name": "WORKERPOOL_QUEUES", **entry} for entry in env))
    assert queues_of(body, "a") == queues


def test_other_queues_make_another_mark_and_their_order_does_not() -> None:
    assert mark(["a"]) == ""
    assert mark(["a", "b"]) == mark(("b", "a"))
    assert len({mark(["a", "b"]), mark(["a", "c"]), mark(["a", "b", "c"]), mark(["ab", ""])}) == 4
