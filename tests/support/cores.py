"""The cores of a pod: what its kubelet wrote down, and what the kernel says of its processes."""

import json

from localcluster.cpus import parse_list
from support.kubectl import Document
from support.product import ROOT, processes_of


def granted_to(pod: Document) -> frozenset[int]:
    """Return the processors that the kubelet gave to the pod's worker."""
    file = ROOT / ".cluster" / pod["spec"]["nodeName"] / "kubelet" / "cpu_manager_state"
    return parse_list(json.loads(file.read_text())["entries"][pod["metadata"]["uid"]]["worker"])


def affinities_of(pod: Document) -> list[frozenset[int]]:
    """Return where each of the pod's processes that work may run."""
    children = [process for process in processes_of(pod) if process.is_child]
    return [parse_list(child.status()["Cpus_allowed_list"]) for child in children]


def core_of(pod: Document) -> int:
    """Return the one processor of a pod of one process; kernel and kubelet must agree on it."""
    (affinity,) = affinities_of(pod)
    assert affinity == granted_to(pod), "kernel and kubelet disagree"
    (core,) = affinity
    return core
