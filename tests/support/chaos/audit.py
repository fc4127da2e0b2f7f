"""Whether a storm did any harm: every promise of docs/protocol.md, looked up from outside."""

from collections import Counter
from collections.abc import Mapping
from contextlib import suppress
from datetime import datetime

from support.chaos import books, diary, witnesses
from support.chaos.faults import RETIREMENTS
from support.chaos.jobs import Plan
from support.chaos.storm import Storm
from support.chaos.verdict import Verdict
from support.queue_state import QueueState
from support.waiting import eventually

DONE = "the thumbnail is in place"
ASIDE = {"early": "it asks for a later time", "twin": "another job with its id is being done"}
SKEW_SEEN = 0.9
ORDER_SECONDS = 30.0
"""Many leases: who fell silent last is struck off by then."""


def audit(storm: Storm, queues: Mapping[str, QueueState], plan: Plan) -> Verdict:
    """End the storm's processes and look at all that they left."""
    verdict = Verdict()
    counted = Counter[str]()
    for name, queue in queues.items():
        counted.update(books.look(verdict, queue, plan.fates[name]))
        _await_order(verdict, storm, queue)
    _look_at_outputs(verdict, storm, plan)
    _look_at_terms(verdict, storm)
    _look_at_clocks(verdict, storm, next(iter(queues.values())))
    verdict.expect("exit codes of those asked to end", set(storm.end()), {0})
    entries = diary.read(storm.diary)
    # A place runs one job at a time, so a fault can have one repeated at each place at most.
    faults = sum(often for kind, often in storm.faults.items() if kind not in RETIREMENTS)
    witnesses.repeats_have_a_reason(verdict, entries, plan.outputs, faults * len(storm.places))
    witnesses.nothing_too_early(verdict, entries)
    witnesses.nobody_closed_claims(verdict, entries, storm.closures)
    witnesses.each_serves_its_own(verdict, entries, storm.places)
    for name, queue in queues.items():
        counted.update(books.look_at_keys(verdict, queue, plan.fates[name]))
    verdict.figures |= counted
    return verdict


def _await_order(verdict: Verdict, storm: Storm, queue: QueueState) -> None:
    """Wait until whoever fell silent is struck off, and no mark of retirement is left in force."""
    alive = {worker for place in storm.places for worker in place.workers}
    here = {place.pod for place in storm.places}

    def silent() -> set[str]:
        return set(queue.members("workers")) - alive

    def closed() -> set[str]:
        return {pod for pod, until in queue.members("retired").items() if until > queue.now_ms}

    with suppress(AssertionError):
        eventually(lambda: not (silent() or closed() & here), "order", seconds=ORDER_SECONDS)
    verdict.expect_none(f"of {queue.list}: silent workers not struck off", silent())
    verdict.expect_none(f"of {queue.list}: pods that nobody called back", closed() & here)


def _look_at_outputs(verdict: Verdict, storm: Storm, plan: Plan) -> None:
    out = storm.folder / "out"
    outputs = plan.outputs
    found = {str(path.relative_to(out)): path for path in out.rglob("*.jpg")}
    lost = set(outputs) - set(found)
    verdict.expect_none("lost", lost)
    verdict.expect_none("outputs nobody asked for", set(found) - set(outputs))
    wrong = {n for n in set(found) & set(outputs) if found[n].read_bytes() != outputs[n]}
    verdict.expect_none("outputs with other bytes", wrong)
    verdict.figures |= {
        "lost": len(lost),
        "outputs": len(found),
        "wrong_bytes": len(wrong),
        "partial_files_left": sum(1 for _ in out.rglob(".image-worker-*")),
    }


def _look_at_terms(verdict: Verdict, storm: Storm) -> None:
    """What jobs asked was refused now and then, and pods were closed: or nothing was shown."""
    for word, message in ASIDE.items():
        times = sum(len(storm.logged(place, message)) for place in storm.places)
        verdict.figures[f"set_aside_{word}"] = times
    if RETIREMENTS & set(storm.faults):
        verdict.expect_some("pods closed", len(storm.closures))
    verdict.expect_some("jobs that came too early", int(str(verdict.figures["set_aside_early"])))


def _look_at_clocks(verdict: Verdict, storm: Storm, queue: QueueState) -> None:
    """The wrong clocks were wrong."""
    now = queue.now_ms / 1000
    for place in storm.places:
        lines = storm.logged(place, DONE)
        if not lines:
            verdict.problems.append(f"place {place.number} did nothing")
            continue
        seen = datetime.fromisoformat(str(lines[-1]["time"])).timestamp() - now
        if abs(seen) < SKEW_SEEN * abs(place.skew):
            verdict.problems.append(
                f"a clock planned {place.skew:+.0f} s off was {seen:+.0f} s off"
            )
