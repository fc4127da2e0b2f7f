"""What all tests need."""

import asyncio

from hypothesis import HealthCheck, settings

collect_ignore = ["guest"]
"""It is collected inside a virtual machine, by `make guest-check`."""

# A busy machine is no counterexample, and people run these all day.
settings.register_profile(
    "all day", max_examples=50, deadline=None, suppress_health_check=[HealthCheck.too_slow]
)
settings.load_profile("all day")


def pytest_configure() -> None:
    # pytest-asyncio asks for the main thread's event loop, and up to Python 3.13 asyncio then
    # makes one that nobody closes. With none set, it makes none.
    asyncio.set_event_loop(None)
