"""The benchmark's sweep over targets of tuned KEDA tells where it is as good as ours."""

from dataclasses import replace

from bench.decisions import OURS, POLICY, SWEEP, Sweep
from workerpool_simulator.policies import candidates
from workerpool_simulator.replay import replay
from workerpool_simulator.trace import Job, Trace

TRACE = Trace("minute", tuple(Job(n * 0.1, 0.5) for n in range(600)))


def test_a_target_that_waits_no_longer_and_costs_no_more_is_named() -> None:
    ours = replay(TRACE, candidates(POLICY, 10)[0]())
    assert ours.policy == OURS
    sweep = Sweep(POLICY)

    sweep.add(TRACE, replace(ours, p95_wait=0.0, worker_hours=1e6))
    assert sweep.as_good() == [], "quicker"
    sweep.ours["minute"] = replace(ours, p95_wait=1e6, worker_hours=0.0)
    assert sweep.as_good() == [], "cheaper"
    assert sweep.table().endswith("as good as ours on both: none")

    sweep.ours["minute"] = replace(ours, p95_wait=1e6, worker_hours=1e6)
    assert sweep.as_good() == [f"minute at {target}" for target in SWEEP]
    assert sweep.rows()["minute"].keys() == set(SWEEP)
