"""Who the master is, by the word of a pool's Sentinels.

It knows their one question; how each of them is reached is handed in.
"""

from collections import Counter
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager

from workerpool_cli.address import EXAMPLE, Address
from workerpool_cli.errors import ClusterTrouble, RedisTrouble
from workerpool_cli.link import Link

Reach = Callable[[Address], AbstractContextManager[Address]]
REMEDY = f"or give the master's address with --redis-url {EXAMPLE}"


def master(name: str, sentinels: Sequence[Address], reach: Reach) -> tuple[str, int]:
    """Return host and port of the server that most Sentinels call so, of those who answer."""
    named: Counter[tuple[str, int]] = Counter()
    silent: list[Exception] = []
    for sentinel in sentinels:
        try:
            with reach(sentinel) as reached:
                place = _asked(reached, name)
        except (RedisTrouble, ClusterTrouble) as error:
            silent.append(error)
            continue
        if place is not None:
            named[place] += 1
            if named[place] > len(sentinels) // 2:
                return place
    if named:
        return named.most_common(1)[0][0]
    if len(silent) == len(sentinels):
        raise RedisTrouble(
            "none of the pool's Sentinels can be asked for the master (they are asked without TLS "
            f"and without a password); the first one: {silent[0]}; {REMEDY}",
            answered=False,
            passing=True,
        )
    raise RedisTrouble(
        f"no Sentinel of the pool knows a master called {name}: the host of spec.queue.redis.url "
        f"has to be the name in their `sentinel monitor` line; {REMEDY}"
    )


def _asked(sentinel: Address, name: str) -> tuple[str, int] | None:
    link = Link(sentinel)
    try:
        answer = link.call("SENTINEL", "GET-MASTER-ADDR-BY-NAME", name)
    finally:
        link.close()
    return None if answer is None else (answer[0].decode(), int(answer[1]))
