"""Which Redis it is, who we are there, and which list."""

from argparse import Namespace

import pytest

from unit.cli.stage import Cluster, Stage, pool_body
from unit.cli.test_kubectl import encoded
from workerpool_cli import sentinels
from workerpool_cli.address import Address
from workerpool_cli.errors import RedisTrouble, UsageError
from workerpool_cli.pool import RESOURCE
from workerpool_cli.session import Session, opened

ABROAD = {"list": "q:video", "redis": {"url": "redis://redis.example.com:6379/2"}}


def options(**given: object) -> Namespace:
    nothing = dict.fromkeys(("pool", "queue", "redis_url", "namespace", "context", "kubeconfig"))
    return Namespace(**{**nothing, **given})


def found(stage: Stage, **given: object) -> Session:
    with opened(options(**given), stage.world()) as session:
        return session


def test_without_any_hint_all_ways_are_named(stage: Stage) -> None:
    with pytest.raises(UsageError, match=r"--pool NAME.*--redis-url.*WORKERPOOL_REDIS_URL"):
        found(stage)


def test_the_environment_names_redis_and_the_list(stage: Stage) -> None:
    stage.environ |= {"WORKERPOOL_REDIS_URL": "redis://env", "WORKERPOOL_QUEUE": "q"}
    session = found(stage)
    assert (session.where, session.queue.keys.list) == ("redis://env:6379/0", "q")
    assert found(stage, redis_url="redis://option").where == "redis://option:6379/0"
    assert found(stage, queue="other").queue.keys.list == "other"


def test_a_named_pool_wins_over_the_environment(stage: Stage, cluster: Cluster) -> None:
    stage.environ |= {"WORKERPOOL_REDIS_URL": "redis://env", "KUBECTL": cluster.program}
    cluster.set(**{RESOURCE: {"video": pool_body(queue=ABROAD)}})
    session = found(stage, pool="video")
    assert (session.where, session.queue.keys.list) == (
        "redis://redis.example.com:6379/2",
        "q:video",
    )
    assert found(stage, pool="video", redis_url="redis://here").where == "redis://here:6379/0"


def test_a_pool_and_another_list_contradict_each_other(stage: Stage, cluster: Cluster) -> None:
    stage.environ["KUBECTL"] = cluster.program
    cluster.set(**{RESOURCE: {"video": pool_body(queue=ABROAD)}})
    with pytest.raises(UsageError, match="disagree"):
        found(stage, pool="video", queue="queue:images")


def test_a_service_of_the_cluster_is_reached_by_a_port_forward(
    stage: Stage, cluster: Cluster
) -> None:
    stage.environ["KUBECTL"] = cluster.program
    cluster.set(forward_port=4711, **{RESOURCE: {"images": pool_body()}})
    found(stage, pool="images")
    assert cluster.calls[-1][0] == "--namespace=shop"
    assert cluster.calls[-1][-2:] == ["service/redis", ":6379"]


def test_inside_the_cluster_no_port_forward_is_needed(stage: Stage, cluster: Cluster) -> None:
    stage.environ |= {"KUBECTL": cluster.program, "KUBERNETES_SERVICE_HOST": "10.0.0.1"}
    cluster.set(**{RESOURCE: {"images": pool_body()}})
    found(stage, pool="images")
    assert not any("port-forward" in call for call in cluster.calls)


def test_who_gives_a_password_needs_no_right_to_read_secrets(
    stage: Stage, cluster: Cluster
) -> None:
    stage.environ["KUBECTL"] = cluster.program
    redis = {"url": "redis://redis.example.com:6379/0", "secretRef": {"name": "redis"}}
    body = pool_body(queue={"list": "queue:images", "redis": redis})
    cluster.set(secret={"redis": encoded(password="s3cret")}, **{RESOURCE: {"images": body}})  # noqa: S106
    found(stage, pool="images", redis_url="redis://:mine@here")
    assert not any("secret" in call for call in cluster.calls)
    found(stage, pool="images")
    assert any("secret" in call for call in cluster.calls)


