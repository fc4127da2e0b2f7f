"""Jobs that can never be done are buried with a reason, and hold nobody up."""

import json

from support.photos import album
from support.product import MakePool
from support.waiting import eventually

GOOD = 20


def test_bad_jobs_are_buried_among_good_ones_and_the_pool_returns_to_zero(
    make_pool: MakePool,
) -> None:
    pool = make_pool(maxReplicas=2, target={"backlogPerReplica": 20})
    names = pool.put(album(GOOD))
    pool.store("text.jpg", b"this is no picture")
    pool.store("half.jpg", (pool.folder / "in" / names[0]).read_bytes()[:2000])
    (pool.folder / "in" / "link.jpg").symlink_to("/etc/passwd")
    bad = {
        "{not json": "BadJson",
        "[]": "BadPayload",
        "{}": "MissingFilename",
        '{"filename": "../../etc/passwd"}': "BadFilename",
        '{"filename": "/etc/passwd"}': "BadFilename",
        '{"filename": "link.jpg"}': "BadFilename",
        '{"filename": "text.jpg"}': "NotAnImage",
        '{"filename": "half.jpg"}': "BrokenImage",
    }
    good = [json.dumps({"filename": name}) for name in names]
    jobs = [job for pair in zip(bad, good, strict=False) for job in pair] + good[len(bad) :]
    pool.queue.rpush(pool.queue_name, *jobs)

    eventually(lambda: pool.counters().dead == len(bad), pool.story, seconds=60, every=0.1)
    counters = pool.await_done(GOOD)
    letters = pool.dead_letters()
    assert {raw: why.split(" ")[0] for raw, why in letters.items()} == bad
    assert all(len(why.split(" ")) > 3 for why in letters.values()), "a reason has a sentence"
    assert counters.done == GOOD
    assert {file.name for file in pool.thumbnails()} == set(names)
    pool.await_zero()
    assert pool.counters().dead == len(bad), "dead letters are kept, and ask for nobody"
    pool.await_idle()
    assert pool.replicas() == 0
