"""Pods, and the region their template requires."""

from typing import Any

import pytest

from support.workerpools import stored
from workerpool_operator.errors import Unreadable
from workerpool_operator.evidence import Report, Survey
from workerpool_operator.placement import REGION, condition, required_regions
from workerpool_operator.resource import Key, Pool, parse
from workerpool_operator.workload import deployment

KEY = Key("shop", "images")


def affinity(*terms: list[tuple[str, str, list[str]]]) -> dict[str, Any]:
    return {
        "affinity": {
            "nodeAffinity": {
                "requiredDuringSchedulingIgnoredDuringExecution": {
                    "nodeSelectorTerms": [
                        {
                            "matchExpressions": [
                                {"key": key, "operator": operator, "values": values}
                                for key, operator, values in term
                            ]
                        }
                        for term in terms
                    ]
                }
            }
        }
    }


EU = affinity([(REGION, "In", ["eu-1", "eu-2"])])


@pytest.mark.parametrize(
    ("pod", "regions"),
    [
        ({}, None),
        ({"nodeSelector": {"disk": "ssd"}}, None),
        ({"nodeSelector": {REGION: "eu-1"}}, {"eu-1"}),
        (EU, {"eu-1", "eu-2"}),
        (EU | {"nodeSelector": {REGION: "eu-2"}}, {"eu-2"}),
        (EU | {"nodeSelector": {REGION: "us-1"}}, set()),
        (affinity([(REGION, "In", ["a", "b"]), (REGION, "In", ["b", "c"])]), {"b"}),
        (affinity([(REGION, "In", ["a"])], [(REGION, "In", ["b"])]), {"a", "b"}),
        # Another term without a word of the region lets the pod stand anywhere.
        (affinity([(REGION, "In", ["a"])], [("disk", "In", ["ssd"])]), None),
        (affinity([(REGION, "NotIn", ["a"])]), None),
        ({"affinity": {"nodeAffinity": None}}, None),
        ({"nodeSelector": "nonsense"}, None),
    ],
)
def test_what_a_template_requires_is_read(pod: dict[str, Any], regions: set[str] | None) -> None:
    assert required_regions(pod) == regions


def pool(pod: dict[str, Any]) -> Pool:
    return parse(stored({"spec.template": {"spec": pod}}))


def survey(*regions: str) -> Survey:
    reports = tuple(
        Report(f"w{n}", KEY, pod=f"pod-{n}", node=f"node-{n}", region=region)
        for n, region in enumerate(regions)
    )
    return Survey(len(reports), reports)


@pytest.mark.parametrize(
    ("told", "status", "reason", "words"),
    [
        (survey("eu-1", "eu-2"), "True", "Inside", "All 2 workers that tell are in eu-1 or eu-2"),
        (survey("eu-1", "us-1"), "False", "OutsideRegion", "pod-1 on node-1 is in us-1"),
        (survey(""), "Unknown", "NoEvidence", "Kubernetes 1.35"),
        (Survey(), "Unknown", "NoEvidence", "No worker tells"),
        (None, "Unknown", "NoEvidence", "asked yet"),
        (Unreadable("gone", reason="Unreachable"), "Unknown", "Unreachable", "gone"),
    ],
)
def test_a_pod_outside_the_region_is_told(
    told: Survey | Unreadable | None, status: str, reason: str, words: str
) -> None:
    found = condition(pool(EU), told)
    assert found is not None
    assert (found.type, found.status, found.reason) == ("InRegion", status, reason)
    assert words in found.message


def test_who_requires_no_region_is_not_bothered() -> None:
    assert condition(pool({"nodeSelector": {"disk": "ssd"}}), survey("eu-1")) is None


@pytest.mark.parametrize(("pod", "told"), [(EU, True), ({}, False)])
def test_workers_are_told_their_region_where_it_matters(
    pod: dict[str, Any], *, told: bool
) -> None:
    made = deployment(pool(pod), image="i", pull_policy="Always")
    environment = made["spec"]["template"]["spec"]["containers"][0]["env"]
    paths = [v["valueFrom"]["fieldRef"]["fieldPath"] for v in environment if "valueFrom" in v]
    assert (f"metadata.labels['{REGION}']" in paths) is told
