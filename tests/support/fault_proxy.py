"""A TCP proxy that fails on command: what networks do, and servers do not.

async with FaultProxy(redis.port) as proxy:
    client = connect("127.0.0.1", proxy.port)
    proxy.stall()        # bytes are taken and go nowhere: a half-open connection
    proxy.flow()         # they arrive after all
    proxy.strand()       # what is open now is half-open for ever; new connections are sound
    proxy.cut()          # connections end; new ones are let in
    proxy.refuse()       # connections end; new ones do, too
"""

import asyncio
from types import TracebackType
from typing import Self

CHUNK = 65_536


class FaultProxy:
    """Stands between a client and a local port, in the test's own event loop."""

    def __init__(self, port: int, *, gap_seconds: float = 0.0) -> None:
        """Stand before `port`; what was held arrives chunk by chunk, with a gap between."""
        self._target = port
        self._gap = gap_seconds
        self._server: asyncio.Server | None = None
        self._pipes: set[asyncio.Task[None]] = set()
        self._writers: set[asyncio.StreamWriter] = set()
        self._flows = asyncio.Event()
        self._flows.set()
        self._refuses = False
        self.port = 0
        self.accepted = 0
        """Connections that were let in."""

    async def __aenter__(self) -> Self:
        self._server = await asyncio.start_server(self._accept, "127.0.0.1", 0)
        self.port = self._server.sockets[0].getsockname()[1]
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        assert self._server is not None
        self._server.close()
        self.cut()
        if self._pipes:
            await asyncio.wait(self._pipes)
        await self._server.wait_closed()

    @property
    def redis_url(self) -> str:
        """Its address, if the port is a Redis'."""
        return f"redis://127.0.0.1:{self.port}/0"

    @property
    def open(self) -> int:
        """How many connections there are."""
        return len(self._pipes) // 2

    def stall(self) -> None:
        """Take bytes, and hold them."""
        self._flows.clear()

    def strand(self) -> None:
        """Hold for ever what is said on the present connections."""
        self._flows.clear()
        self._flows = asyncio.Event()
        self._flows.set()

    def flow(self) -> None:
        """Let everything through again."""
        self._flows.set()
        self._refuses = False

    def cut(self) -> None:
        """End every connection."""
        for writer in list(self._writers):
            writer.transport.abort()
        for pipe in self._pipes:
            pipe.cancel()

    def refuse(self) -> None:
        """End every connection, and each new one as soon as it is there."""
        self._refuses = True
        self.cut()

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if self._refuses:
            writer.transport.abort()
            return
        try:
            far_reader, far_writer = await asyncio.open_connection("127.0.0.1", self._target)
        except OSError:
            writer.transport.abort()
            return
        if self._refuses:  # since we have asked
            for opened in (writer, far_writer):
                opened.transport.abort()
            return
        self.accepted += 1
        for source, sink in ((reader, far_writer), (far_reader, writer)):
            self._writers.add(sink)
            pipe = asyncio.create_task(self._pump(source, sink, self._flows))
            self._pipes.add(pipe)
            pipe.add_done_callback(self._pipes.discard)

    async def _pump(
        self, source: asyncio.StreamReader, sink: asyncio.StreamWriter, flows: asyncio.Event
    ) -> None:
        try:
            while chunk := await source.read(CHUNK):
                held = not flows.is_set()
                await flows.wait()
                sink.write(chunk)
                await sink.drain()
                if held:
                    await asyncio.sleep(self._gap)
        except OSError:
            pass
        finally:
            self._writers.discard(sink)
            sink.transport.abort()
