"""`make down`: leave nothing behind."""

import shutil

from demo import installation, local
from demo.local import Ground
from demo.steps import Steps


def down(ground: Ground, steps: Steps) -> None:
    """Remove the local cluster; from a person's own, remove what was installed."""
    if ground.foreign is None:
        local.stop(ground, steps)
    else:
        installation.uninstall(ground.cluster, steps, ground.checkout)
    shutil.rmtree(ground.demo, ignore_errors=True)
