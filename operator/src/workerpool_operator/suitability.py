"""Which nodes a pod may stand on: selectors, required affinity, taints and cordons. Pure.

Knows the scheduler's rules about a node's labels, name and taints, and nothing of its resources.
https://kubernetes.io/docs/concepts/scheduling-eviction/assign-pod-node/
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

UNSCHEDULABLE = "node.kubernetes.io/unschedulable"


class Taint(NamedTuple):
    """What keeps pods off a node."""

    key: str
    value: str
    effect: str


class Requirement(NamedTuple):
    """One expression about a node's label, or its name (an empty key)."""

    key: str
    operator: str
    values: tuple[str, ...]


class Toleration(NamedTuple):
    """A taint that a pod does not mind; what is empty matches anything."""

    key: str
    operator: str
    value: str
    effect: str


@dataclass(frozen=True, slots=True)
class Traits:
    """What a pod may look for in a node."""

    name: str
    labels: Mapping[str, str]
    taints: tuple[Taint, ...]


@dataclass(frozen=True, slots=True)
class Wishes:
    """What a pod asks of a node beside its resources."""

    selector: tuple[tuple[str, str], ...] = ()
    affinity: tuple[tuple[Requirement, ...], ...] | None = None
    """Terms of which one must hold; `None` if there is no such wish."""
    tolerations: tuple[Toleration, ...] = ()

    def admit(self, node: Traits) -> bool:
        """Return whether the pod may stand on that node."""
        return (
            all(node.labels.get(key) == value for key, value in self.selector)
            and (
                self.affinity is None
                or any(term and all(_holds(r, node) for r in term) for term in self.affinity)
            )
            and all(any(_tolerates(t, taint) for t in self.tolerations) for taint in node.taints)
        )


ANYWHERE = Wishes()


def parse_traits(body: Mapping[str, Any]) -> Traits:
    """Return what can be looked for in a Node."""
    meta, spec = body["metadata"], body.get("spec") or {}
    taints = {
        Taint(taint["key"], taint.get("value") or "", taint["effect"])
        for taint in spec.get("taints") or ()
        if taint["effect"] != "PreferNoSchedule"
    }
    if spec.get("unschedulable"):
        taints.add(Taint(UNSCHEDULABLE, "", "NoSchedule"))
    return Traits(meta["name"], meta.get("labels") or {}, tuple(sorted(taints)))


def parse_wishes(pod_spec: Mapping[str, Any]) -> Wishes:
    """Return what pods of that PodSpec ask of a node.

    Raises:
        KeyError, TypeError, AttributeError: it is none that the API server would take.
    """
    affinity = (pod_spec.get("affinity") or {}).get("nodeAffinity") or {}
    required = affinity.get("requiredDuringSchedulingIgnoredDuringExecution")
    return Wishes(
        selector=tuple(sorted((pod_spec.get("nodeSelector") or {}).items())),
        affinity=None
        if required is None
        else tuple(_term(term) for term in required["nodeSelectorTerms"]),
        tolerations=tuple(_toleration(t) for t in pod_spec.get("tolerations") or ()),
    )


def _holds(requirement: Requirement, node: Traits) -> bool:
    """Return whether an expression is true of a node; one that makes no sense is not."""
    key, operator, values = requirement
    value = node.labels.get(key) if key else node.name
    if operator in {"Gt", "Lt"}:
        try:
            have, want = int(value or ""), int(values[0])
        except (ValueError, IndexError):
            return False
        return have > want if operator == "Gt" else have < want
    answers = {
        "In": value in values,
        "NotIn": value not in values,
        "Exists": value is not None,
        "DoesNotExist": value is None,
    }
    return answers.get(operator, False)


def _tolerates(toleration: Toleration, taint: Taint) -> bool:
    """https://kubernetes.io/docs/concepts/scheduling-eviction/taint-and-toleration/ ."""
    key, operator, value, effect = toleration
    if effect not in ("", taint.effect):
        return False
    if operator == "Exists":
        return key in ("", taint.key)
    return (key, value) == (taint.key, taint.value)


def _term(term: Mapping[str, Any]) -> tuple[Requirement, ...]:
    """Return what a term demands; the only field that can be matched is the node's name."""
    expressions = [(e["key"], e) for e in term.get("matchExpressions") or ()]
    expressions += [("", e) for e in term.get("matchFields") or ()]
    return tuple(
        Requirement(key, e["operator"], tuple(e.get("values") or ())) for key, e in expressions
    )


def _toleration(toleration: Mapping[str, Any]) -> Toleration:
    return Toleration(
        toleration.get("key") or "",
        toleration.get("operator") or "Equal",
        toleration.get("value") or "",
        toleration.get("effect") or "",
    )
