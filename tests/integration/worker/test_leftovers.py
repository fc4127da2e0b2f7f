"""What a killed child left beside the outputs goes with the next job."""

import json
import os
from pathlib import Path

from image_worker.storage import PARTIAL_PREFIX, PARTIAL_SUFFIX
from support.pictures import jpeg
from support.queue_state import QueueState
from support.redis_server import RedisServer
from support.supervisor import Supervisor
from support.waiting import eventually

JOB_TIMEOUT = 30
MARGIN = 60


def test_leftovers_older_than_a_job_may_last_are_swept_with_the_next_job(
    server: RedisServer, queue: QueueState, tmp_path: Path
) -> None:
    for name in ("in", "out"):
        (tmp_path / name).mkdir()
    (tmp_path / "in" / "a.jpg").write_bytes(jpeg((640, 480)))
    ages = {"old": JOB_TIMEOUT + MARGIN + 30, "young": JOB_TIMEOUT + MARGIN - 30}
    for word, seconds in ages.items():
        file = tmp_path / "out" / f"{PARTIAL_PREFIX}{word}{PARTIAL_SUFFIX}"
        file.write_bytes(b"half")
        now = file.stat().st_mtime
        os.utime(file, (now - seconds, now - seconds))
    queue.push(json.dumps({"filename": "a.jpg"}))
    with Supervisor(server.url, tmp_path, job_timeout_seconds=str(JOB_TIMEOUT)):
        eventually(lambda: queue.quiet and queue.stats.get("done"), "the job's end")
    files = {path.name for path in (tmp_path / "out").iterdir()}
    assert files == {"a.jpg", f"{PARTIAL_PREFIX}young{PARTIAL_SUFFIX}"}
