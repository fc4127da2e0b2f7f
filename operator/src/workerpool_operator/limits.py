"""What a pool's spec says around its target: rates, schedules, the fallback. Pure."""

from datetime import timedelta
from zoneinfo import ZoneInfo

from workerpool_operator.fields import Field
from workerpool_operator.model import Fallback, RateLimit, Schedule
from workerpool_operator.schedule import problem


def rate_limit(limit: Field) -> RateLimit | None:
    """Return what `scaleUp.limit` or `scaleDown.limit` says."""
    if limit.value is None:
        return None
    replicas, percent = limit.get("replicas"), limit.get("percent")
    if (replicas.value is None) is (percent.value is None):
        raise limit.wrong("one of replicas and percent, with periodSeconds")
    period = limit.get("periodSeconds", 60).seconds()
    if replicas.value is not None:
        return RateLimit(period, replicas=replicas.number())
    return RateLimit(period, percent=percent.number())


def schedule(entry: Field) -> Schedule:
    """Return what an entry of `schedules` says."""
    cron, zone = entry["cron"], entry.get("timeZone", "UTC")
    wrong = problem(cron.text())
    if wrong:
        raise cron.wrong(f"a cron expression such as 0 8 * * MON-FRI ({wrong})")
    try:
        known = ZoneInfo(zone.text())
    except (LookupError, ValueError, OSError) as error:  # unknown, no name, a folder of names
        raise zone.wrong("an IANA time zone such as Europe/Berlin") from error
    duration = timedelta(minutes=entry["durationMinutes"].number())
    return Schedule(cron.text(), known, duration, entry["minReplicas"].number())


def fallback(entry: Field) -> Fallback | None:
    """Return what `fallback` says."""
    if entry.value is None:
        return None
    return Fallback(entry["replicas"].number(), entry.get("afterSeconds", 300).seconds())
