"""Every asynchronous test is bounded: by 10 seconds, by what its mark `bounded` says, or by a day of its own clock.

And no test depends on the environment variables that it finds. This process gets rid of those that change what Python
or a library does; what a test starts gets an environment of its own (`support.child_environment`).
"""

from __future__ import annotations

import functools
import inspect
import os
import tempfile
import time
from collections.abc import Awaitable, Callable
from typing import Any

import hypothesis
import pytest
import trio

CLOCKS = {"autojump_clock", "mock_clock"}
LONGEST_TEMPORARY = 40  # a path for a unix socket may have about 100 bytes, and a test's directory adds up to 60


def clean_environment() -> None:
    for name in [*os.environ]:
        if name.startswith(("PYTHON", "HYPOTHESIS_", "SSL")) or name.lower().endswith("_proxy"):
            del os.environ[name]
    os.environ["TZ"] = "UTC"
    time.tzset()
    if len(tempfile.gettempdir()) > LONGEST_TEMPORARY:
        del os.environ["TMPDIR"]
        tempfile.tempdir = None


clean_environment()

from places import place  # noqa: E402
from redis_servers import namespace, redis  # noqa: E402

__all__ = ["namespace", "place", "redis"]  # fixtures

# The profile is chosen, or hypothesis would choose by variables such as CI.
hypothesis.settings.register_profile("trionetchan", hypothesis.settings.get_profile("default"))
hypothesis.settings.load_profile("trionetchan")


def bounded(test: Callable[..., Awaitable[None]], seconds: float) -> Callable[..., Awaitable[None]]:
    @functools.wraps(test)
    async def run(*args: Any, **kwargs: Any) -> None:
        with trio.fail_after(seconds):
            await test(*args, **kwargs)

    return run


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if not isinstance(item, pytest.Function) or hasattr(item.obj, "hypothesis"):
            continue
        if inspect.iscoroutinefunction(item.obj):
            mark = item.get_closest_marker("bounded")
            seconds = mark.args[0] if mark else 10
            item.obj = bounded(item.obj, 86_400 if CLOCKS & {*item.fixturenames} else seconds)
