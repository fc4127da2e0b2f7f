"""Floors that come and go with the calendar. Pure: the time is an argument.

A schedule is in force for its duration after each time its cron expression names, in its time
zone. Clock changes follow Debian's cron: a time that is skipped in spring comes as soon as the
clock is past it, one that comes twice in autumn counts once.
"""

from datetime import UTC, datetime, timedelta
from functools import lru_cache

from cronsim import CronSim, CronSimError

from workerpool_operator.model import Policy, Schedule

FIELDS = 5
LEAD = timedelta(hours=3)
"""A search begins so long before what it is for: begun within an hour that a clock change repeats
or skips, it does not find what lies in that hour."""


def floor(policy: Policy, at: datetime) -> tuple[int, Schedule | None]:
    """Return the fewest replicas at `at`, and the schedule that says so, if one does."""
    least, which = policy.min_replicas, None
    if policy.schedules:
        minute = at.replace(second=0, microsecond=0)
        for schedule in policy.schedules:
            if schedule.min_replicas > least and _in_force(schedule, minute):
                least, which = schedule.min_replicas, schedule
    return min(least, policy.max_replicas), which


def problem(cron: str) -> str | None:
    """Return what is wrong with a cron expression, if anything is."""
    if len(cron.split()) != FIELDS:
        return "it needs five fields: minute hour day-of-month month day-of-week"
    try:
        next(CronSim(cron, datetime(2000, 1, 1, tzinfo=UTC)))
    except CronSimError as error:
        return str(error)
    except StopIteration:
        return "no day ever is like that"
    return None


@lru_cache(maxsize=4096)
def _in_force(schedule: Schedule, minute: datetime) -> bool:
    """Return whether `schedule` began less than its duration before the end of `minute`.

    Kept for all decisions of the minute: a search through the calendar takes longer than they do.
    """
    begin = (minute - schedule.duration - LEAD).astimezone(schedule.zone)
    for moment in CronSim(schedule.cron, begin):
        began = moment.astimezone(UTC)
        if began > minute:
            return False
        if minute - began < schedule.duration:
            return True
    return False
