"""What one hostile file may cost a worker: its own job, and nothing else."""

import json
import resource
import struct
import sys
import zlib
from pathlib import Path

import pytest

from image_worker import memory
from support.pictures import jpeg
from support.queue_state import QueueState
from support.redis_server import RedisServer
from support.supervisor import Supervisor
from support.waiting import eventually


def huge_png(side: int) -> bytes:
    """Return a white PNG of a few hundred kilobytes that takes side x side x 4 to decode."""

    def chunk(kind: bytes, body: bytes) -> bytes:
        return (
            struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))
        )

    packer = zlib.compressobj(1)
    row = b"\0" + b"\xff" * side * 3
    rows = b"".join(packer.compress(row) for _ in range(side)) + packer.flush()
    header = struct.pack(">IIBBBBB", side, side, 8, 2, 0, 0, 0)
    return (
        b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", rows) + chunk(b"IEND", b"")
    )


@pytest.mark.parametrize(("megabytes", "reason"), [("256", "OutOfMemory"), ("1024", None)])
def test_a_picture_too_large_for_the_memory_fails_alone(
    server: RedisServer, queue: QueueState, tmp_path: Path, megabytes: str, reason: str | None
) -> None:
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / "huge.png").write_bytes(huge_png(9_000))
    (tmp_path / "in" / "good.jpg").write_bytes(jpeg((640, 480)))
    queue.push(*(json.dumps({"filename": name}) for name in ("huge.png", "good.jpg")))
    with Supervisor(
        server.url, tmp_path, child_memory_megabytes=megabytes, job_max_attempts="1"
    ) as supervisor:
        eventually(lambda: queue.quiet and queue.stats.get("done"), "both jobs ended", seconds=60)
        reasons = {queue.envelope(dead)[0].split(" ")[4] for dead in queue.members("dead")}
        assert reasons == ({reason} if reason else set())
        assert (tmp_path / "out" / "good.jpg").exists()
        assert supervisor.metric("image_worker_child_starts_total") == 1
        assert supervisor.metric("image_worker_child_deaths_total") == 0
        assert len(supervisor.children()) == 1


def test_children_share_what_the_container_has(
    server: RedisServer, queue: QueueState, tmp_path: Path
) -> None:
    assert queue.quiet
    with Supervisor(server.url, tmp_path) as supervisor:
        supervisor.await_ready()
        told = supervisor.await_line("starting")["child_memory_megabytes"]
        assert told << 20 == memory.share(memory.granted(), 1) >> 20 << 20
        (child,) = supervisor.children()
        assert resource.prlimit(child, resource.RLIMIT_AS) == (told << 20, told << 20)
        assert Path(f"/proc/{child}/oom_score_adj").read_text() == "1000\n", "it goes first"
        assert resource.prlimit(supervisor.pid, resource.RLIMIT_AS)[0] == resource.RLIM_INFINITY


def test_a_container_too_small_for_its_children_is_told_at_the_start(
    server: RedisServer, queue: QueueState, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert queue.quiet
    monkeypatch.setenv("PYTHONPATH", str(Path(__file__).parents[2]))
    small = (sys.executable, "-m", "support.small_supervisor")
    with Supervisor(server.url, tmp_path, command=small) as supervisor:
        told = supervisor.await_line("the container may take 100 MB of memory")
        assert told["level"] == "warning"
        assert "spec.memory: 192Mi" in told["message"]
        supervisor.await_ready()
