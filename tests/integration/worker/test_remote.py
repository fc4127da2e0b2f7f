"""Photos from buckets and other hosts, through a real supervisor, with real servers."""

import io
import json
import os
import signal
import sys
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path, PurePosixPath

import pytest
from PIL import Image

from image_worker import memory, wear
from image_worker.buckets import fetch, opened
from image_worker.errors import TransientFailure
from image_worker.places import Bucket
from support.buckets import CREDENTIALS, REGION, BucketServer
from support.photos import Photo
from support.queue_state import QueueState
from support.redis_server import RedisServer
from support.supervisor import COMMAND, Supervisor, children_of
from support.waiting import eventually
from support.web_server import WebServer

PRESETS = {"card": {"width": 160, "height": 120, "format": "webp"}}
ON_LOOPBACK = (sys.executable, "-m", "support.loopback_supervisor")


@pytest.fixture(scope="module")
def buckets() -> Iterator[BucketServer]:
    with BucketServer() as running:
        yield running


@pytest.fixture(autouse=True)
def environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in (CREDENTIALS | REGION).items():
        monkeypatch.setenv(name, value)
    monkeypatch.setenv("PYTHONPATH", str(Path(__file__).parents[2]))


def in_buckets(
    server: RedisServer, buckets: BucketServer, folder: Path, name: str, **variables: str
) -> Supervisor:
    settings = {
        "input_dir": f"s3://photos/{name}/in",
        "output_dir": f"s3://photos/{name}/out",
        "s3_endpoint": buckets.endpoint,
        "presets": json.dumps(PRESETS),
        "results_kept": "10",
        "job_max_attempts": "1",
    }
    return Supervisor(server.url, folder, command=COMMAND, **settings, **variables)


def done(queue: QueueState, count: int) -> None:
    eventually(
        lambda: queue.quiet and queue.stats.get("done", 0) + queue.stats.get("dead", 0) >= count,
        what=lambda: f"{count} jobs ended; {queue.stats}",
    )


def reasons(queue: QueueState) -> list[str]:
    return sorted(queue.envelope(dead)[0].split(" ")[4] for dead in queue.members("dead"))


def result(queue: QueueState) -> dict[str, object]:
    (entry,) = queue.client.lrange(f"{queue.prefix}results", 0, -1)
    told: dict[str, object] = json.loads(entry)
    return told


