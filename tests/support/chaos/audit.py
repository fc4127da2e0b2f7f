"""Whether a storm did any harm: every promise of docs/protocol.md, looked up from outside."""

import json
from collections import Counter
from dataclasses import dataclass, field
from datetime import datetime

from support.chaos import diary
from support.chaos.jobs import Plan
from support.chaos.storm import Storm
from support.queue_state import QueueState

NAMES_SHOWN = 5
DONE = "the thumbnail is in place"
SKEW_SEEN = 0.9


@dataclass(slots=True)
class Verdict:
    """Figures to show, and sentences about what is wrong: none, if all is well."""

    figures: dict[str, object] = field(default_factory=dict)
    problems: list[str] = field(default_factory=list)

    def expect(self, what: str, seen: object, wanted: object) -> None:
        """Note a problem if two things differ."""
        if seen != wanted:
            self.problems.append(f"{what}: {seen!r}, expected {wanted!r}")

    def expect_none(self, what: str, names: set[str]) -> None:
        """Note a problem if there is any, with the first few."""
        if names:
            self.problems.append(f"{what}: {len(names)}, as {sorted(names)[:NAMES_SHOWN]}")


def audit(storm: Storm, queue: QueueState, plan: Plan) -> Verdict:
    """End the storm's processes and look at all that they left."""
    verdict = Verdict()
    _look_at_queue(verdict, queue, plan)
    _look_at_outputs(verdict, storm, plan)
    _explain_repeats(verdict, storm, plan)
    _look_at_clocks(verdict, storm, queue)
    verdict.expect("exit codes of those asked to end", set(storm.end()), {0})
    return verdict


def _look_at_queue(verdict: Verdict, queue: QueueState, plan: Plan) -> None:
    stats, lengths = queue.stats, queue.lengths
    buried = {}
    for lease in queue.members("dead"):
        line, raw = queue.envelope(lease)
        buried[json.loads(raw)["filename"]] = line.split(" ")[4]
    verdict.expect_none("lost poison jobs", set(plan.dead) - set(buried))
    verdict.expect_none("buried without a plan", set(buried) - set(plan.dead))
    for name in set(buried) & set(plan.dead):
        verdict.expect(f"why {name} was buried", buried[name], plan.dead[name])
    verdict.expect("acknowledged", stats["done"], len(plan.outputs))
    verdict.expect("buried by the counters", stats["dead"], len(plan.dead))
    verdict.expect("waiting, landed, due, in flight", lengths[:4], (0, 0, 0, 0))
    verdict.expect("jobs that Redis still holds", queue.jobs, len(plan.dead))
    listed = Counter(json.loads(entry)["filename"] for entry in queue.results)
    verdict.expect_none("results listed twice", {n for n, often in listed.items() if often > 1})
    verdict.expect_none("results not listed", set(plan.outputs) - set(listed))
    verdict.figures |= {
        "acknowledged": stats["done"],
        "buried": len(buried),
        "in_flight": lengths[3],
        "crashes_counted": stats["crashed"],
    }


def _look_at_outputs(verdict: Verdict, storm: Storm, plan: Plan) -> None:
    out = storm.folder / "out"
    found = {str(path.relative_to(out)): path for path in out.rglob("*.jpg")}
    lost = set(plan.outputs) - set(found)
    verdict.expect_none("lost", lost)
    verdict.expect_none("outputs nobody asked for", set(found) - set(plan.outputs))
    wrong = {n for n in set(found) & set(plan.outputs) if found[n].read_bytes() != plan.outputs[n]}
    verdict.expect_none("outputs with other bytes", wrong)
    verdict.figures |= {
        "lost": len(lost),
        "outputs": len(found),
        "wrong_bytes": len(wrong),
        "partial_files_left": sum(1 for _ in out.rglob(".image-worker-*")),
    }


def _explain_repeats(verdict: Verdict, storm: Storm, plan: Plan) -> None:
    """Tell runs beyond the first, of jobs that were done, by what became of the earlier run.

    A run without an end was cut short with its child.  A run that ended and was repeated had
    lost its lease, or the word of its end was lost with child, supervisor or connection.
    """
    begun, ended = diary.read(storm.diary)
    runs = {name: begun[name] for name in plan.outputs}
    again = {name: number - 1 for name, number in runs.items() if number > 1}
    cut_short = sum(begun[name] - ended[name] for name in plan.outputs)
    finished_again = sum(max(0, ended[name] - 1) for name in plan.outputs)
    verdict.expect_none(
        "done without a run", {name for name, number in runs.items() if not number}
    )
    verdict.expect("repeats", sum(again.values()), cut_short + finished_again)
    # A place runs one job at a time, so a fault can have one repeated at each place at most.
    most = sum(storm.faults.values()) * len(storm.places)
    if sum(again.values()) > most:
        verdict.problems.append(f"{sum(again.values())} repeats; {most} faults explain at most")
    verdict.figures |= {
        "repeats": sum(again.values()),
        "repeats_cut_short": cut_short,
        "repeats_end_unheard": finished_again,
        "most_runs_of_a_job": max(runs.values()),
    }


def _look_at_clocks(verdict: Verdict, storm: Storm, queue: QueueState) -> None:
    """The wrong clocks were wrong, and those who had them worked like the others."""
    done = {}
    now = queue.now_ms / 1000
    for place in storm.places:
        lines = storm.logged(place, DONE)
        done[f"{place.skew:+.0f}s"] = len(lines)
        if not lines:
            verdict.problems.append(
                f"the place whose clock is {place.skew:+.0f} s off did nothing"
            )
            continue
        told = datetime.fromisoformat(str(lines[-1]["time"])).timestamp()
        seen = told - now
        if abs(seen) < SKEW_SEEN * abs(place.skew):
            verdict.problems.append(
                f"a clock planned {place.skew:+.0f} s off was {seen:+.0f} s off"
            )
    verdict.figures["done_by_clock"] = done
