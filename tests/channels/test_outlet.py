"""What puts values into a local end, alone."""

from __future__ import annotations

import math

import pytest
import trio

from trionetchan._channels.outlet import Outlet, Taken
from trionetchan._channels.pacing import LARGE_BUFFER


class Foreign(trio.abc.SendChannel[int]):
    """An end of which only `send` and `aclose` are known."""

    def __init__(self) -> None:
        self.values: list[int] = []
        self.closed = 0

    async def send(self, value: int) -> None:
        await trio.lowlevel.checkpoint()
        self.values.append(value)

    async def aclose(self) -> None:
        self.closed += 1


@pytest.mark.parametrize(("size", "put", "rest"), [(2, 2, [3]), (3, 3, []), (0, 0, [3, 2, 1])])
async def test_puts_in_what_the_end_takes(size: int, put: int, rest: list[int]) -> None:
    send, receive = trio.open_memory_channel[int](size)
    values = [3, 2, 1]  # the next one last
    taken = Taken.NOT_ALL if rest else Taken.ALL
    assert Outlet(send).put(values) == (put, taken)
    assert values == rest
    assert [receive.receive_nowait() for _ in range(put)] == [1, 2, 3][:put]


@pytest.mark.parametrize("gone", ["receiver", "sender"])
async def test_nobody_takes_the_rest(gone: str) -> None:
    send, receive = trio.open_memory_channel[int](5)
    outlet = Outlet(send)
    assert not outlet.receiver_gone
    (receive if gone == "receiver" else send).close()
    values = [2, 1]
    assert outlet.put(values) == (0, Taken.RECEIVER_GONE)
    assert values == [2, 1]
    assert outlet.receiver_gone == (gone == "receiver")


@pytest.mark.parametrize(
    ("size", "unbuffered", "sleeps"),
    [(0, True, False), (1, False, False), (LARGE_BUFFER, False, True), (math.inf, False, True)],
)
async def test_what_the_size_of_the_end_says(size: float, unbuffered: bool, sleeps: bool) -> None:
    outlet = Outlet(trio.open_memory_channel[int](size)[0])
    assert (outlet.unbuffered, outlet.may_sleep) == (unbuffered, sleeps)


@pytest.mark.parametrize("wait", [False, True])
async def test_closing_is_seen_by_the_receiver(wait: bool) -> None:
    send, receive = trio.open_memory_channel[int](5)
    outlet = Outlet(send)
    if wait:
        await outlet.aclose()
    else:
        outlet.close()
    with pytest.raises(trio.EndOfChannel):
        receive.receive_nowait()


async def test_a_foreign_end_is_only_sent_into() -> None:
    end = Foreign()
    outlet = Outlet(end)
    values = [2, 1]
    assert outlet.put(values) == (0, Taken.NOT_ALL)
    assert values == [2, 1]
    assert (outlet.unbuffered, outlet.may_sleep, outlet.receiver_gone) == (False, False, False)
    await outlet.send(1)
    outlet.close()
    assert (end.values, end.closed) == ([1], 0)
    await outlet.aclose()
    assert end.closed == 1
