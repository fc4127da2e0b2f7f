"""Which nodes suit: the scheduler's rules about labels, names and taints."""

from typing import Any

import pytest

from workerpool_operator.suitability import Taint, Traits, parse_wishes


@pytest.mark.parametrize(
    ("labels", "spec", "admitted"),
    [
        ({}, {}, True),
        ({"disk": "ssd"}, {"nodeSelector": {"disk": "ssd"}}, True),
        ({"disk": "hdd"}, {"nodeSelector": {"disk": "ssd"}}, False),
        ({}, {"nodeSelector": {"disk": "ssd"}}, False),
        ({"z": "a"}, ("z", "In", ["a", "b"]), True),
        ({"z": "c"}, ("z", "In", ["a", "b"]), False),
        ({}, ("z", "In", ["a"]), False),
        ({"z": "c"}, ("z", "NotIn", ["a"]), True),
        ({}, ("z", "NotIn", ["a"]), True),
        ({"z": "a"}, ("z", "NotIn", ["a"]), False),
        ({"z": ""}, ("z", "Exists", []), True),
        ({}, ("z", "Exists", []), False),
        ({}, ("z", "DoesNotExist", []), True),
        ({"z": "8"}, ("z", "Gt", ["7"]), True),
        ({"z": "7"}, ("z", "Gt", ["7"]), False),
        ({"z": "6"}, ("z", "Lt", ["7"]), True),
        ({"z": "many"}, ("z", "Lt", ["7"]), False),
        ({"z": "a"}, ("z", "Near", ["a"]), False),
    ],
)
def test_a_node_must_have_the_labels_that_are_asked_for(
    labels: dict[str, str],
    spec: dict[str, Any] | tuple[str, str, list[str]],
    admitted: bool,  # noqa: FBT001  a column of the table
) -> None:
    if isinstance(spec, tuple):
        key, operator, values = spec
        spec = _required([{"key": key, "operator": operator, "values": values}])

    assert parse_wishes(spec).admit(Traits("n1", labels, ())) is admitted


def _required(*terms: list[dict[str, Any]], match: str = "matchExpressions") -> dict[str, Any]:
    selector = {"nodeSelectorTerms": [{match: term} for term in terms]}
    wish = {"requiredDuringSchedulingIgnoredDuringExecution": selector}
    return {"affinity": {"nodeAffinity": wish}}


def test_of_several_terms_one_must_hold_and_an_empty_one_never_does() -> None:
    a = [{"key": "z", "operator": "In", "values": ["a"]}]
    b = [{"key": "z", "operator": "In", "values": ["b"]}]

    def admitted(*terms: list[dict[str, Any]]) -> str:
        wishes = parse_wishes(_required(*terms))
        return "".join(z for z in "abc" if wishes.admit(Traits("n1", {"z": z}, ())))

    assert admitted(a) == "a"
    assert admitted(a, b) == "ab"
    assert admitted(a + b) == ""
    assert admitted([]) == ""


def test_a_node_can_be_asked_for_by_name() -> None:
    wishes = parse_wishes(
        _required(
            [{"key": "metadata.name", "operator": "In", "values": ["b"]}], match="matchFields"
        )
    )

    assert [name for name in "abc" if wishes.admit(Traits(name, {}, ()))] == ["b"]


BATCH = Taint("only", "batch", "NoSchedule")


@pytest.mark.parametrize(
    ("toleration", "admitted"),
    [
        (None, False),
        ({"operator": "Exists"}, True),
        ({"key": "only", "operator": "Exists"}, True),
        ({"key": "only", "operator": "Exists", "effect": "NoExecute"}, False),
        ({"key": "only", "value": "batch", "effect": "NoSchedule"}, True),
        ({"key": "only", "operator": "Equal", "value": "web"}, False),
        ({"key": "other", "operator": "Exists"}, False),
    ],
)
def test_a_taint_keeps_off_who_does_not_tolerate_it(
    toleration: dict[str, str] | None,
    admitted: bool,  # noqa: FBT001  a column of the table
) -> None:
    wishes = parse_wishes({"tolerations": [toleration] if toleration else []})

    assert wishes.admit(Traits("n1", {}, (BATCH,))) is admitted
