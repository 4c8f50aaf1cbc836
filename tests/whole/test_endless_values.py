"""A value of the program's own that is too deep, or endless, is an error out of the block, and nothing worse."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any, Optional

import pytest
import trio
from support import connect, connected, take

from trionetchan import LimitError, Limits, ValueTypeError, open_exporter


@dataclasses.dataclass
class Link:
    number: int
    next: Optional[Link] = None  # noqa: UP045 - looked up by name


def deep_list() -> Any:
    value: Any = []
    for _ in range(100_000):
        value = [value]
    return value


def linked_list() -> Any:
    link = None
    for number in range(100_000):
        link = Link(number, link)
    return link


def list_of_itself() -> Any:
    value: list[Any] = []
    value.append(value)
    return value


def shared_list() -> Any:
    value: Any = [1]
    for _ in range(40):
        value = [value, value]
    return value


CASES: list[tuple[Any, Callable[[], Any], str]] = [
    (None, deep_list, "more than 64 levels of nesting"),
    (None, list_of_itself, "more than 64 levels of nesting"),
    (None, linked_list, "Link"),
    (Link, linked_list, "more than 64 levels of nesting"),
    (list[Any], deep_list, "more than 64 levels of nesting"),
    (list[Any], list_of_itself, "more than 64 levels of nesting"),
    (list[list[int]], deep_list, "expected int"),
    (int, deep_list, "expected int"),
    (int, linked_list, "expected int"),
    (int, list_of_itself, "expected int"),
]
IDS = [f"{make.__name__} as {getattr(value_type, '__name__', value_type)}" for value_type, make, _ in CASES]


@pytest.mark.parametrize(("value_type", "make", "words"), CASES, ids=IDS)
async def test_what_is_too_deep_raises_out_of_the_exporters_block(
    nursery: trio.Nursery, value_type: Any, make: Callable[[], Any], words: str
) -> None:
    types = () if value_type is None else (value_type,)
    with pytest.raises(ValueTypeError, match=words) as caught:
        async with open_exporter() as exporter:
            send: Any = exporter.open_send_channel("jobs", *types)
            async with connect(nursery, exporter) as importer:
                await importer.open_receive_channel("jobs", *types)
                await send.send(make())
                await trio.sleep_forever()
    assert caught.value.channel == "jobs"
    await the_process_lives(nursery)


@pytest.mark.parametrize(("value_type", "make", "words"), CASES, ids=IDS)
async def test_what_is_too_deep_raises_out_of_the_importers_block(
    nursery: trio.Nursery, value_type: Any, make: Callable[[], Any], words: str
) -> None:
    types = () if value_type is None else (value_type,)
    async with open_exporter() as exporter:
        exporter.open_receive_channel("results", *types)
        with pytest.raises(ValueTypeError, match=words) as caught:
            async with connect(nursery, exporter) as importer:
                send: Any = await importer.open_send_channel("results", *types)
                await send.send(make())
                await trio.sleep_forever()
        assert caught.value.channel == "results"
    await the_process_lives(nursery)


async def test_what_is_endless_written_out_is_too_large(nursery: trio.Nursery) -> None:
    limits = Limits(max_value_size=1000)
    with pytest.raises(LimitError, match="jobs: expected a value of at most 1000 bytes, got more") as caught:
        async with open_exporter(limits=limits) as exporter:
            send: Any = exporter.open_send_channel("jobs")
            async with connect(nursery, exporter) as importer:
                await importer.open_receive_channel("jobs")
                await send.send(shared_list())
                await trio.sleep_forever()
    assert caught.value.channel == "jobs"
    await the_process_lives(nursery)


async def the_process_lives(nursery: trio.Nursery) -> None:
    async with connected(nursery) as (exporter, importer):
        send: Any = exporter.open_send_channel("more")
        receive = await importer.open_receive_channel("more")
        nursery.start_soon(send.send, [1, [2]])
        assert await take(receive, 1) == [[1, [2]]]
