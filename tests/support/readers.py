"""A reader at work for as long as a test needs it."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from workerpool_operator.queues import QueueReader

END_SECONDS = 60.0


@asynccontextmanager
async def running(reader: QueueReader) -> AsyncIterator[QueueReader]:
    """Run a reader; it must neither end by itself nor go on when it is told to end."""
    task = asyncio.create_task(reader.run())
    try:
        yield reader
    finally:
        assert not task.done(), f"a reader never ends by itself: {task!r}"
        task.cancel()
        ended, _ = await asyncio.wait({task}, timeout=END_SECONDS)
        assert ended, f"it does not end: {task!r}"
