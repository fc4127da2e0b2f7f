"""Which pools must be looked at although Redis reports nothing of them. Pure."""

from datetime import datetime

from workerpool_operator.model import Backlog, Decision, Policy
from workerpool_operator.schedule import floor


def moves(
    backlog: Backlog, policy: Policy, replicas: int, decision: Decision | None, now: datetime
) -> bool:
    """Return whether anything may happen that Redis would not report by itself.

    It reports the list alone. Work under way, retries that will be due, replicas above their
    resting count and workers that outlived their pods are looked after by ticks.
    """
    leftover = backlog.workers > 0 and replicas == 0
    held = policy.paused or policy.only_up
    above = replicas > floor(policy, now)[0] and not held
    short = decision is not None and bool(decision.shortage)
    return bool(backlog.jobs or backlog.scheduled or leftover or above or short)