def test_a_carrier_is_replaced_with_its_decoder_and_leaves_nothing(
    server: RedisServer,
    queue: QueueState,
    buckets: BucketServer,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    scratch = tmp_path / "scratch"
    scratch.mkdir()
    monkeypatch.setenv("TMPDIR", str(scratch))
    buckets.put("r/in/a.jpg", Photo(78, 80, 60).jpeg())
    queue.push(*[json.dumps({"filename": "a.jpg"})] * 3)
    with in_buckets(server, buckets, tmp_path, "r", child_jobs="1") as supervisor:
        done(queue, 3)
        supervisor.await_metric("image_worker_child_starts_total", 4)
        (carrier,) = supervisor.children()
        carried = wear.resident(carrier)
        own = int(Path(f"/proc/{carrier}/statm").read_text().split()[1]) * wear.PAGE_BYTES
        assert carried > own + (16 << 20), "its decoder is counted with it"
        assert carried < memory.worn(memory.LEAST, carried=True), "and no reason to replace it"
        assert len(list(scratch.iterdir())) == 1
        assert supervisor.metric("image_worker_child_deaths_total") == 0
        assert supervisor.terminate() == 0
    assert queue.stats["done"] == 3
    assert set(queue.stats) == {"done", "busy_ms"}
    assert list(scratch.iterdir()) == []


def test_photos_come_from_a_bucket_and_renditions_go_to_one(
    server: RedisServer, queue: QueueState, buckets: BucketServer, tmp_path: Path
) -> None:
    photo = Photo(77, 800, 600, orientation=6)
    buckets.put("a/in/2026/ü 1.jpg", photo.jpeg())
    job = {"filename": "2026/ü 1.jpg", "preset": "card", "output": "x/7", "report": True}
    with in_buckets(server, buckets, tmp_path, "a") as supervisor:
        queue.push(json.dumps(job))
        done(queue, 1)
        first, kind = buckets.read("a/out/card/x/7.webp")
        assert kind == "image/webp"
        with Image.open(io.BytesIO(first)) as picture:
            assert picture.size == (160, 120)
            assert photo.faults_of(picture) == []
        report, kind = buckets.read("a/out/x/7.json")
        assert kind == "application/json"
        assert json.loads(report)["renditions"][0]["file"] == "card/x/7.webp"
        assert result(queue)["filename"] == "2026/ü 1.jpg"
        # The same job again: what is there already is success, and the same.
        queue.push(json.dumps(job))
        done(queue, 2)
        assert buckets.read("a/out/card/x/7.webp")[0] == first
        assert supervisor.metric("image_worker_child_deaths_total") == 0
    assert {name for name in buckets.names() if name.startswith("a/out")} == {
        "a/out/card/x/7.webp",
        "a/out/x/7.json",
    }


def test_what_is_not_in_the_bucket_or_is_no_image_is_buried_with_the_reason(
    server: RedisServer, queue: QueueState, buckets: BucketServer, tmp_path: Path
) -> None:
    buckets.put("b/in/words.jpg", b"no picture")
    buckets.put("b/secret.jpg", Photo(1).jpeg())
    names = ("missing.jpg", "words.jpg", "../secret.jpg", "/b/secret.jpg")
    with in_buckets(server, buckets, tmp_path, "b"):
        queue.push(*(json.dumps({"filename": name}) for name in names))
        queue.push(json.dumps({"filename": "http://photos.test/a.jpg", "output": "a"}))
        done(queue, 5)
    assert reasons(queue) == [
        "AddressNotAllowed",
        "BadFilename",
        "BadFilename",
        "MissingFile",
        "NotAnImage",
    ]


def test_a_server_that_is_away_is_worth_a_retry(
    server: RedisServer, queue: QueueState, tmp_path: Path
) -> None:
    with WebServer() as gone:
        endpoint = f"http://{gone.host}"
    with Supervisor(
        server.url, tmp_path, input_dir="s3://photos", s3_endpoint=endpoint, job_max_attempts="1"
    ):
        queue.push('{"filename": "a.jpg"}')
        done(queue, 1)
    assert reasons(queue) == ["Storage"]


def test_a_wrong_secret_is_told_in_the_servers_own_words() -> None:
    with WebServer() as web:
        bucket = opened(Bucket("refused", ""), f"http://{web.host}", timedelta(seconds=30))
        with pytest.raises(
            TransientFailure, match=r"SignatureDoesNotMatch: Check your \"key\"\."
        ) as told:
            fetch(bucket, PurePosixPath("a.jpg"), io.BytesIO(), max_bytes=1_000)
    assert told.value.reason == "Storage"
    assert web.host not in told.value.sentence


def test_who_decodes_has_no_credential_and_who_has_them_dies_with_it(
    server: RedisServer, queue: QueueState, buckets: BucketServer, tmp_path: Path
) -> None:
    assert queue.quiet
    with in_buckets(server, buckets, tmp_path, "c") as supervisor:
        supervisor.await_ready()
        (carrier,) = supervisor.children()
        (decoder,) = children_of(carrier)
        assert "AWS_SECRET_ACCESS_KEY" in environment_of(carrier)
        told = environment_of(decoder)
        assert not [name for name in told if name.startswith(("AWS_", "WORKERPOOL_S3"))]
        assert not [name for name in told if "REDIS_PASSWORD" in name]
        assert told["WORKERPOOL_INPUT_DIR"] != "s3://photos/c/in"
        os.kill(carrier, signal.SIGKILL)
        eventually(lambda: not Path(f"/proc/{decoder}").exists(), "the decoder's end")
        (again,) = eventually(
            lambda: [pid for pid in supervisor.children() if pid not in {carrier, decoder}],
            "a new carrier",
        )
        eventually(lambda: children_of(again), "a new decoder")
        # What the killed one left is gone.
        own = Path(told["WORKERPOOL_INPUT_DIR"]).parent
        eventually(lambda: not own.exists(), "the old scratch folder's end")


def test_a_carrier_that_is_killed_is_the_jobs_crash(
    server: RedisServer, queue: QueueState, tmp_path: Path
) -> None:
    with WebServer() as web, on_loopback(server, web, tmp_path) as supervisor:
        queue.push(json.dumps({"filename": web.url("/drip"), "output": "a"}))
        eventually(lambda: web.asked, "the download's start")
        (carrier,) = supervisor.children()
        os.kill(carrier, signal.SIGKILL)
        eventually(lambda: queue.stats.get("crashed"), "the crash is counted")


def test_a_photo_is_fetched_from_an_allowed_host(
    server: RedisServer, queue: QueueState, tmp_path: Path
) -> None:
    photo = Photo(5, 640, 480)
    with WebServer(photo.jpeg()) as web, on_loopback(server, web, tmp_path):
        queue.push(json.dumps({"filename": web.url("/photo"), "output": "users/5"}))
        queue.push(json.dumps({"filename": web.url("/photo")}))
        queue.push(json.dumps({"filename": "http://localhost/photo", "output": "b"}))
        (tmp_path / "in" / "local.jpg").write_bytes(photo.jpeg())
        queue.push(json.dumps({"filename": "local.jpg"}))
        done(queue, 4)
    assert reasons(queue) == ["AddressNotAllowed", "BadOutput"]
    for name in ("users/5.jpg", "local.jpg"):
        with Image.open(tmp_path / "out" / name) as picture:
            assert picture.size == (256, 192)
            assert photo.faults_of(picture) == []


def test_production_refuses_loopback_whatever_its_settings(
    server: RedisServer, queue: QueueState, tmp_path: Path
) -> None:
    with (
        WebServer(Photo(5).jpeg()) as web,
        Supervisor(server.url, tmp_path, http_hosts=web.host),
    ):
        queue.push(json.dumps({"filename": web.url("/photo"), "output": "a"}))
        done(queue, 1)
        assert web.asked == []
    assert reasons(queue) == ["AddressNotAllowed"]


def test_a_download_that_never_ends_costs_its_job_and_no_more(
    server: RedisServer, queue: QueueState, tmp_path: Path
) -> None:
    photo = Photo(6).jpeg()
    with (
        WebServer(photo) as web,
        # Three quarters of it are for the download: more than a whole machine stands still.
        on_loopback(server, web, tmp_path, job_timeout_seconds="8"),
    ):
        queue.push(json.dumps({"filename": web.url("/drip"), "output": "a"}))
        queue.push(json.dumps({"filename": web.url("/photo"), "output": "b"}))
        done(queue, 2)
    assert reasons(queue)[0] in {"Download", "Timeout"}  # the second, if the machine is slow
    assert (tmp_path / "out" / "b.jpg").exists()


def on_loopback(server: RedisServer, web: WebServer, folder: Path, **variables: str) -> Supervisor:
    return Supervisor(
        server.url,
        folder,
        command=ON_LOOPBACK,
        http_hosts=web.host,
        job_max_attempts="1",
        **variables,
    )


def environment_of(pid: int) -> dict[str, str]:
    pairs = Path(f"/proc/{pid}/environ").read_text().split("\0")
    return dict(pair.split("=", 1) for pair in pairs if "=" in pair)
