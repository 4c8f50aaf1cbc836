"""Every asynchronous test is bounded: by 10 seconds, or by a day of a test's own clock."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Awaitable, Callable
from typing import Any

import pytest
import trio

CLOCKS = {"autojump_clock", "mock_clock"}


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
            item.obj = bounded(item.obj, 86_400 if CLOCKS & {*item.fixturenames} else 10)
