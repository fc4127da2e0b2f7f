"""`workerpool drain` and `workerpool resume`: take a pool out of work, and back."""

import argparse
from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeVar

from workerpool_cli import arguments
from workerpool_cli.errors import CliError, ClusterTrouble, Exit, TimeIsUp
from workerpool_cli.model import Snapshot
from workerpool_cli.patience import patiently
from workerpool_cli.pool import Pool
from workerpool_cli.session import Session, World, kubectl_of, opened
from workerpool_cli.words import count, duration

T = TypeVar("T")
LOOK_SECONDS = 1.0
OBSERVED_SECONDS = 30.0
GRACE_SECONDS = 40
"""On top of the job timeout: 10 for the pod's grace period, the rest for slow nodes."""

DESCRIPTION = """\
Take a pool out of work without interrupting a job: before maintenance of its nodes, its storage,
or whatever its jobs need.

  1. With --finish: wait until nothing waits, is due, scheduled or in flight any more. Nothing is
     changed before that.
  2. Pause the pool (spec.paused: true), and wait until the operator has seen it, so that it does
     not start pods again.
  3. Ask its Deployment for no pods. Each worker then claims nothing more, finishes the job it has
     (within spec.job.timeoutSeconds) and leaves.
  4. Wait until the pods are gone and no job of theirs is in flight, and report.

Workers of the same list that are not in its pods, on a second machine or of another pool, go on:
nobody waits for their jobs. Jobs that still wait stay in the list, and producers may go on
pushing: they are worked on after `workerpool resume POOL`. Where a tool like Argo CD or Flux owns
the WorkerPool, it may set spec.paused back: pause it there, too."""

EXAMPLES = """\
examples:
  workerpool drain images -n shop                  stop claiming; running jobs finish
  workerpool drain images --finish --timeout 2h    work everything off first
  workerpool resume images -n shop                 back to work

exit codes:
  0 drained   1 it did not work   2 wrong command line   4 --timeout passed
  130 interrupted: what was begun goes on; run it again to wait on, or `resume` to undo"""

RESUME = """\
End a drain: set spec.paused to false. The operator then starts as many pods as the queue needs.
Whatever else was the reason for the pause, this ends it, too."""


@dataclass(frozen=True, slots=True)
class Scene:
    """One look at what is left."""

    snapshot: Snapshot
    pods: list[str]
    busy: int
    """Jobs in flight in the pool's pods, those that are gone included."""

    @property
    def is_quiet(self) -> bool:
        """Whether nobody of the pool works any more."""
        return not self.pods and not self.busy


def add(commands: arguments.Subparsers) -> None:
    """Describe the command lines."""
    parser = commands.add_parser(
        "drain",
        help="take a pool out of work without interrupting a job",
        description=DESCRIPTION,
        epilog=EXAMPLES,
    )
    parser.add_argument("pool", metavar="POOL", help="a WorkerPool")
    parser.add_argument(
        "--finish", action="store_true", help="first wait until all work of the queue is done"
    )
    parser.add_argument(
        "--timeout",
        type=arguments.parsed(duration),
        metavar="TIME",
        help="how long to wait in all (default: for ever with --finish, else the pool's job "
        f"timeout and {GRACE_SECONDS} s)",
    )
    arguments.add_queue(parser, pool_is_positional=True)
    parser.set_defaults(run=run)
    parser = commands.add_parser(
        "resume", help="put a drained pool back to work", description=RESUME, epilog=EXAMPLES
    )
    parser.add_argument("pool", metavar="POOL", help="a WorkerPool")
    arguments.add_cluster(parser)
    parser.set_defaults(run=resume)


def run(options: argparse.Namespace, world: World) -> Exit:
    """Drain a pool."""
    with opened(options, world) as session:
        pool = session.pool
        if pool is None:
            raise AssertionError("POOL is required")
        session.queue.check()
        drain = _Drain(session, pool, world)
        seconds = _seconds(options, pool)
        consequence = "nothing was changed"
        try:
            with world.within(seconds):
                if options.finish:
                    drain.finish()
                consequence = "what was begun goes on; run it again to wait on"
                drain.pause()
                drain.meet()
                if not session.kubectl.scale_to_zero(pool):
                    world.console.note(f"the operator has made no Deployment {pool.deployment}")
                drain.await_quiet()
        except TimeIsUp as up:
            raise up.telling(f"{drain.words}; {consequence}") from up
    return Exit.OK


