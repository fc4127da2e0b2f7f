"""One connection, and that no reply is ever taken for another's."""

import pytest

from image_worker.keys import keys_of
from image_worker.leases import script
from image_worker.link import Call, Link, connect
from image_worker.settings import RedisSettings
from support.queue_state import LIST
from support.redis_server import RedisServer


@pytest.fixture
def link(server: RedisServer) -> Link:
    return connect(RedisSettings(server.url, None, None, None), "test")


def run(link: Link, meanwhile: list[str]) -> object:
    enlist = Call(script("enlist"), keys_of(LIST).shared, "w")
    return link.run(enlist, (1000,), lambda: meanwhile.remove("to do"))


def test_what_is_done_meanwhile_is_done_once_and_before_the_reply_is_read(link: Link) -> None:
    to_do = ["to do"]
    assert run(link, to_do) == 1
    assert not to_do
    link.close()


def test_a_bug_between_a_request_and_its_reply_gives_nobody_that_reply(link: Link) -> None:
    run(link, ["to do"])
    with pytest.raises(ValueError, match="not in list"):
        run(link, [])
    assert link.call(("PING",)) == [b"PONG"]
    link.close()
