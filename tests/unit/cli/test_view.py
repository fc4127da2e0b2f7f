import json
import re
from dataclasses import replace

from unit.cli.stage import Stage, Stream, pool_body
from workerpool_cli.model import Deadline, Envelope, Snapshot, Stats, Worker
from workerpool_cli.pool import parse
from workerpool_cli.view import Rates, Status, document, lines, rates_between, summary

BEFORE = Snapshot(
    now_ms=1_000_000,
    waiting=1204,
    due=0,
    scheduled=3,
    next_retry_ms=1_012_000,
    dead=4,
    in_flight=(Deadline("w1-7", 1_015_000), Deadline("w2-1", 999_000)),
    workers=(Deadline("w1", 1_015_000), Deadline("w2", 999_000)),
    stats=Stats(done=10, failed=2, crashed=1, dead=4, busy_ms=5000),
)
JOB = Envelope("w1-7", 0, 0, 999_000, "", "", b'{"filename": "a\x1b.jpg"}')
STATUS = Status(
    list="queue:images",
    where="redis://redis:6379/0",
    snapshot=BEFORE,
    workers=(
        Worker("w2", True, "shop", "images", "", "", "", None, None),  # noqa: FBT003
        Worker("w1", False, "shop", "images", "pod-1", "node-1", "2", 700_000, JOB),  # noqa: FBT003
    ),
    rates=None,
    pool=None,
)


def drawn(status: Status) -> str:
    return "\n".join(lines(status, Stage().world().console))


def test_a_person_sees_the_queue_and_who_works_on_what() -> None:
    assert drawn(STATUS).splitlines() == [
        "queue:images  redis://redis:6379/0",
        "  waiting    1,204",
        "  due            0",
        "  scheduled      3  failed before, or for later; the next one due in 12s",
        "  in flight      2  1 of them with workers that fell silent",
        "  dead           4  see `workerpool dead list`",
        "  done          10  0.50 s each on average",
        "  failed         2  attempts",
        "  crashed        1  attempts that took their worker with them",
        "",
        "2 workers, 1 busy",
        "  POD    NODE    CPU  AGE  STATE   JOB",
        '  pod-1  node-1  2    5m   busy    {"filename": "a\\x1b.jpg"}',
        "  w2     ?       any  ?    silent",
    ]


def test_a_pool_tells_what_the_operator_decided_and_why() -> None:
    body = pool_body(paused=True)
    body["metadata"]["generation"] = 4
    text = drawn(replace(STATUS, pool=parse(body)))
    assert "pool shop/images  PAUSED" in text
    assert "replicas 2, desired 4, ready unknown, between 0 and 16" in text
    assert "Backlog: 40 waiting: 4 replicas" in text
    assert "has not seen the last change" in text
    assert "Ready  True  Applied  as wanted" in text


def test_rates_are_what_happened_in_between() -> None:
    after = replace(BEFORE, now_ms=1_002_000, stats=Stats(done=15, failed=3, crashed=1))
    assert rates_between(BEFORE, after) == Rates(seconds=2.0, done=2.5, failed=0.5, crashed=0.0)
    assert rates_between(after, BEFORE) is None


def test_a_log_gets_one_line() -> None:
    status = replace(STATUS, rates=Rates(2, 2.5, 0, 0), pool=parse(pool_body()))
    assert summary(status) == (
        "waiting 1204  due 0  scheduled 3  in flight 2  dead 4  workers 1  done 10  (2.5/s)  "
        "replicas 2 Backlog"
    )


def test_a_program_gets_numbers_and_null_for_the_unknown() -> None:
    read = json.loads(json.dumps(document(replace(STATUS, pool=parse(pool_body())))))
    assert read["queue"]["inFlight"] == 2
    assert read["queue"]["rates"] is None
    assert read["workers"][0]["pod"] is None
    assert read["workers"][1]["ageSeconds"] == 300
    assert read["pool"]["readyReplicas"] is None
    assert read["pool"]["statusIsCurrent"] is True


def test_a_large_fleet_is_cut_and_says_so() -> None:
    many = tuple(replace(STATUS.workers[0], id=f"w{n:03}") for n in range(50))
    text = drawn(replace(STATUS, workers=many))
    assert text.count("silent") == 41
    assert "… and 10 more" in text


def test_lines_are_cut_to_the_terminal() -> None:
    console = Stage(out=Stream(tty=True)).world().console
    long = replace(STATUS, where="redis://" + "x" * 500)
    seen = [re.sub(r"\033\[\d*m", "", line) for line in lines(long, console)]
    assert max(map(len, seen)) == console.width
