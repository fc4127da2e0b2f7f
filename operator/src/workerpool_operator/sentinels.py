"""Sentinels → where the master is now.

All are asked at once, without TLS or a password, and most of those who answer are right: one that
was cut off may still name a master of the past. It connects to no master.
https://redis.io/docs/latest/develop/reference/sentinel-clients/
"""

import asyncio
from collections import Counter

from workerpool_operator.channel import ask_once
from workerpool_operator.errors import Unreadable
from workerpool_operator.resource import Endpoint

ANSWER_SECONDS = 1.0
"""One that is silent for longer is left out: the others know the same."""


async def master(endpoint: Endpoint, timeout: float) -> tuple[str, int]:  # noqa: ASYNC109
    """Return host and port of the server that the endpoint's Sentinels call by its name.

    Raises:
        Unreadable: none of them answers, or none knows that name.
    """
    seconds = min(ANSWER_SECONDS, timeout)
    question = ("SENTINEL", "GET-MASTER-ADDR-BY-NAME", endpoint.master)
    answers = await asyncio.gather(
        *(ask_once(host, port, seconds, *question) for host, port in endpoint.sentinels),
        return_exceptions=True,
    )
    silent = [answer for answer in answers if isinstance(answer, Unreadable)]
    named = Counter((a[0].decode(), int(a[1])) for a in answers if isinstance(a, list))
    for answer in answers:
        if isinstance(answer, BaseException) and not isinstance(answer, Unreadable):
            raise answer
    if named:
        [(place, _)] = named.most_common(1)
        return place
    if len(silent) == len(answers):
        raise Unreadable(
            "No Sentinel can be asked for the master: correct spec.queue.redis.sentinels, let the "
            "operator reach them (NetworkPolicy), and have them ask for neither TLS "
            f"nor a password. The first one: {silent[0]}",
            reason="SentinelsUnreachable",
        )
    raise Unreadable(
        f"No Sentinel knows a master called {endpoint.master}: write the name that stands in "
        "their `sentinel monitor` line as the host of spec.queue.redis.url, as in "
        f"redis://mymaster/0 ({len(silent)} of {len(answers)} did not answer)",
        reason="UnknownMaster",
    )
