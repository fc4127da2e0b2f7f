"""The way of one supervisor to Redis, cut and mended from outside its event loop's thread."""

import asyncio
import threading
from collections.abc import Callable
from typing import Self

from support.fault_proxy import FaultProxy

ANSWER_SECONDS = 30.0


class Way:
    """A FaultProxy in a thread of its own."""

    def __init__(self, port: int) -> None:
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, daemon=True)
        self._proxy = FaultProxy(port)

    def __enter__(self) -> Self:
        self._thread.start()
        asyncio.run_coroutine_threadsafe(self._proxy.__aenter__(), self._loop).result(
            ANSWER_SECONDS
        )
        return self

    def __exit__(self, *_: object) -> None:
        asyncio.run_coroutine_threadsafe(
            self._proxy.__aexit__(None, None, None), self._loop
        ).result(ANSWER_SECONDS)
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(ANSWER_SECONDS)
        self._loop.close()

    @property
    def url(self) -> str:
        return self._proxy.redis_url

    def cut(self) -> None:
        """End all connections; what was under way is lost."""
        self._do(self._proxy.cut)

    def part(self) -> None:
        """End all connections and let none in."""
        self._do(self._proxy.refuse)

    def stall(self) -> None:
        """Take bytes and hold them."""
        self._do(self._proxy.stall)

    def mend(self) -> None:
        """Let everything through; what was held arrives late."""
        self._do(self._proxy.flow)

    def _do(self, act: Callable[[], None]) -> None:
        self._loop.call_soon_threadsafe(act)
