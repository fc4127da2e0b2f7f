"""What all tests need."""

import asyncio


def pytest_configure() -> None:
    # pytest-asyncio asks for the main thread's event loop, and up to Python 3.13 asyncio then
    # makes one that nobody closes. With none set, it makes none.
    asyncio.set_event_loop(None)
