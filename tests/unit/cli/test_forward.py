import os
from pathlib import Path

import pytest

from unit.cli.stage import Cluster
from workerpool_cli.address import Target
from workerpool_cli.errors import ClusterTrouble
from workerpool_cli.forward import forwarded
from workerpool_cli.kubectl import Kubectl

REDIS = Target("service", "data", "redis", 6380)


def standing() -> float:
    """Say the time, where none passes."""
    return 0.0


def test_the_way_is_open_inside_and_its_child_gone_after(cluster: Cluster) -> None:
    cluster.set(forward_port=4711)
    with forwarded(Kubectl(cluster.program), REDIS, standing) as port:
        assert port == 4711
    assert cluster.calls == [
        ["--namespace=data", "port-forward", "--address=127.0.0.1", "service/redis", ":6380"]
    ]
    pid = int((cluster.folder / "forward.pid").read_text())
    with pytest.raises(ProcessLookupError):
        os.kill(pid, 0)


def test_what_kubectl_complained_of_is_told(cluster: Cluster) -> None:
    cluster.set(forward_error="error: services redis not found")
    with (
        pytest.raises(ClusterTrouble, match=r"services redis not found.*--redis-url"),
        forwarded(Kubectl(cluster.program), REDIS, standing),
    ):
        pass


def test_a_silent_kubectl_is_not_waited_for_for_ever(tmp_path: Path) -> None:
    program = tmp_path / "kubectl"
    program.write_text("#!/bin/sh\nexec sleep 60\n")
    program.chmod(0o755)
    times = iter([0.0, 14.99, 14.99, 15.1])
    with (
        pytest.raises(ClusterTrouble, match="said nothing for 15 s"),
        forwarded(Kubectl(str(program)), REDIS, lambda: next(times)),
    ):
        pass
