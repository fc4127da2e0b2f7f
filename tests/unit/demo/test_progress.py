import json

from demo.progress import Progress
from demo.recording import Times


def said(t: float, **words: int) -> str:
    seen = dict.fromkeys(("waiting", "busy", "due", "workers", "done", "dead", "thumbnails"), 0)
    return json.dumps({"t": t, **seen, **words})


def pushed(t: float = 0.05) -> str:
    return json.dumps({"event": "pushed", "t": t, "jobs": 2})


def test_a_run_is_timed_from_its_first_push_to_zero() -> None:
    progress = Progress(total=2)
    progress.hear_deployment("0,,\n", clock=100.0)
    progress.hear_producer(pushed(), clock=100.05)
    progress.hear_producer(said(0.1, waiting=2), clock=100.1)
    progress.hear_deployment("2,2,\n", clock=100.2)
    progress.hear_producer(said(0.9, waiting=1, busy=1, workers=1), clock=100.9)
    progress.hear_producer(said(1.2, busy=1, workers=2, thumbnails=1, done=1), clock=101.2)
    progress.hear_producer(said(1.5, workers=2, thumbnails=2, done=2), clock=101.5)
    assert progress.is_drained
    assert not progress.is_over
    progress.hear_deployment("0,2,2\n", clock=106.5)
    assert not progress.is_over
    progress.hear_deployment("0,,\n", clock=107.0)
    assert progress.times == Times(0.9, 1.2, 1.5, 7.0)


def test_zero_replicas_before_the_work_is_done_are_not_the_end() -> None:
    progress = Progress(total=2)
    progress.hear_producer(pushed(), clock=10.0)
    progress.hear_deployment("0,,\n", clock=10.0)
    assert not progress.is_over


def test_a_pool_that_was_back_at_zero_first_is_over_when_the_last_job_is_counted() -> None:
    progress = Progress(total=2)
    progress.hear_producer(pushed(), clock=10.0)
    progress.hear_deployment("0,0,\n", clock=19.0)
    progress.hear_producer(said(9.5, done=2), clock=19.5)
    progress.look(19.6)
    assert progress.is_over


def test_dead_jobs_do_not_keep_a_run_from_ending() -> None:
    progress = Progress(total=2)
    progress.hear_producer(pushed(), clock=0.0)
    progress.hear_producer(said(3.0, done=1, dead=1), clock=3.0)
    assert progress.is_drained
    assert progress.at(3.0).dead == 1


def test_the_operator_s_reason_is_shown_as_it_says_it() -> None:
    progress = Progress(total=2)
    progress.hear_pool("Backlog: 2 waiting\n")
    assert progress.at(0.0).message == "Backlog: 2 waiting"
    progress.hear_pool(": \n")
    assert not progress.at(0.0).message


def test_nothing_is_known_before_anything_was_heard() -> None:
    now = Progress(total=2).at(5.0)
    assert (now.seconds, now.waiting, now.replicas, now.done) == (0.0, None, None, None)
