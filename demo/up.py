"""`make up`: from nothing to a pool that has scaled out and back before one's eyes.

Knows the order of things; each of them is some other module's.
"""

import os
import shutil
import subprocess
import time
from pathlib import Path

from demo import installation, local, photo_run
from demo.errors import Unsupported
from demo.installation import NAMESPACE
from demo.local import Ground, Images
from demo.objects import PRODUCER
from demo.photo_run import Outcome
from demo.steps import Steps, shown
from demo.terminal import BOLD, GREEN, duration


def up(ground: Ground, steps: Steps, today: str) -> None:
    """Run the whole way, and end with what to try next."""
    started = time.monotonic()
    images = _get_cluster(ground, steps)
    cluster = ground.cluster
    installation.install(cluster, steps, ground.checkout, images)
    pool = installation.apply_pool(cluster, steps, ground.checkout)
    installation.start_producer(cluster, steps, ground.checkout, pool)
    photo_run.make_photos(cluster, steps)
    pushed = time.monotonic()
    outcome = photo_run.run_photos(cluster, steps, ground, pool, today)
    _tell_times(steps, outcome, pushed - started)
    _tell_next(ground, steps, outcome, pool.name)


def _get_cluster(ground: Ground, steps: Steps) -> Images:
    if ground.foreign is None:
        return local.start(ground, steps)
    repository = os.environ.get("IMAGE_REPOSITORY", "")
    if not any(Path(path).is_file() for path in ground.foreign.split(os.pathsep)):
        raise Unsupported(
            f"KUBECONFIG names {ground.foreign}, which is no file. Name your cluster's, or "
            "`unset KUBECONFIG` to have a cluster started on this machine."
        )
    if not repository:
        raise Unsupported(
            "your own cluster (KUBECONFIG is set) needs a place to pull the images from:\n"
            "    make up IMAGE_REPOSITORY=registry.example.org/team\n"
            "Or `unset KUBECONFIG` to have a cluster started on this machine."
        )
    steps.say(f"  The cluster of {ground.foreign} is used; none is started here.")
    return local.use(ground, steps, repository)


def _tell_times(steps: Steps, outcome: Outcome, seconds_before: float) -> None:
    times, paint = outcome.times, steps.terminal.paint
    rows = (
        ("first worker", times.first_worker),
        ("first thumbnail", times.first_thumbnail),
        ("all done", times.all_done),
        ("back at zero pods", times.back_at_zero),
    )
    line = steps.terminal.line
    line()
    line(f"  {paint('From the first push to', BOLD)}")
    for name, seconds in rows:
        if seconds is not None:
            line(f"    {name:<20} {paint(f'{seconds:6.1f} s', GREEN)}")
    if times.first_thumbnail is not None:
        whole = duration(seconds_before + times.first_thumbnail)
        line(f"  and from `make up` to the first thumbnail {whole}.")


def _tell_next(ground: Ground, steps: Steps, outcome: Outcome, pool: str) -> None:
    line, paint = steps.terminal.line, steps.terminal.paint
    again = f"kubectl -n {NAMESPACE} exec {PRODUCER} -- python -m demo.producer push"
    line()
    line(f"  {paint('The thumbnails', BOLD)}     {shown(outcome.thumbnails)}/")
    line(f"  {paint('A contact sheet', BOLD)}    {shown(outcome.contact_sheet)}")
    line()
    line(f"  {paint('Try next', BOLD)}")
    line(f"    export KUBECONFIG={ground.cluster.kubeconfig}")
    if ground.cluster.kubectl.is_relative_to(ground.build):
        line(f"    export PATH={ground.build / 'bin'}:$PATH")
    line(f"    kubectl -n {NAMESPACE} get wp -w   # watch it, and in a second terminal:")
    line(f"    {again}")
    line(f"    kubectl -n {NAMESPACE} describe wp {pool}")
    line("    kubectl explain wp.spec")
    line("    make down")
    line()
    _open(outcome.contact_sheet)


def _open(picture: Path) -> None:
    """Show a picture where there is a display; who works over ssh is left in peace."""
    display = os.environ.get("DISPLAY") or os.environ.get("WAYLAND_DISPLAY")
    opener = shutil.which("xdg-open")
    if display and opener:
        subprocess.Popen(
            [opener, str(picture)],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
        )
