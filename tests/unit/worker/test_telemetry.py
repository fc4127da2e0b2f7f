import io
import json
import logging
import urllib.error
import urllib.request
from collections.abc import Iterator

import pytest

from image_worker.endpoints import Server
from image_worker.errors import ConfigError
from image_worker.settings import LogFormat
from image_worker.telemetry import Health, Log, Metrics


class Clock:
    now = 100.0

    def __call__(self) -> float:
        return self.now


def log(level: str, log_format: LogFormat) -> tuple[Log, io.BytesIO]:
    written = io.BytesIO()
    log = Log()
    log.configure(level, log_format, written, wall_clock=lambda: 1e9)
    return log, written


def test_a_log_line_is_one_json_object_with_its_facts() -> None:
    tell, written = log("INFO", LogFormat.JSON)
    tell(logging.INFO, "done", job="w-1", filename='a"\n.jpg', seen=frozenset())
    assert written.getvalue().count(b"\n") == 1
    fields = json.loads(written.getvalue())
    assert fields["message"] == "done"
    assert fields["level"] == "info"
    assert fields["job"] == "w-1"
    assert fields["filename"] == 'a"\n.jpg'
    assert fields["seen"] == "frozenset()"
    assert fields["time"] == "2001-09-09T01:46:40.000+00:00"


def test_a_hostile_name_does_not_break_a_line_of_text() -> None:
    tell, written = log("INFO", LogFormat.TEXT)
    tell(logging.INFO, "done", filename="a\nINFO forged \udcff")
    assert written.getvalue().count(b"\n") == 1
    assert b" INFO    done filename=" in written.getvalue()


def test_lines_below_the_level_are_not_written() -> None:
    tell, written = log("WARNING", LogFormat.JSON)
    tell(logging.INFO, "done")
    assert written.getvalue() == b""
    tell(logging.WARNING, "a child died")
    assert json.loads(written.getvalue())["level"] == "warning"


def test_an_unforeseen_exception_is_told_with_where_it_came_from() -> None:
    tell, written = log("INFO", LogFormat.JSON)
    try:
        json.loads("no such thing")
    except ValueError:
        tell.exception("a step failed")
    assert "JSONDecodeError: Expecting value" in json.loads(written.getvalue())["exception"]


def test_a_log_that_cannot_be_written_stops_nobody() -> None:
    tell, written = log("INFO", LogFormat.JSON)
    written.close()
    tell(logging.INFO, "done")


def test_metrics_read_as_prometheus_wants_them() -> None:
    metrics = Metrics()
    metrics.declare("jobs_total", "counter", "Jobs.")
    metrics.declare("up", "gauge", "Up.")
    metrics.declare("seconds", "histogram", "Seconds.")
    metrics.add("jobs_total", outcome="done")
    metrics.add("jobs_total", 2, outcome='a"b\\c\nd')
    metrics.set("up", 1)
    for seconds in (0.004, 0.005, 0.3, 1000):
        metrics.histogram("seconds").observe(seconds)
    lines = metrics.render().splitlines()
    assert lines[:4] == [
        "# HELP jobs_total Jobs.",
        "# TYPE jobs_total counter",
        'jobs_total{outcome="done"} 1',
        'jobs_total{outcome="a\\"b\\\\c\\nd"} 2',
    ]
    assert "up 1" in lines
    assert 'seconds_bucket{le="0.005"} 2' in lines
    assert 'seconds_bucket{le="0.25"} 2' in lines
    assert 'seconds_bucket{le="0.5"} 3' in lines
    assert 'seconds_bucket{le="120"} 3' in lines
    assert 'seconds_bucket{le="+Inf"} 4' in lines
    assert "seconds_count 4" in lines
    assert "seconds_sum 1000.309" in [line[:20] for line in lines]


def test_what_several_count_is_read_as_one() -> None:
    metrics = Metrics()
    metrics.declare("jobs_total", "counter", "Jobs.")
    metrics.declare("seconds", "histogram", "Seconds.")
    metrics.add("jobs_total", outcome="done")
    for _ in range(2):
        metrics.series("jobs_total", outcome="done").value += 2
        metrics.histogram("seconds").observe(0.25)
    lines = metrics.render().splitlines()
    assert 'jobs_total{outcome="done"} 5' in lines
    assert {'seconds_bucket{le="0.25"} 2', "seconds_sum 0.5", "seconds_count 2"} <= set(lines)


def test_a_counter_shows_as_zero_before_anything_happened() -> None:
    metrics = Metrics()
    metrics.declare("jobs_total", "counter", "Jobs.")
    assert "jobs_total 0" in metrics.render().splitlines()


def test_a_loop_that_breaks_its_promise_is_stuck_and_named() -> None:
    clock = Clock()
    health = Health(clock)
    health.back_within("heart", 5)
    clock.now += 5
    assert health.stuck() == ()
    clock.now += 3
    assert health.stuck() == ("heart is 3 s late",)
    health.back_within("heart", 5)
    assert health.stuck() == ()
    clock.now += 60
    health.ended("heart")
    assert health.stuck() == ()


def test_it_is_ready_when_nothing_stands_in_the_way() -> None:
    health = Health(Clock())
    assert health.obstacles()
    health.clear("start")
    assert health.obstacles() == ()
    health.hinder("redis", "Redis is away")
    health.hinder("redis", "Redis is loading")
    assert health.obstacles() == ("Redis is loading",)


@pytest.fixture
def served() -> Iterator[tuple[int, Health, Clock]]:
    clock = Clock()
    health = Health(clock)
    metrics = Metrics()
    metrics.declare("up", "gauge", "Up.")
    server = Server(0, health, metrics)
    yield server.port, health, clock
    server.close()


def get(port: int, path: str) -> tuple[int, str]:
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}{path}", timeout=60) as answer:
            return answer.status, answer.read().decode()
    except urllib.error.HTTPError as error:
        with error:
            return error.code, error.read().decode()


def test_probes_and_metrics_are_served(served: tuple[int, Health, Clock]) -> None:
    port, health, clock = served
    assert get(port, "/healthz") == (200, "ok\n")
    assert get(port, "/readyz") == (503, "the children are starting\n")
    health.clear("start")
    assert get(port, "/readyz") == (200, "ok\n")
    assert "up 0" in get(port, "/metrics")[1]
    assert get(port, "/") == (404, "try /healthz, /readyz or /metrics\n")
    health.back_within("heart", 1)
    clock.now += 10
    assert get(port, "/healthz") == (503, "heart is 9 s late\n")


def test_a_taken_port_is_said_with_the_remedy(served: tuple[int, Health, Clock]) -> None:
    port, health, _ = served
    with pytest.raises(ConfigError, match="choose another, or 0"):
        Server(port, health, Metrics())
