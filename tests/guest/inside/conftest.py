"""Photos, an empty queue for each check, all CPUs back afterwards, and the last line."""

import json
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import redis

from guest.inside import kernel
from guest.inside.pod import PHOTOS, REDIS, delegated

TERMINAL = "terminalreporter"
ENDS = ("passed", "failed", "error", "skipped")


@pytest.fixture(scope="session", autouse=True)
def ours() -> Path:
    return delegated()


@pytest.fixture(autouse=True)
def empty_queue() -> Iterator[None]:
    with redis.Redis.from_url(REDIS) as client:
        client.flushall()
        yield
    for cpu in (1, 2, 3):
        kernel.switch(cpu, on=True)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A folder with three photos, open to everybody."""
    (tmp_path / "in").mkdir()
    for photo in PHOTOS:
        (tmp_path / "in" / photo.filename).write_bytes(photo.jpeg())
    for parent in tmp_path.parents:
        if parent != Path("/tmp") and Path("/tmp") in parent.parents:  # noqa: S108
            parent.chmod(0o755)
    return tmp_path


def pytest_runtest_logreport(report: pytest.TestReport) -> None:
    if report.failed:  # at once: the guest may not live to see the summary
        sys.stdout.write(f"\n{report.longreprtext}\n")


def pytest_sessionfinish(session: pytest.Session) -> None:
    reporter = session.config.pluginmanager.get_plugin(TERMINAL)
    assert reporter is not None
    counts = {end: len(reporter.stats.get(end, ())) for end in ENDS}
    counts["failed"] += counts.pop("error")
    reporter.write_line("")
    reporter.write_line(f"guest-check: {json.dumps(counts)}")
