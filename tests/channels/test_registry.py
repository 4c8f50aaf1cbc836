"""Channels by name, alone."""

from __future__ import annotations

from typing import Any

import pytest
import trio
import trio.testing
from fakes import INT, FakeOwner, FakeReceivingLink, FakeSendingLink

from trionetchan import ChannelNameInUseError, ConnectionLostError, Limits, NoSuchChannelError, ValuesDroppedError
from trionetchan._channels import registry as registry_module
from trionetchan._channels.incoming import Incoming
from trionetchan._channels.outgoing import Outgoing
from trionetchan._channels.registry import Registry
from trionetchan._errors import Code

settle = trio.testing.wait_all_tasks_blocked


def outgoing(name: str = "jobs", *values: int) -> Outgoing[int]:
    send, receive = trio.open_memory_channel[int](100)
    for value in values:
        send.send_nowait(value)
    return Outgoing(name, receive, INT, window=64, limits=Limits(), owner=FakeOwner())


def incoming(name: str) -> Incoming[int]:
    return Incoming(name, trio.open_memory_channel[int](0)[0], INT, window=64, importers=1, owner=FakeOwner())


async def ended(channel: Outgoing[Any], *, by_peer: bool = False) -> None:
    channel.abandon("over", by_peer=by_peer)
    await channel.run()


async def test_a_name_is_bound_until_it_is_retired_and_can_be_bound_anew() -> None:
    registry = Registry()
    assert registry.get("jobs") is None
    registry.check_free("jobs")
    one, two = outgoing(), outgoing()
    registry.add(one)
    assert registry.get("jobs") is registry.bound("jobs") is one
    with pytest.raises(ChannelNameInUseError, match="jobs: expected a name that is not bound") as raised:
        registry.check_free("jobs")
    assert raised.value.channel == "jobs"
    registry.retire(two, "not there")
    assert registry.get("jobs") is one
    registry.retire(one, "it was hung up")
    registry.check_free("jobs")
    assert registry.is_retired(one)
    assert not registry.is_retired(two)
    registry.add(two)
    registry.retire(one, "again")
    assert registry.bound("jobs") is two
    assert registry.everything() == [two, one]


async def test_why_a_name_is_not_bound() -> None:
    registry = Registry()
    with pytest.raises(NoSuchChannelError, match=r"jobs: expected a name that is bound here, got one that is not$"):
        registry.bound("jobs")
    for why in ("it was hung up", "its receiver is gone"):
        channel = outgoing()
        registry.add(channel)
        registry.retire(channel, why)
        with pytest.raises(NoSuchChannelError, match=f"got one that is not any more: {why}"):
            registry.bound("jobs")


async def test_a_bounded_number_of_past_names_is_remembered(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(registry_module, "MAX_PAST", 3)
    registry = Registry()
    for number in range(5):
        channel = outgoing(str(number))
        registry.add(channel)
        registry.retire(channel, "over")
    assert [registry.why_not(str(number)) for number in range(5)] == ["is not"] * 2 + ["is not any more: over"] * 3


async def test_a_channel_is_forgotten_when_it_is_done_and_its_drops_are_not() -> None:
    registry = Registry()
    one, two = outgoing("jobs", 1, 2, 3), incoming("words")
    registry.add(one)
    registry.add(two)
    assert not registry.sweep(one)
    registry.retire(one, "over")
    registry.retire(two, "over")
    assert not registry.sweep(one)
    await ended(one)
    assert registry.dropped == 3
    link = FakeReceivingLink()
    two.attach(link)
    link.brings(two, 1, 2)
    two.finish(Code.HUNG_UP)
    await two.run()
    assert registry.sweep(one)
    assert registry.sweep(two)
    assert not registry.sweep(one)
    assert registry.everything() == []
    assert registry.dropped == 5
    await registry.drain(("jobs",))  # the program has asked for that


async def test_what_peers_dropped_of_a_channel_that_is_gone_is_told_once() -> None:
    registry = Registry()
    for count in (2, 1):
        channel, link = outgoing("jobs", *range(count)), FakeSendingLink(1)
        registry.add(channel)
        link.window = 0
        channel.attach(link)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(channel.run)
            await settle()
            link.window = count
            link.acknowledges(channel, 0)
            await settle()
            assert link.sent == count
            link.leaves(channel, None)
            channel.abandon("gone", by_peer=True)
        registry.retire(channel, "gone")
        assert registry.sweep(channel)
    with pytest.raises(ValuesDroppedError, match="jobs: expected every value to be delivered, got 3 dropped"):
        await registry.drain(())
    await registry.drain(())
    await registry.drain(("jobs",))


async def test_drain_and_sync_ask_the_named_channels_or_all(nursery: trio.Nursery) -> None:
    registry = Registry()
    links: dict[str, FakeSendingLink] = {}
    channels = [outgoing(name, 1) for name in ("a", "b")]
    for channel in channels:
        name = channel.name
        registry.add(channel)
        links[name] = FakeSendingLink()
        channel.attach(links[name])
        nursery.start_soon(channel.run)
    registry.add(incoming("words"))
    await settle()
    for call in (registry.drain, registry.sync):
        with pytest.raises(NoSuchChannelError, match="c: expected a name that is bound here"):
            await call(("a", "c"))
        await call(("words",))
        async with trio.open_nursery() as inner:
            inner.start_soon(call, ("a",))
            await settle()
            assert inner.child_tasks, "it waits for what is not acknowledged"
            inner.cancel_scope.cancel()
    for channel in channels:
        links[channel.name].acknowledges(channel, 1)
        await registry.drain((channel.name,))
        await registry.sync((channel.name,))
    await registry.drain(())
    for channel in channels:
        channel.abandon("the test is over")


async def test_of_several_failures_the_first_is_raised_and_tells_the_others(nursery: trio.Nursery) -> None:
    registry = Registry()
    pairs = [(outgoing(name, 1), FakeSendingLink()) for name in ("a", "b")]
    for channel, link in pairs:
        registry.add(channel)
        channel.attach(link)
        nursery.start_soon(channel.run)
    await settle()

    async def sync() -> None:
        with pytest.raises(ConnectionLostError, match="a: expected every peer") as raised:
            await registry.sync(())
        assert [note[:2] for note in raised.value.__notes__] == ["b:"]

    async with trio.open_nursery() as inner:
        inner.start_soon(sync)
        await settle()
        pairs[0][1].leaves(pairs[0][0], None)
        await settle()
        pairs[1][1].leaves(pairs[1][0], None)
    for channel, _ in pairs:
        channel.abandon("the test is over")


async def test_statistics_are_of_channels_with_a_name() -> None:
    registry = Registry()
    one, two = outgoing("jobs"), incoming("words")
    registry.add(one)
    registry.add(two)
    assert list(registry.statistics()) == ["jobs", "words"]
    registry.retire(one, "over")
    assert list(registry.statistics()) == ["words"]


async def test_a_name_that_is_not_remembered_any_more_tells_no_drops(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(registry_module, "MAX_PAST", 0)
    registry = Registry()
    channel = outgoing("jobs", 1)
    registry.add(channel)
    registry.retire(channel, "gone")
    await ended(channel, by_peer=True)
    assert registry.sweep(channel)
    assert registry.dropped == 1
    await registry.drain(())
