"""What workers tell of their cores, as the operator has read it."""

from workerpool_operator.evidence import Report, Survey
from workerpool_operator.resource import Key

UNDISTURBED = Report(
    "w0",
    Key("shop", "images"),
    pod="images-worker-a",
    node="node-1",
    cpus=frozenset({2}),
    siblings=frozenset({2}),
    granted=frozenset({2}),
    virtualisation="kvm",
    stolen=0.01,
    waited=0.02,
    throttled=0.0,
    switches_per_second=3.0,
    migrations_per_second=0.0,
)
"""A worker with a core to itself, as it is promised."""


def survey(*reports: Report) -> Survey:
    """Return what all workers of a queue tell."""
    return Survey(len(reports), reports)
