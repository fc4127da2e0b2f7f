"""What a pod takes: quantities, and how the requests of its containers add up."""

from typing import Any

import pytest

from support.stock import GIB
from workerpool_operator.amounts import Amount, quantity, requests


def _container(**requested: str) -> dict[str, Any]:
    return {"name": "c", "resources": {"requests": requested}}


@pytest.mark.parametrize(
    ("text", "value"),
    [
        *(("1", 1), ("250m", 0.25), ("1.5", 1.5), ("2Gi", 2 * GIB), ("128974848", 128974848)),
        *(("1k", 1000), ("1M", 10**6), ("1e3", 1000), ("12E", 12 * 10**18), ("1Ei", 2**60)),
        *(("100n", 1e-7), ("", None), ("lots", None), ("1Kb", None), ("E", None)),
    ],
)
def test_quantities(text: str, value: float | None) -> None:
    if value is None:
        with pytest.raises(ValueError, match="no quantity"):
            quantity(text)
    else:
        assert float(quantity(text)) == value


def test_a_pod_takes_what_its_containers_and_sidecars_take_together() -> None:
    sidecar = _container(cpu="100m") | {"restartPolicy": "Always"}
    spec = {"containers": [_container(cpu="1", memory="1Gi"), _container(cpu="500m")]}

    assert requests(spec) == Amount(1500, GIB)
    assert requests(spec | {"initContainers": [_container(cpu="3")]}).cpu == 3000
    assert requests(spec | {"initContainers": [_container(cpu="1")]}).cpu == 1500
    assert requests(spec | {"initContainers": [sidecar]}).cpu == 1600
    assert requests(spec | {"initContainers": [sidecar, _container(cpu="3")]}).cpu == 3100
    assert requests(spec | {"overhead": {"cpu": "10m"}}).cpu == 1510
    assert requests(spec | {"resources": {"requests": {"cpu": "5"}}}) == Amount(5000, GIB)
    of_pod = {"overhead": {"cpu": "250m"}, "resources": {"requests": {"cpu": "5"}}}
    assert requests(spec | of_pod).cpu == 5250, "the overhead comes on top of what a pod requests"
    limited = {"name": "c", "resources": {"limits": {"cpu": "2"}}}
    assert requests({"containers": [limited]}).cpu == 2000, "a limit is the request left out"