def _seconds(options: argparse.Namespace, pool: Pool) -> float | None:
    if options.timeout is not None:
        seconds: float = options.timeout.total_seconds()
        return seconds
    return None if options.finish else pool.job_timeout_seconds + GRACE_SECONDS


def resume(options: argparse.Namespace, world: World) -> Exit:
    """Let the operator scale the pool again."""
    kubectl = kubectl_of(options, world)
    pool = kubectl.pool(options.pool)
    if not pool.paused:
        world.console.say(f"{pool.namespace}/{pool.name} is not paused")
        return Exit.OK
    kubectl.set_paused(pool, paused=False)
    world.console.say(f"{pool.namespace}/{pool.name} is back: the operator scales it again")
    return Exit.OK


class _Drain:
    """The steps."""

    def __init__(self, session: Session, pool: Pool, world: World) -> None:
        self._session = session
        self._pool = pool
        self._world = world
        self.words = "looking at the queue"
        """Where it is."""
        self._met: set[str] = set()
        """Every pod of the pool that was seen: one that is killed leaves its leases behind."""

    def finish(self) -> None:
        """Wait until the queue is empty."""
        while True:
            snapshot = self._ask(self._session.queue.snapshot)
            if not snapshot.unfinished:
                return
            if self._pool.paused and not snapshot.live_workers:
                raise CliError(
                    f"{count(snapshot.unfinished, 'job')} are left and the pool is paused without "
                    f"a worker: `workerpool resume {self._pool.name}` first, or leave --finish out"
                )
            self._go_on(
                f"finishing: {snapshot.waiting:,} waiting, "
                f"{snapshot.due + snapshot.scheduled:,} to be retried, "
                f"{len(snapshot.in_flight):,} in flight"
            )

    def pause(self) -> None:
        """Keep the operator from starting pods, and see that it knows."""
        kubectl, pool = self._session.kubectl, self._pool
        self.words = "pausing the pool"
        patched = kubectl.set_paused(pool, paused=True)
        began = self._world.clock()
        while kubectl.pool(pool.name).observed_generation < patched.generation:
            if self._world.clock() - began > OBSERVED_SECONDS:
                raise ClusterTrouble(
                    f"the pool is paused now, but the operator has not seen it for "
                    f"{OBSERVED_SECONDS:.0f} s: does it run? Its workers were left alone; run "
                    f"this again, or undo it with `workerpool resume {pool.name}`"
                )
            self._go_on("paused; waiting until the operator has seen it")

    def meet(self) -> list[str]:
        """Look which pods there are, and remember them."""
        pods = self._session.kubectl.pods(self._pool)
        self._met.update(pods)
        return pods

    def await_quiet(self) -> None:
        """Wait until nobody works any more."""
        self.words = "looking whether its pods are gone"
        while True:
            scene = self._ask(self._look)
            if scene.is_quiet:
                break
            self._go_on(
                f"draining: {count(len(scene.pods), 'pod')} left, "
                f"{count(scene.busy, 'job')} of theirs in flight"
            )
        self._report(scene.snapshot)

    def _look(self) -> Scene:
        # Pods first: a pod that is gone by then took its leases along, or left them behind.
        pods = self.meet()
        snapshot = self._session.queue.snapshot()
        return Scene(snapshot, pods, snapshot.live_leases_in(self._met))

    def _report(self, snapshot: Snapshot) -> None:
        name = f"{self._pool.namespace}/{self._pool.name}"
        self._world.console.say(f"{name} is drained: paused, no pods, nothing in flight")
        others = snapshot.live_leases
        if others:
            self._world.console.note(
                f"{count(others, 'job')} in flight with workers that are not in its pods; they go "
                "on with the queue"
            )
        left_behind = len(snapshot.in_flight) - others
        if left_behind:
            self._world.console.note(
                f"{count(left_behind, 'job')} of workers that ended hard; the next worker takes "
                "them back, none is lost"
            )
        later = snapshot.unfinished - others
        if later:
            self._world.console.note(
                f"{count(later, 'job')} for later: "
                f"`workerpool resume {self._pool.name} -n {self._pool.namespace}`"
            )

    def _ask(self, look: Callable[[], T]) -> T:
        return patiently(look, self._world.console, self._world.clock, self._world.pause)

    def _go_on(self, words: str) -> None:
        """Show where it is, and wait a little."""
        self.words = words
        self._world.console.progress(words)
        self._world.pause(LOOK_SECONDS)
