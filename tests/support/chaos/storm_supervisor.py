"""`storm_supervisor.py <seconds its clock is off> <diary>`: the real one, on a node in a storm.

Its children are those of `storm_child.py`, with the same wrong clock.  It notes in the diary which
claims were granted a job.
"""

import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any
from unittest.mock import patch

sys.path.insert(0, str(Path(__file__).parents[2]))

from image_worker import leases
from image_worker.__main__ import main
from support.chaos.clocks import now_ms, skew_wall_clock
from support.chaos.diary import Diary

CHILD = Path(__file__).with_name("storm_child.py")


def noted(claim: Callable[..., leases.Claim], diary: Diary) -> Callable[..., leases.Claim]:
    """Have each claim that is granted a job be written down, with the times of call and answer."""

    def claim_and_note(*how: Any, **further: Any) -> leases.Claim:  # noqa: ANN401 (handed on)
        since_ms = now_ms()
        answer = claim(*how, **further)
        if answer.lease is not None:
            diary.claimed(since_ms)
        return answer

    return claim_and_note


if __name__ == "__main__":
    skew_wall_clock(float(sys.argv[1]))
    noting = noted(leases.Leases.claim, Diary(Path(sys.argv[2])))
    with patch.object(leases.Leases, "claim", noting):
        sys.exit(main(child_command=(sys.executable, str(CHILD), *sys.argv[1:])))
