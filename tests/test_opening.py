"""What the `open_…` functions return is for `async with`, and says so when it is used in another way."""

from __future__ import annotations

import contextlib
import copy
import gc
import inspect
import pickle
from collections.abc import Callable
from contextlib import AbstractAsyncContextManager
from typing import Any
from unittest import mock

import pytest
import trio
import trio.testing

import trionetchan
from trionetchan import open_exporter, open_importer, open_tcp_importer, open_unix_importer


def stream() -> trio.abc.Stream:
    return trio.testing.memory_stream_pair()[0]


OPENINGS: dict[str, Callable[[], Any]] = {
    "open_exporter": open_exporter,
    "open_importer": lambda: open_importer(stream()),
    "open_tcp_importer": lambda: open_tcp_importer("127.0.0.1", 1),
    "open_unix_importer": lambda: open_unix_importer("socket"),
}


@pytest.mark.parametrize("function", OPENINGS)
async def test_a_forgotten_async_with_is_told(function: str) -> None:
    opening = OPENINGS[function]()
    use = rf"use `async with {function}\(\.\.\.\) as {function.rpartition('_')[2]}:`"
    with pytest.raises(AttributeError, match=rf"{function}\(\) has no 'hangup' yet: {use}"):
        opening.hangup("jobs")
    with pytest.raises(TypeError, match=f"got `await`: {use}"):
        await opening
    with pytest.raises(TypeError, match=f"got `with`: {use}"), opening:
        pass
    with pytest.raises(TypeError, match=f"got `with`: {use}"), contextlib.ExitStack() as stack:
        stack.enter_context(opening)
    assert use.replace("\\", "") in repr(opening)


async def test_it_can_be_used_afterwards_but_once() -> None:
    opening = open_exporter()
    assert not hasattr(opening, "export")
    async with opening as exporter:
        exporter.open_send_channel("jobs", int).close()
    with pytest.raises(RuntimeError, match=r"got a second time: call open_exporter\(\) again"):
        async with opening:
            raise AssertionError("entered")


async def test_an_exit_stack_takes_it() -> None:
    async with contextlib.AsyncExitStack() as stack:
        assert isinstance(await stack.enter_async_context(open_exporter()), trionetchan.Exporter)


async def test_an_exception_goes_through_it_as_it_is() -> None:
    error = KeyError("mine")
    with pytest.raises(KeyError) as caught:
        async with open_exporter():
            raise error
    assert caught.value is error


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("function", OPENINGS)
def test_what_is_never_entered_leaves_nothing(function: str) -> None:
    opening = OPENINGS[function]()
    gc.collect()
    before = len(gc.get_objects())
    del opening
    gc.collect()
    assert len(gc.get_objects()) <= before


@pytest.mark.parametrize("function", OPENINGS)
def test_its_function_is_a_plain_one(function: str) -> None:
    """As documented: it returns an async context manager, whose class is nobody's business."""
    opening = getattr(trionetchan, function)
    assert not inspect.iscoroutinefunction(opening)
    assert not inspect.isasyncgenfunction(opening)
    assert str(inspect.signature(opening).return_annotation).startswith("AbstractAsyncContextManager[")
    assert isinstance(OPENINGS[function](), AbstractAsyncContextManager)


def test_inspection_copies_pickles_and_mocks_see_a_plain_object() -> None:
    opening = open_exporter()
    for name in ("__wrapped__", "__deepcopy__", "__iter__", "__fspath__", "_repr_html_", "_ipython_display_"):
        assert not hasattr(opening, name)
        with pytest.raises(AttributeError, match=f"'Opening' object has no attribute '{name}'"):
            getattr(opening, name)
    assert inspect.unwrap(opening) is opening  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
    assert inspect.getmembers(opening)
    assert repr(copy.copy(opening)) == repr(opening)
    with pytest.raises((TypeError, AttributeError), match=r"pickle|local object"):
        pickle.dumps(opening)
    assert mock.create_autospec(opening, instance=True)
    assert isinstance(mock.MagicMock(spec=opening), type(opening))


async def test_a_copy_opens_by_itself() -> None:
    opening = open_exporter()
    again = copy.copy(opening)
    async with opening as one, again as other:
        assert one is not other
