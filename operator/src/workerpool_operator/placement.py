"""Whether a pool's pods stand in the region that its template requires. Pure.

Data that must not leave a region needs `required` affinity; the scheduler keeps it when a pod is
placed, and nobody looks again. Since Kubernetes 1.35 a pod carries its node's region as a label,
so each worker can tell, and nobody needs the right to read nodes.
https://kubernetes.io/docs/concepts/workloads/pods/downward-api/
"""

from collections.abc import Mapping
from typing import Any

from workerpool_operator.errors import Unreadable
from workerpool_operator.evidence import Survey
from workerpool_operator.resource import Condition, Pool

REGION = "topology.kubernetes.io/region"


def required_regions(pod: Mapping[str, Any]) -> frozenset[str] | None:
    """Return the regions a PodSpec requires; `None` if it requires none.

    Terms of an affinity are alternatives, expressions of a term must all hold. A term that says
    nothing of the region allows every one. What is no PodSpec is the API server's to refuse.
    """
    wanted = [_chosen(pod), _affine(pod)]
    known = [regions for regions in wanted if regions is not None]
    return frozenset.intersection(*known) if known else None


def condition(pool: Pool, survey: Survey | Unreadable | None) -> Condition | None:
    """Return `InRegion`, for a pool that requires a region."""
    required = required_regions(pool.template.get("spec") or {})
    if required is None:
        return None
    kind, names = (
        "InRegion",
        " or ".join(sorted(required)) or "none, as its rules exclude each other",
    )
    if not isinstance(survey, Survey):
        reason = survey.reason if survey else "NoEvidence"
        return Condition(kind, "Unknown", reason, str(survey or "No worker has been asked yet."))
    told = [r for r in survey.reports if r.pool == pool.key and r.pod and r.region]
    if not told:
        return Condition(
            kind,
            "Unknown",
            "NoEvidence",
            f"No worker tells of its region; required is {names}. Kubernetes 1.35 and newer give "
            "pods the region of their node.",
        )
    outside = sorted((r for r in told if r.region not in required), key=lambda r: r.where)
    if outside:
        first = outside[0]
        return Condition(
            kind,
            "False",
            "OutsideRegion",
            f"{len(outside)} of {len(told)} workers are outside {names}: {first.where} is in "
            f"{first.region}. Delete the pod, and correct the labels of its node.",
        )
    return Condition(kind, "True", "Inside", f"All {len(told)} workers that tell are in {names}.")


def _chosen(pod: Mapping[str, Any]) -> frozenset[str] | None:
    region = _at(pod, "nodeSelector").get(REGION)
    return frozenset({region}) if isinstance(region, str) else None


def _affine(pod: Mapping[str, Any]) -> frozenset[str] | None:
    required = "requiredDuringSchedulingIgnoredDuringExecution"
    rules = _at(_at(_at(pod, "affinity"), "nodeAffinity"), required)
    terms = [_term(term) for term in rules.get("nodeSelectorTerms") or ()]
    if not terms or None in terms:
        return None
    return frozenset().union(*(term for term in terms if term is not None))


def _term(term: Mapping[str, Any]) -> frozenset[str] | None:
    values = [
        frozenset(map(str, expression.get("values") or ()))
        for expression in term.get("matchExpressions") or ()
        if expression.get("key") == REGION and expression.get("operator") == "In"
    ]
    return frozenset.intersection(*values) if values else None


def _at(mapping: Mapping[str, Any], name: str) -> Mapping[str, Any]:
    value = mapping.get(name)
    return value if isinstance(value, Mapping) else {}
