"""What supervisors and children wrote down in a storm, against what nobody may do.

It knows the diary; it asks Redis nothing, whose word is judged elsewhere (`books`).
"""

from collections import Counter
from collections.abc import Collection, Sequence

from support.chaos.diary import Entry, What
from support.chaos.places import Place
from support.chaos.retiring import Closure
from support.chaos.verdict import Verdict


def nothing_too_early(verdict: Verdict, entries: Sequence[Entry]) -> None:
    """No run began before the time that its job asked for."""
    runs = [entry for entry in entries if entry.what is What.BEGUN and entry.due_ms]
    early = {f"{one.name} {one.due_ms - one.at_ms} ms" for one in runs if one.at_ms < one.due_ms}
    verdict.expect_none("begun before their time", early)
    verdict.figures["runs_not_before"] = len(runs)


def nobody_closed_claims(
    verdict: Verdict, entries: Sequence[Entry], closures: Sequence[Closure]
) -> None:
    """No pod with a job was closed, and no claim got one that was sent and answered after that."""
    claims = [entry for entry in entries if entry.what is What.CLAIMED]
    wrong = {
        f"{claim.pod} at {claim.at_ms}, closed from {closure.since_ms} to {closure.until_ms}"
        for closure in closures
        for claim in claims
        if claim.pod == closure.pod
        and claim.since_ms > closure.since_ms
        and claim.at_ms < closure.until_ms
    }
    verdict.expect_none("claims in closed pods", wrong)
    held = {lease for closure in closures for lease in closure.held}
    verdict.expect_none("leases of pods that were closed as idle", held)
    verdict.figures["closed"] = len(closures)


def each_serves_its_own(
    verdict: Verdict, entries: Sequence[Entry], places: Sequence[Place]
) -> None:
    """Each place did jobs of every queue that it serves, and of no other."""
    done = {}
    for place in places:
        runs = Counter(
            one.queue for one in entries if one.what is What.ENDED and one.pod in place.pods
        )
        verdict.expect(f"queues of place {place.number}", set(runs), set(place.queues))
        done[f"{place.skew:+.0f}s"] = dict(sorted(runs.items()))
    verdict.figures["runs_by_clock_and_queue"] = done


def repeats_have_a_reason(
    verdict: Verdict, entries: Sequence[Entry], outputs: Collection[str], most: int
) -> None:
    """Tell runs beyond the first, of jobs that were done, by what became of the earlier run.

    A run without an end was cut short with its child.  A run that ended and was repeated had
    lost its lease, or the word of its end was lost with child, supervisor or connection.
    """
    begun, ended = (
        Counter(one.name for one in entries if one.what is what)
        for what in (What.BEGUN, What.ENDED)
    )
    again = sum(begun[name] - 1 for name in outputs if begun[name])
    cut_short = sum(begun[name] - ended[name] for name in outputs)
    finished_again = sum(max(0, ended[name] - 1) for name in outputs)
    verdict.expect_none("done without a run", {name for name in outputs if not begun[name]})
    verdict.expect("repeats", again, cut_short + finished_again)
    if again > most:
        verdict.problems.append(f"{again} repeats; the faults explain {most} at most")
    verdict.figures |= {
        "repeats": again,
        "repeats_cut_short": cut_short,
        "repeats_end_unheard": finished_again,
        "most_runs_of_a_job": max(begun[name] for name in outputs),
    }