SENTINELS = ["sentinel-0.sentinel.data.svc", "sentinel-1.sentinel.data.svc:5000", "s.example.com"]
BEHIND = {
    "list": "queue:images",
    "redis": {"url": "rediss://MyMaster/2", "sentinels": SENTINELS},
}


@pytest.fixture
def answers(monkeypatch: pytest.MonkeyPatch) -> dict[str, object]:
    """Have Sentinels answer what is written here, by their address."""
    written: dict[str, object] = {}

    class Sentinel:
        def __init__(self, at: Address) -> None:
            self._at = at

        def call(self, *command: str) -> object:
            assert command == ("SENTINEL", "GET-MASTER-ADDR-BY-NAME", "MyMaster")
            answer = written.get(self._at.url, RedisTrouble(f"{self._at.url} is silent"))
            if isinstance(answer, Exception):
                raise answer
            return answer

        def close(self) -> None:
            """Nothing is open."""

    monkeypatch.setattr(sentinels, "Link", Sentinel)
    return written


def behind(stage: Stage, cluster: Cluster, **state: object) -> Session:
    stage.environ["KUBECTL"] = cluster.program
    cluster.set(forward_port=4711, **{RESOURCE: {"images": pool_body(queue=BEHIND)}}, **state)
    return found(stage, pool="images")


FIRST = "redis://sentinel-0.sentinel.data.svc:26379/0"
SECOND = "redis://sentinel-1.sentinel.data.svc:5000/0"
THIRD = "redis://s.example.com:26379/0"


def test_the_master_is_whom_most_sentinels_name_and_reached_as_a_pod(
    stage: Stage, cluster: Cluster, answers: dict[str, object]
) -> None:
    answers |= {FIRST: [b"10.1.2.9", b"6379"], SECOND: [b"10.1.2.3", b"6380"]}
    answers[THIRD] = answers[SECOND]
    session = behind(stage, cluster, ips={"redis-1": "10.1.2.3", "redis-0": "10.1.2.9"})
    assert session.where == "rediss://10.1.2.3:6380/2"
    ways = [call[-2:] for call in cluster.calls if "port-forward" in call]
    assert ways == [
        ["pod/sentinel-0", ":26379"],
        ["pod/sentinel-1", ":5000"],
        ["pod/redis-1", ":6380"],
    ]


def test_a_master_that_is_no_pod_is_asked_where_it_is(
    stage: Stage, cluster: Cluster, answers: dict[str, object]
) -> None:
    answers[THIRD] = [b"redis.example.com", b"6379"]
    assert behind(stage, cluster).where == "rediss://redis.example.com:6379/2"
    assert not any("pod/redis" in word for call in cluster.calls for word in call)


def test_inside_the_cluster_sentinels_and_master_are_asked_directly(
    stage: Stage, cluster: Cluster, answers: dict[str, object]
) -> None:
    stage.environ["KUBERNETES_SERVICE_HOST"] = "10.0.0.1"
    answers |= {FIRST: [b"10.1.2.3", b"6380"], SECOND: [b"10.1.2.3", b"6380"]}
    assert behind(stage, cluster).where == "rediss://10.1.2.3:6380/2"
    assert [call[0] for call in cluster.calls if "port-forward" in call] == []


@pytest.mark.parametrize(
    ("answer", "said"),
    [
        (None, r"knows a master called MyMaster.*sentinel monitor.*--redis-url"),
        (RedisTrouble("no answer"), r"none of the pool's Sentinels.*no answer.*--redis-url"),
    ],
)
def test_sentinels_that_do_not_help_are_told_with_the_remedy(
    stage: Stage, cluster: Cluster, answers: dict[str, object], answer: object, said: str
) -> None:
    answers |= dict.fromkeys((FIRST, SECOND, THIRD), answer)
    with pytest.raises(RedisTrouble, match=said):
        behind(stage, cluster)


def test_who_names_the_server_asks_no_sentinel(
    stage: Stage, cluster: Cluster, answers: dict[str, object]
) -> None:
    assert answers == {}
    stage.environ["KUBECTL"] = cluster.program
    cluster.set(**{RESOURCE: {"images": pool_body(queue=BEHIND)}})
    assert found(stage, pool="images", redis_url="redis://here").where == "redis://here:6379/0"
