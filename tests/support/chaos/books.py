"""What Redis holds of a queue after a storm, against what was planned.

It knows the keys of docs/protocol.md, and nothing of processes.
"""

import json
from collections import Counter

from support.chaos.jobs import Fate
from support.chaos.verdict import Verdict
from support.queue_state import QueueState

KEPT = ("jobs", "dead", "stats", "results", "retired")
"""The companions of an empty queue that nobody uses."""
EXPIRE = ("id:", "worker:")
FOR_EVER = -1


def look(verdict: Verdict, queue: QueueState, fate: Fate) -> Counter[str]:
    """Account for every push; returns what there is to count."""
    buried, stats, lengths = _buried(queue), Counter(queue.stats), queue.lengths
    of = f"of {queue.list}: "
    planned = fate.dead | fate.rivals
    verdict.expect_none(f"{of}lost poison jobs", set(fate.dead) - set(buried))
    # A job that faults have hit three times by chance is rightly buried as Poison; none ever was.
    unplanned = {f"{name}, {buried[name]}" for name in set(buried) - set(planned)}
    verdict.expect_none(f"{of}buried without a plan", unplanned)
    for name in set(buried) & set(planned):
        verdict.expect(f"{of}why {name} was buried", buried[name], planned[name])
    verdict.expect(f"{of}acknowledged", stats["done"], len(fate.outputs))
    verdict.expect(f"{of}buried by the counters", stats["dead"], len(buried))
    # Each push ends in one of three ways, and of those with one id one alone is done.
    duplicates = fate.pushes - len(fate.outputs) - len(buried)
    verdict.expect(f"{of}forgotten, as their id was done", stats["duplicate"], duplicates)
    verdict.expect(f"{of}waiting, landed, due, in flight", lengths[:4], (0, 0, 0, 0))
    verdict.expect(f"{of}jobs that Redis still holds", queue.jobs, len(buried))
    listed = Counter(json.loads(entry)["filename"] for entry in queue.results)
    verdict.expect_none(f"{of}results listed twice", {n for n in listed if listed[n] > 1})
    verdict.expect_none(f"{of}results not listed", set(fate.outputs) - set(listed))
    verdict.expect_none(f"{of}results of other jobs", set(listed) - set(fate.outputs))
    return Counter(
        pushed=fate.pushes,
        acknowledged=stats["done"],
        duplicates=stats["duplicate"],
        buried=len(buried),
        rivals_buried=len(set(buried) & set(fate.rivals)),
        in_flight=lengths[3],
        crashes_counted=stats["crashed"],
    )


def look_at_keys(verdict: Verdict, queue: QueueState, fate: Fate) -> Counter[str]:
    """See that nothing is left that goes away, now that all workers have gone."""
    of = f"of {queue.list}: "
    companions = [key.decode() for key in queue.client.scan_iter(f"{queue.prefix}*")]
    left = {key.removeprefix(queue.prefix) for key in companions} - set(KEPT)
    expire = {key for key in left if key.startswith(EXPIRE)}
    never = {key for key in expire if queue.client.pttl(queue.prefix + key) == FOR_EVER}
    verdict.expect_none(f"{of}keys left", left - expire)
    verdict.expect_none(f"{of}keys that never expire", never)
    done = {one for one in fate.ids if queue.client.get(f"{queue.prefix}id:{one}") == b"done"}
    verdict.expect_none(f"{of}ids not remembered as done", fate.ids - done)
    return Counter(ids_remembered=len(done))


def _buried(queue: QueueState) -> dict[str, str]:
    """Return why each of the dead was buried."""
    reasons = {}
    for lease in queue.members("dead"):
        line, raw = queue.envelope(lease)
        reasons[str(json.loads(raw)["filename"])] = line.split(" ")[4]
    return reasons
