"""Traffic: when jobs arrive and how long each one takes. Pure, and the same for the same seed."""

import csv
import math
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from random import Random


@dataclass(frozen=True, slots=True)
class Job:
    """One job of a trace."""

    at: float
    """Seconds after the trace's begin at which it is pushed."""
    seconds: float
    """Time it keeps one worker busy."""


@dataclass(frozen=True, slots=True)
class Trace:
    """Jobs in order of arrival."""

    name: str
    jobs: tuple[Job, ...]

    @property
    def seconds(self) -> float:
        """When the last job arrives."""
        return self.jobs[-1].at if self.jobs else 0.0


LONGEST_DAYS = 31
"""Longer ones take hours to replay, and are mostly times of a clock."""


class BadTrace(ValueError):
    """A file that is no trace; the text names the line and what it should hold."""


def read(name: str, lines: Iterable[str]) -> Trace:
    """Return the trace in CSV `lines`: arrival and duration in seconds, with or without a header.

    A first line is a header if no cell of it is a number: one with a typing error is none.

    Raises:
        BadTrace: naming the first wrong line.
    """
    jobs = []
    for number, row in _rows(name, lines):
        if not row or (number == 1 and not any(map(_is_number, row))):
            continue
        try:
            at, seconds = (float(cell) for cell in row)
        except ValueError:
            at, seconds = -1.0, -1.0
        if not (at >= 0 and seconds > 0 and math.isfinite(at) and math.isfinite(seconds)):
            raise BadTrace(
                f"{name}, line {number}: {','.join(row)!r} is not arrival,seconds: write the "
                f"seconds after the begin at which the job came (0 or more), a comma, and the "
                f"seconds it took (more than 0)",
            )
        jobs.append(Job(at, seconds))
    if not jobs:
        raise BadTrace(f"{name} holds no job: write one line arrival,seconds for each")
    trace = Trace(name, tuple(sorted(jobs, key=lambda job: job.at)))
    if trace.seconds > LONGEST_DAYS * 86_400:
        raise BadTrace(
            f"{name} lasts {trace.seconds / 86_400:.0f} days, more than {LONGEST_DAYS}: write the "
            f"seconds after the trace's begin, not those of a clock, or give a part of it",
        )
    return trace


def _rows(name: str, lines: Iterable[str]) -> Iterable[tuple[int, list[str]]]:
    """Yield rows, each with the number of the line it ends on."""
    reader = csv.reader(lines)
    try:
        for row in reader:
            yield reader.line_num, row
    except csv.Error as error:
        wrong = f"{name}, line {reader.line_num}: {error}"
        raise BadTrace(f"{wrong}: write one line arrival,seconds for each job") from error


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True


Rate = Callable[[float], float]
"""Second of the trace → arrivals a second."""
Duration = Callable[[Random], float]


def _arrivals(random: Random, seconds: float, highest: float, rate: Rate) -> Iterable[float]:
    """Yield arrivals of a Poisson process of a changing rate, by thinning.

    Lewis and Shedler, Simulation of nonhomogeneous Poisson processes by thinning, 1979.
    """
    at = 0.0
    while True:
        at += random.expovariate(highest)
        if at >= seconds:
            return
        if random.random() * highest < rate(at):
            yield at


def _photos(random: Random) -> float:
    """Return the seconds of a thumbnail job: most alike, some twice or thrice as long."""
    return random.lognormvariate(math.log(0.4), 0.4)


def _heavy(random: Random) -> float:
    """Return the seconds of a job with a heavy tail: mean near 2 s, one in a hundred over 20 s."""
    return min(120.0, 0.6 * random.paretovariate(1.4))


def _poisson(
    name: str, seed: int, seconds: float, highest: float, rate: Rate, duration: Duration = _photos
) -> Trace:
    random = Random(seed)  # noqa: S311  reproducible, no secret
    arrivals = _arrivals(random, seconds, highest, rate)
    return Trace(name, tuple(Job(at, duration(random)) for at in arrivals))


HOUR = 3600.0


def steady(seed: int = 1) -> Trace:
    """Return an hour of 10 jobs a second."""
    return _poisson("steady", seed, HOUR, 10, lambda _: 10)


def diurnal(seed: int = 1) -> Trace:
    """Return a day pressed into two hours: silent nights, a peak of 20 a second at noon."""
    day = 2 * HOUR

    def rate(at: float) -> float:
        return 20 * max(0.0, math.sin(2 * math.pi * at / day - math.pi / 2)) ** 2

    return _poisson("diurnal", seed, day, 20, rate)


def bursts(seed: int = 1) -> Trace:
    """Return two hours of silence, with albums of 50 to 800 photos at random moments."""
    random = Random(seed)  # noqa: S311  reproducible, no secret
    jobs = []
    at = 0.0
    while (at := at + random.expovariate(1 / 240)) < 2 * HOUR:
        size = random.randint(50, 800)
        jobs += [Job(at + n * 0.002, _photos(random)) for n in range(size)]
    return Trace("bursts", tuple(sorted(jobs, key=lambda job: job.at)))


def giant(seed: int = 1) -> Trace:
    """Return one batch of 20,000 photos, pushed at once."""
    random = Random(seed)  # noqa: S311  reproducible, no secret
    return Trace("giant", tuple(Job(60.0, _photos(random)) for _ in range(20_000)))


def heavy_tail(seed: int = 1) -> Trace:
    """Return an hour of 4 jobs a second whose durations have a heavy tail."""
    return _poisson("heavy-tail", seed, HOUR, 4, lambda _: 4, _heavy)


GENERATORS: dict[str, Callable[[int], Trace]] = {
    "steady": steady,
    "diurnal": diurnal,
    "bursts": bursts,
    "giant": giant,
    "heavy-tail": heavy_tail,
}
