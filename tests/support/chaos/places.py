"""Where the supervisors of a storm run, and what is special there."""

from dataclasses import dataclass, field

from support.chaos.jobs import SIDE
from support.chaos.proxy import Way
from support.queue_state import LIST
from support.supervisor import Supervisor

SITES: tuple[tuple[float, dict[str, int]], ...] = (
    (0.0, {LIST: 1}),
    (3 * 3600.0, {LIST: 1, SIDE: 3}),
    (-40 * 60.0, {LIST: 2, SIDE: 1}),
)
"""How wrong each place's wall clock is, and which queues are served there with which weights."""
PLACES = len(SITES)
STARTING = "starting: "


@dataclass
class Place:
    """Where one supervisor runs after the other: with its way to Redis, its clock, its queues."""

    number: int
    way: Way
    skew: float
    queues: dict[str, int]
    pods: list[str] = field(default_factory=list)
    """One after the other: who is killed starts again in the same, who is ended does not."""
    supervisors: list[Supervisor] = field(default_factory=list)

    @property
    def supervisor(self) -> Supervisor:
        return self.supervisors[-1]

    @property
    def pod(self) -> str:
        return self.pods[-1]

    @property
    def workers(self) -> list[str]:
        """The ids of those who work here now."""
        lines = self.supervisor.lines(STARTING)
        return [str(worker) for line in lines for worker in line["workers"]]

    def move(self) -> None:
        """Let the next supervisor run in another pod."""
        self.pods.append(f"place-{self.number}-{len(self.pods)}")
