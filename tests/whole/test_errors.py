"""The section "Errors" of the contract, line by line: which error, out of which place, with which words."""

from __future__ import annotations

import contextlib
import math
from collections.abc import Awaitable, Callable
from typing import Any, cast

import attrs
import pytest
import trio
import trio.testing
from support import connect, connected, put, serve_tcp, take_all, until

import trionetchan
from trionetchan import (
    ChannelNameInUseError,
    ConnectionLostError,
    Direction,
    Exporter,
    Importer,
    LimitError,
    Limits,
    NetchanError,
    NoSuchChannelError,
    ProtocolError,
    RemoteValueError,
    TooManyErrors,
    TypeMismatchError,
    ValuesDroppedError,
    ValueTypeError,
    WrongDirectionError,
    open_exporter,
    open_importer,
    open_tcp_importer,
    open_unix_importer,
)


@attrs.frozen
class Job:
    name: str
    weight: float


@attrs.frozen
class TextJob:
    name: str
    weight: str


@attrs.frozen
class Unfit:
    weigh: Callable[[int], float]


# The errors themselves


@pytest.mark.parametrize(
    "error",
    [
        ChannelNameInUseError,
        NoSuchChannelError,
        WrongDirectionError,
        TypeMismatchError,
        ValueTypeError,
        RemoteValueError,
        ValuesDroppedError,
        LimitError,
        ProtocolError,
        ConnectionLostError,
        TooManyErrors,
    ],
)
def test_every_error_is_a_netchan_error(error: type[Exception]) -> None:
    assert issubclass(error, NetchanError)
    assert NetchanError.__base__ is Exception
    assert error.__name__ in trionetchan.__all__


# Errors at the call


@pytest.mark.promise(12, 41)
async def test_import_raises_the_exporters_answer_at_the_call(nursery: trio.Nursery) -> None:
    """Each of the three calls; the error is lone, has `.channel`, and its words say what was expected and what came."""
    async with connected(nursery) as (exporter, importer):
        exporter.open_send_channel("jobs", Job)
        exporter.open_receive_channel("results", int)
        end, _other = trio.open_memory_channel[Any](0)
        cases: list[tuple[Callable[[], Awaitable[Any]], type[NetchanError], str, list[str]]] = [
            (lambda: importer.open_receive_channel("nothing", Job), NoSuchChannelError, "nothing", []),
            (lambda: importer.open_send_channel("nothing", Job), NoSuchChannelError, "nothing", []),
            (lambda: importer.import_("nothing", end, Job), NoSuchChannelError, "nothing", []),
            (lambda: importer.open_send_channel("jobs", Job), WrongDirectionError, "jobs", ["send"]),
            (lambda: importer.open_receive_channel("results", int), WrongDirectionError, "results", ["receive"]),
            (lambda: importer.open_receive_channel("jobs", TextJob), TypeMismatchError, "jobs", ["weight", "float"]),
            (
                lambda: importer.open_send_channel("results", str),
                TypeMismatchError,
                "results",
                ["int", "here", "there"],
            ),
            (lambda: importer.import_("jobs", end, list[int]), TypeMismatchError, "jobs", []),
        ]
        for call, error, name, words in cases:
            with pytest.raises(error) as caught:
                await call()
            assert type(caught.value) is error
            assert caught.value.channel == name
            for word in [name, *words]:
                assert word in str(caught.value)
        # The handed-over end is still its caller's, and open: it can be used for the import that succeeds.
        await importer.import_("jobs", end, Job)


@pytest.mark.promise(12)
async def test_type_mismatch_says_where_the_types_differ(nursery: trio.Nursery) -> None:
    """The channel, the field, and either side's type."""
    async with connected(nursery) as (exporter, importer):
        exporter.open_send_channel("jobs", TextJob)
        with pytest.raises(TypeMismatchError, match=r'^jobs: field "weight": float here, text there$'):
            await importer.open_receive_channel("jobs", Job)


@pytest.mark.parametrize("value_type", [object(), type(lambda: None), Callable[[int], int], 3])
@pytest.mark.promise(13)
async def test_type_that_cannot_be_carried_is_refused_at_the_call(nursery: trio.Nursery, value_type: Any) -> None:
    async with connected(nursery) as (exporter, importer):
        with pytest.raises(ValueTypeError, match="jobs") as caught:
            exporter.open_send_channel("jobs", value_type)
        assert caught.value.channel == "jobs"
        assert "jobs" not in exporter.statistics().channels
        exporter.open_send_channel("jobs")
        with pytest.raises(ValueTypeError, match="jobs") as caught:
            await importer.open_receive_channel("jobs", value_type)
        assert caught.value.channel == "jobs"


@pytest.mark.promise(13)
async def test_refused_type_names_the_part(nursery: trio.Nursery) -> None:
    async with open_exporter() as exporter:
        with pytest.raises(ValueTypeError, match=r"jobs.*weigh"):
            exporter.open_send_channel("jobs", list[Unfit])


async def test_name_in_use_at_the_call(nursery: trio.Nursery) -> None:
    """The second binding is refused, and harms neither the first nor the connection."""
    async with connected(nursery) as (exporter, importer):
        send = exporter.open_send_channel("jobs", int)
        end, mine = trio.open_memory_channel[int](1)
        with pytest.raises(ChannelNameInUseError, match="jobs"):
            exporter.export("jobs", end, int)
        end.send_nowait(1)
        receive = await importer.open_receive_channel("jobs", int)
        with pytest.raises(ChannelNameInUseError, match="jobs"):
            await importer.import_("jobs", end, int)
        assert mine.receive_nowait() == 1
        end.send_nowait(2)  # a refused end stays open
        await send.send(3)
        assert await receive.receive() == 3


async def test_two_imports_of_one_name_at_once(nursery: trio.Nursery) -> None:
    async with connected(nursery) as (exporter, importer):
        exporter.open_send_channel("jobs", int)
        outcomes: list[object] = []

        async def bind() -> None:
            try:
                outcomes.append(await importer.open_receive_channel("jobs", int))
            except ChannelNameInUseError as error:
                outcomes.append(error)

        async with trio.open_nursery() as inner:
            for _ in range(3):
                inner.start_soon(bind)
        assert sorted(isinstance(outcome, ChannelNameInUseError) for outcome in outcomes) == [False, True, True]


async def test_more_channels_than_the_limit_are_refused(nursery: trio.Nursery) -> None:
    async with open_exporter(limits=Limits(max_channels=2)) as exporter, connect(nursery, exporter) as importer:
        for name in ("one", "two", "three"):
            exporter.open_send_channel(name, int)
        await importer.open_receive_channel("one", int)
        two = await importer.open_receive_channel("two", int)
        with pytest.raises(LimitError) as caught:
            await importer.open_receive_channel("three", int)
        assert caught.value.channel == "three"
        exporter.hangup("two")
        assert await take_all(two) == []
        await importer.open_receive_channel("three", int)


async def test_ends_that_do_not_fit_are_a_type_error_at_the_call(nursery: trio.Nursery) -> None:
    class Both(trio.abc.SendChannel[int], trio.abc.ReceiveChannel[int]):
        async def send(self, value: int) -> None: ...
        async def receive(self) -> int:
            raise trio.EndOfChannel

        async def aclose(self) -> None: ...

    async with connected(nursery) as (exporter, importer):
        exporter.open_send_channel("down", int)
        send, receive = trio.open_memory_channel[int](0)
        wrong: list[tuple[Any, Direction | None]] = [
            (object(), None),
            (object(), Direction.SEND),
            (None, None),
            (Both(), None),
            (send, Direction.SEND),
            (receive, Direction.RECEIVE),
        ]
        for end, direction in wrong:
            with pytest.raises(TypeError):
                exporter.export("jobs", end, int, direction=direction)
            with pytest.raises(TypeError):
                await importer.import_("down", end, int, direction=direction)
        assert list(exporter.statistics().channels) == ["down"]
        exporter.export("jobs", Both(), int, direction=Direction.SEND)
        exporter.export("more", Both(), int, direction=Direction.RECEIVE)


# Errors out of the block


async def lose(nursery: trio.Nursery, exporter: Exporter, body: Callable[[Importer], Awaitable[None]]) -> None:
    """Runs the body in the block of an importer, and breaks its stream without a goodbye once everyone waits."""
    ours, theirs = trio.testing.memory_stream_pair()
    nursery.start_soon(exporter.serve_stream, theirs)

    async def breaker() -> None:
        await trio.testing.wait_all_tasks_blocked()
        await ours.aclose()

    nursery.start_soon(breaker)
    async with open_importer(ours) as importer:
        await body(importer)


@pytest.mark.promise(28)
async def test_lost_connection_is_raised_lone_out_of_the_block(nursery: trio.Nursery) -> None:
    """In place of the body's `Cancelled`; nothing is raised in the exporting program."""
    async with open_exporter() as exporter:
        send = exporter.open_send_channel("jobs", int)
        cancelled: list[bool] = []

        async def body(importer: Importer) -> None:
            receive = await importer.open_receive_channel("jobs", int)
            try:
                await receive.receive()
            except trio.Cancelled:
                cancelled.append(True)
                raise

        with pytest.raises(ConnectionLostError) as caught:
            await lose(nursery, exporter, body)
        assert type(caught.value) is ConnectionLostError
        assert cancelled == [True]
        async with connect(nursery, exporter) as importer:
            receive = await importer.open_receive_channel("jobs", int)
            await send.send(1)
            assert await receive.receive() == 1


@pytest.mark.promise(28, 31)
@pytest.mark.parametrize("doing", ["send", "sync", "drain", "receive", "import"])
async def test_lost_connection_is_lone_whatever_the_body_does(nursery: trio.Nursery, doing: str) -> None:
    """At any moment: no end of the body's breaks while it runs, and no call raises another error than the block's."""

    async def trial(moment: int) -> None:
        async with open_exporter() as exporter:
            exporter.open_send_channel("jobs", int)
            exporter.open_receive_channel("results", int, max_buffer_size=1000)
            ours, theirs = trio.testing.memory_stream_pair()
            nursery.start_soon(exporter.serve_stream, theirs)

            async def cut() -> None:
                for _ in range(moment):
                    await trio.lowlevel.checkpoint()
                await (ours if moment % 2 else theirs).aclose()

            async with open_importer(ours) as importer:
                send = await importer.open_send_channel("results", int, window=4)
                receive = await importer.open_receive_channel("jobs", int)
                nursery.start_soon(cut)
                while True:
                    if doing == "receive":
                        await receive.receive()
                    elif doing == "import":
                        with contextlib.suppress(NoSuchChannelError):
                            await importer.open_receive_channel("nothing", int)
                    else:
                        await send.send(1)
                        if doing != "send":
                            await getattr(importer, doing)()

    for moment in range(40):
        with pytest.raises(ConnectionLostError):
            await trial(moment)


@pytest.mark.promise(31)
async def test_body_is_cancelled_first_and_ends_are_touched_after(nursery: trio.Nursery) -> None:
    """While the body unwinds every end is as it was; only then is the library's receive end closed."""
    events: list[str] = []
    ends: list[trio.MemoryReceiveChannel[int]] = []
    reading = trio.Event()

    async def reader() -> None:
        try:
            await ends[0].receive()
        except trio.ClosedResourceError:
            events.append("the reader elsewhere is told")

    async with open_exporter() as exporter:
        exporter.open_send_channel("jobs", int)

        async def body(importer: Importer) -> None:
            ends.append(await importer.open_receive_channel("jobs", int))
            nursery.start_soon(reader)
            reading.set()
            try:
                await trio.sleep_forever()
            finally:
                with trio.CancelScope(shield=True):
                    await trio.testing.wait_all_tasks_blocked()
                    await trio.testing.wait_all_tasks_blocked()
                    with pytest.raises(trio.WouldBlock):
                        ends[0].receive_nowait()
                events.append("the body has unwound")

        with pytest.raises(ConnectionLostError):
            await lose(nursery, exporter, body)
        await trio.testing.wait_all_tasks_blocked()
        assert events == ["the body has unwound", "the reader elsewhere is told"]


@pytest.mark.promise(31)
async def test_handed_over_send_end_is_left_to_its_owner(nursery: trio.Nursery) -> None:
    """A broken connection is no end of the stream: whoever reads the other end of a handed-over channel gets none."""
    into, receive = trio.open_memory_channel[int](0)
    async with open_exporter() as exporter:
        exporter.open_send_channel("jobs", int)

        async def body(importer: Importer) -> None:
            await importer.import_("jobs", into, int)
            await trio.sleep_forever()

        with pytest.raises(ConnectionLostError):
            await lose(nursery, exporter, body)
        await trio.testing.wait_all_tasks_blocked()
        with pytest.raises(trio.WouldBlock):
            receive.receive_nowait()
        into.close()
        assert await take_all(receive) == []


@pytest.mark.parametrize("call", ["import_", "drain", "sync"])
async def test_calls_that_wait_raise_the_failure_too(nursery: trio.Nursery, call: str) -> None:
    """A call that waits in another task raises the failure itself."""
    caught: list[BaseException] = []
    async with open_exporter() as exporter:
        exporter.open_receive_channel("results", int)
        ours, theirs = trio.testing.memory_stream_pair()
        if call != "import_":
            nursery.start_soon(exporter.serve_stream, theirs)

        async with trio.open_nursery() as inner:

            async def caller(importer: Importer) -> None:
                try:
                    if call == "import_":
                        await importer.open_send_channel("results", int)
                    else:
                        await getattr(importer, call)()
                except ConnectionLostError as error:
                    caught.append(error)

            with pytest.raises(ConnectionLostError):
                async with open_importer(ours) as importer:
                    if call != "import_":
                        send = await importer.open_send_channel("results", int)
                        await send.send(1)
                        await trio.testing.wait_all_tasks_blocked()
                    inner.start_soon(caller, importer)
                    await trio.testing.wait_all_tasks_blocked()
                    await ours.aclose()
                    await trio.sleep_forever()
    assert [type(error) for error in caught] == [ConnectionLostError]


async def test_failure_and_another_exception_of_the_body_make_a_group(nursery: trio.Nursery) -> None:
    async with open_exporter() as exporter:

        async def body(importer: Importer) -> None:
            try:
                await trio.sleep_forever()
            finally:
                raise KeyError("of the body")

        with pytest.RaisesGroup(KeyError, ConnectionLostError):
            await lose(nursery, exporter, body)


async def test_failure_that_a_call_raised_is_not_raised_twice(nursery: trio.Nursery) -> None:
    """The call in the body that waited raises the failure: it comes out of the block once, lone."""
    async with open_exporter() as exporter:
        exporter.open_receive_channel("results", int)

        async def body(importer: Importer) -> None:
            send = await importer.open_send_channel("results", int)
            await send.send(1)
            await importer.drain()

        with pytest.raises(ConnectionLostError):
            await lose(nursery, exporter, body)


@pytest.mark.parametrize("side", ["exporter", "importer"])
async def test_users_own_exception_leaves_the_block_as_it_is(nursery: trio.Nursery, side: str) -> None:
    error = KeyError("mine")
    with pytest.raises(KeyError) as caught:
        async with connected(nursery) as (exporter, importer):
            exporter.open_send_channel("jobs", int)
            if side == "importer":
                await importer.open_receive_channel("jobs", int)
            raise error
    assert caught.value is error


async def test_users_own_exception_leaves_the_exporters_block_as_it_is(nursery: trio.Nursery) -> None:
    error = KeyError("mine")
    with pytest.raises(KeyError) as caught:
        async with open_exporter() as exporter:
            port = await serve_tcp(nursery, exporter)
            assert port
            raise error
    assert caught.value is error


@pytest.mark.promise(27)
async def test_exporter_that_leaves_with_an_unfinished_channel_breaks_it(nursery: trio.Nursery) -> None:
    """Its importers fail: they do not see an end."""
    importing = trio.Event()
    outcome: list[BaseException] = []

    async def work(stream: trio.abc.Stream) -> None:
        try:
            async with open_importer(stream) as importer:
                receive = await importer.open_receive_channel("jobs", int)
                importing.set()
                await take_all(receive)
                raise AssertionError("an end of the stream, though the sender had not finished")
        except ConnectionLostError as error:
            outcome.append(error)

    async with trio.open_nursery() as inner, open_exporter() as exporter:
        exporter.open_send_channel("jobs", int)
        ours, theirs = trio.testing.memory_stream_pair()
        nursery.start_soon(exporter.serve_stream, theirs)
        inner.start_soon(work, ours)
        await importing.wait()
    assert len(outcome) == 1


@pytest.mark.parametrize("how", ["close", "hangup"])
@pytest.mark.promise(27)
async def test_exporter_that_stops_cleanly_is_an_end_for_its_importers(nursery: trio.Nursery, how: str) -> None:
    """Close the send ends, or hang up, then leave: the importers see an end and no error."""
    importing = trio.Event()
    got: list[int] = []

    async def work(stream: trio.abc.Stream) -> None:
        async with open_importer(stream) as importer:
            receive = await importer.open_receive_channel("jobs", int)
            importing.set()
            got.extend(await take_all(receive))

    async with trio.open_nursery() as inner, open_exporter() as exporter:
        send = exporter.open_send_channel("jobs", int)
        ours, theirs = trio.testing.memory_stream_pair()
        nursery.start_soon(exporter.serve_stream, theirs)
        inner.start_soon(work, ours)
        await importing.wait()
        await send.send(1)
        if how == "close":
            send.close()
        else:
            await exporter.drain()
            exporter.hangup("jobs")
    assert got == [1]


@pytest.mark.promise(15)
async def test_value_that_does_not_fit_raises_out_of_the_importers_block(nursery: trio.Nursery) -> None:
    """`RemoteValueError`, naming expected and found, and no end for a reader elsewhere."""
    readers: list[BaseException] = []

    async def reader(channel: trio.MemoryReceiveChannel[int]) -> None:
        assert await channel.receive() == 1
        try:
            await channel.receive()
        except (trio.EndOfChannel, trio.ClosedResourceError) as error:
            readers.append(error)

    async with open_exporter() as exporter:
        send = exporter.open_send_channel("jobs")
        with pytest.raises(RemoteValueError) as caught:
            async with connect(nursery, exporter) as importer:
                nursery.start_soon(reader, await importer.open_receive_channel("jobs", int))
                await send.send(1)
                await send.send("many")
                await trio.sleep_forever()
        await trio.testing.wait_all_tasks_blocked()
    error = caught.value
    assert error.channel == "jobs"
    assert all(word in str(error) for word in ("jobs", "int", "many"))
    assert [type(error) for error in readers] == [trio.ClosedResourceError]


async def test_protocol_error_of_the_exporter_raises_out_of_the_block(nursery: trio.Nursery) -> None:
    ours, theirs = trio.testing.memory_stream_pair()
    with pytest.raises(ProtocolError) as caught:
        async with open_importer(ours):
            await theirs.send_all(b"HTTP/1.1 400 Bad Request\r\n\r\n" * 10)
            await trio.sleep_forever()
    assert type(caught.value) is ProtocolError


# A local bad value


@pytest.mark.promise(14)
@pytest.mark.parametrize("bad", ["text", None, 1.5, True, [1]])
async def test_local_bad_value_raises_out_of_the_exporters_block(nursery: trio.Nursery, bad: object) -> None:
    """The values before it in the channel are sent; of it nothing goes on the wire."""
    got: list[int] = []
    received = trio.Event()

    async def work(stream: trio.abc.Stream) -> None:
        with pytest.raises(ConnectionLostError):
            async with open_importer(stream) as importer:
                receive = await importer.open_receive_channel("jobs", int)
                async for value in receive:
                    got.append(value)
                    received.set()

    async with trio.open_nursery() as inner:
        with pytest.raises(ValueTypeError) as caught:
            async with open_exporter() as exporter:
                ours, theirs = trio.testing.memory_stream_pair()
                nursery.start_soon(exporter.serve_stream, theirs)
                send: Any = exporter.open_send_channel("jobs", int, max_buffer_size=5)
                inner.start_soon(work, ours)
                send.send_nowait(1)
                send.send_nowait(2)
                send.send_nowait(bad)
                await trio.sleep_forever()
    assert got == [1, 2]
    assert type(caught.value) is ValueTypeError
    assert caught.value.channel == "jobs"
    assert all(word in str(caught.value) for word in ("jobs", "int", repr(bad)))


@pytest.mark.promise(14)
async def test_local_bad_value_raises_out_of_the_importers_block(nursery: trio.Nursery) -> None:
    """The exporter's program does not notice anything but a lost importer."""
    async with open_exporter() as exporter:
        results = exporter.open_receive_channel("results", Job, max_buffer_size=10)
        with pytest.raises(ValueTypeError) as caught:
            async with connect(nursery, exporter) as importer:
                send: Any = await importer.open_send_channel("results", Job)
                await send.send(Job("a", 1.0))
                await send.send(Job("b", "heavy"))  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
                await trio.sleep_forever()
        assert caught.value.channel == "results"
        assert all(word in str(caught.value) for word in ("results", "weight", "float", "heavy"))
        assert await results.receive() == Job("a", 1.0)
        await trio.testing.wait_all_tasks_blocked()
        with pytest.raises(trio.WouldBlock):
            results.receive_nowait()


async def test_local_value_beyond_the_limit_is_an_error_of_this_program(nursery: trio.Nursery) -> None:
    with pytest.raises(LimitError) as caught:
        async with open_exporter(limits=Limits(max_value_size=1000)) as exporter:
            send = exporter.open_send_channel("blobs", bytes)
            async with connect(nursery, exporter) as importer:
                await importer.open_receive_channel("blobs", bytes)
                await send.send(bytes(2000))
                await trio.sleep_forever()
    assert caught.value.channel == "blobs"


# A sender whose receiver is gone, and importer.errors


@pytest.mark.parametrize("why", ["hung up", "refused", "receiver gone"])
@pytest.mark.promise(21)
async def test_sender_gets_broken_resource_and_the_reason_is_on_errors(nursery: trio.Nursery, why: str) -> None:
    async with connected(nursery) as (exporter, importer):
        receive = exporter.open_receive_channel("results", int, max_buffer_size=1)
        send = await importer.open_send_channel("results")
        if why == "hung up":
            exporter.hangup("results")
        elif why == "refused":
            await send.send("text")
        else:
            receive.close()
            await send.send(1)
        error = await importer.errors.receive()
        assert isinstance(error, NetchanError)
        assert error.channel == "results"
        assert "results" in str(error)
        with pytest.raises(trio.BrokenResourceError):
            await send.send(2)
        with pytest.raises(trio.WouldBlock):
            importer.errors.receive_nowait()


@pytest.mark.promise(21)
async def test_blocked_sender_is_woken_when_its_receiver_goes(nursery: trio.Nursery) -> None:
    async with connected(nursery) as (exporter, importer):
        exporter.open_receive_channel("results", int, window=1)
        send = await importer.open_send_channel("results", int)
        await send.send(1)
        async with trio.open_nursery() as inner:

            async def sender() -> None:
                with pytest.raises(trio.BrokenResourceError):
                    await send.send(2)
                    await send.send(3)

            inner.start_soon(sender)
            await trio.testing.wait_all_tasks_blocked()
            exporter.hangup("results")
        assert (await importer.errors.receive()).channel == "results"


async def test_what_is_not_on_errors(nursery: trio.Nursery) -> None:
    """Finishes, counts reached, one's own hang-ups and ends of receiving channels are none."""
    async with connected(nursery) as (exporter, importer):
        down = exporter.open_send_channel("finished down", int)
        receive = await importer.open_receive_channel("finished down", int)
        down.close()
        assert await take_all(receive) == []

        exporter.open_send_channel("hung up down", int)
        receive = await importer.open_receive_channel("hung up down", int)
        exporter.hangup("hung up down")
        assert await take_all(receive) == []

        up = exporter.open_receive_channel("finished up", int)
        (await importer.open_send_channel("finished up", int)).close()
        assert await take_all(up) == []

        up = exporter.open_receive_channel("counted up", int)
        await (await importer.open_send_channel("counted up", int, count=1)).send(1)
        assert await take_all(up) == [1]

        up = exporter.open_receive_channel("hung up by me", int)
        await importer.open_send_channel("hung up by me", int)
        importer.hangup("hung up by me")
        assert await take_all(up) == []

        with pytest.raises(NoSuchChannelError):
            await importer.open_receive_channel("nothing", int)
        await trio.testing.wait_all_tasks_blocked()
        with pytest.raises(trio.WouldBlock):
            importer.errors.receive_nowait()


@pytest.mark.promise(48)
@pytest.mark.parametrize("limit", [1, 3, 10])
async def test_too_many_unread_errors_shut_the_importer_down(nursery: trio.Nursery, limit: int) -> None:
    """As many as the limit may wait; with one more the block raises, and the errors are in it."""
    async with open_exporter() as exporter:
        with pytest.raises(TooManyErrors) as caught:
            async with connect(nursery, exporter, Limits(max_unread_errors=limit)) as importer:
                for number in range(limit + 1):
                    exporter.open_receive_channel(f"channel {number}", int)
                    await importer.open_send_channel(f"channel {number}", int)
                for number in range(limit):
                    exporter.hangup(f"channel {number}")
                await trio.testing.wait_all_tasks_blocked()
                exporter.hangup(f"channel {limit}")
                await trio.sleep_forever()
    names = {error.channel for error in caught.value.errors}
    assert names >= {f"channel {number}" for number in range(limit)}


async def test_errors_that_are_read_do_no_harm(nursery: trio.Nursery) -> None:
    async with connected(nursery) as (exporter, importer):
        for number in range(35):
            exporter.open_receive_channel("results", int)
            await importer.open_send_channel("results", int)
            exporter.hangup("results")
            assert (await importer.errors.receive()).channel == "results", number


# An importer's bad doings are no errors of the exporting program


async def test_refused_value_is_logged_and_counted(nursery: trio.Nursery, caplog: pytest.LogCaptureFixture) -> None:
    async with connected(nursery) as (exporter, importer):
        exporter.open_receive_channel("results", int)
        send = await importer.open_send_channel("results")
        await send.send("text")
        assert (await importer.errors.receive()).channel == "results"
        assert any(record.name == "trionetchan" and "results" in record.getMessage() for record in caplog.records)
        statistics = exporter.statistics()
        assert statistics.dropped + statistics.channels["results"].dropped >= 1


# Drain and sync


@pytest.mark.promise(38)
@pytest.mark.parametrize("call", ["drain", "sync"])
@pytest.mark.parametrize("side", ["exporter", "importer"])
async def test_drain_and_sync_name_the_channel_and_count_of_dropped_values(
    nursery: trio.Nursery, side: str, call: str
) -> None:
    """`ValuesDroppedError` with `.channel` and `.count`, when a hang-up drops what they covered."""
    async with connected(nursery) as (exporter, importer):
        if side == "exporter":
            send = exporter.open_send_channel("values", int, max_buffer_size=5)
            await importer.open_receive_channel("values", int, window=3)
        else:
            exporter.open_receive_channel("values", int, window=3)
            send = await importer.open_send_channel("values", int, max_buffer_size=5)
        for value in range(5):
            send.send_nowait(value)
        await trio.testing.wait_all_tasks_blocked()
        here: Any = exporter if side == "exporter" else importer
        async with trio.open_nursery() as inner:

            async def wait(*names: str) -> None:
                with pytest.raises(ValuesDroppedError) as caught:
                    await getattr(here, call)(*names)
                assert caught.value.channel == "values"
                assert caught.value.count == (5 if call == "drain" else 3)

            inner.start_soon(wait)
            inner.start_soon(wait, "values")
            await trio.testing.wait_all_tasks_blocked()
            here.hangup("values")


@pytest.mark.parametrize("call", ["drain", "sync"])
@pytest.mark.promise(38)
async def test_drain_and_sync_raise_when_the_receiver_refuses(nursery: trio.Nursery, call: str) -> None:
    async with connected(nursery) as (exporter, importer):
        exporter.open_receive_channel("values", int)
        send = await importer.open_send_channel("values")
        send_more = send.clone()
        async with trio.open_nursery() as inner:

            async def wait() -> None:
                with pytest.raises(ValuesDroppedError) as caught:
                    await getattr(importer, call)("values")
                assert (caught.value.channel, caught.value.count) == ("values", 2)

            await send.send("text")
            await send_more.send("more")
            inner.start_soon(wait)
        assert (await importer.errors.receive()).channel == "values"


@pytest.mark.promise(37)
async def test_sync_of_a_lost_peer_raises_connection_lost(nursery: trio.Nursery) -> None:
    """The exporter's sync does not pretend; its drain goes on waiting for another importer."""
    async with open_exporter() as exporter:
        send = exporter.open_send_channel("jobs", int)
        ours, theirs = trio.testing.memory_stream_pair()
        nursery.start_soon(exporter.serve_stream, theirs)
        synced, drained = trio.Event(), trio.Event()

        async def sync() -> None:
            with pytest.raises(ConnectionLostError):
                await exporter.sync()
            synced.set()

        async def drain() -> None:
            await exporter.drain()
            drained.set()

        with pytest.raises(ConnectionLostError):
            async with open_importer(ours) as importer:
                await importer.open_receive_channel("jobs", int)
                await send.send(1)
                await trio.testing.wait_all_tasks_blocked()
                nursery.start_soon(sync)
                nursery.start_soon(drain)
                await trio.testing.wait_all_tasks_blocked()
                await ours.aclose()
                await trio.sleep_forever()
        await synced.wait()
        await trio.testing.wait_all_tasks_blocked()
        assert not drained.is_set()
        async with connect(nursery, exporter) as second:
            assert await (await second.open_receive_channel("jobs", int)).receive() == 1
            await drained.wait()


@pytest.mark.parametrize("call", ["drain", "sync"])
async def test_drain_and_sync_of_an_unknown_name(nursery: trio.Nursery, call: str) -> None:
    async with connected(nursery) as sides:
        for side in sides:
            with pytest.raises(NoSuchChannelError) as caught:
                await getattr(side, call)("nothing")
            assert caught.value.channel == "nothing"


@pytest.mark.promise(38)
@pytest.mark.parametrize("call", ["drain", "sync"])
async def test_timeout_is_in_seconds(nursery: trio.Nursery, autojump_clock: trio.testing.MockClock, call: str) -> None:
    """Past it, `TooSlowError`; a caller's own cancel scope works the same; neither loses a value."""
    async with connected(nursery) as (exporter, importer):
        send = exporter.open_send_channel("jobs", int)
        receive = await importer.open_receive_channel("jobs", int)
        await send.send(1)
        await trio.testing.wait_all_tasks_blocked()
        wait: Any = getattr(exporter, call)
        start = trio.current_time()
        with pytest.raises(trio.TooSlowError):
            await wait(timeout=7)
        assert trio.current_time() - start == pytest.approx(7)  # pyright: ignore[reportUnknownMemberType]
        with trio.move_on_after(2) as scope:
            await wait()
        assert scope.cancelled_caught
        with pytest.raises(trio.TooSlowError):
            await wait(timeout=0)
        with pytest.raises(ValueError, match=r".+"):
            await wait(timeout=-1)
        with pytest.raises(ValueError, match=r".+"):
            await wait(timeout=math.nan)
        assert await receive.receive() == 1
        await wait(timeout=5)


# Entering and after leaving


async def test_entering_does_not_wait_for_the_hello() -> None:
    """Both sides can be set up in one task; what is wrong shows at the first import."""
    ours, theirs = trio.testing.memory_stream_pair()
    with trio.move_on_after(1):
        async with open_importer(ours) as importer:
            with trio.move_on_after(0.01) as scope:
                await importer.open_receive_channel("jobs", int)
            assert scope.cancelled_caught
            await theirs.aclose()
            with pytest.raises(ConnectionLostError):
                await importer.open_receive_channel("jobs", int)
            return
    raise AssertionError("never told")


async def test_connecting_fails_on_entry(tmp_path: Any) -> None:
    """`OSError` at once, for TCP and for unix sockets."""
    async with open_exporter() as exporter, trio.open_nursery() as inner:
        port = await serve_tcp(inner, exporter)
        inner.cancel_scope.cancel()
    with pytest.raises(OSError, match=r".+"):
        async with open_tcp_importer("127.0.0.1", port):
            raise AssertionError("entered")
    with pytest.raises(OSError, match=r".+"):
        async with open_unix_importer(tmp_path / "nothing"):
            raise AssertionError("entered")


async def test_after_the_exporters_block_every_call_raises_closed(nursery: trio.Nursery, tmp_path: Any) -> None:
    async with open_exporter() as exporter:
        exporter.open_send_channel("jobs", int)
    send, receive = trio.open_memory_channel[int](0)
    ours, theirs = trio.testing.memory_stream_pair()
    listeners = await trio.open_tcp_listeners(0, host="127.0.0.1")
    calls: list[Callable[[], Any]] = [
        lambda: exporter.export("more", receive, int),
        lambda: exporter.open_send_channel("more", int),
        lambda: exporter.open_receive_channel("more", int),
        lambda: exporter.hangup("jobs"),
    ]
    for call in calls:
        with pytest.raises(trio.ClosedResourceError):
            call()
    waits: list[Callable[[], Awaitable[Any]]] = [
        exporter.drain,
        exporter.sync,
        lambda: exporter.serve_tcp(0),
        lambda: exporter.serve_unix(tmp_path / "socket"),
        lambda: exporter.serve_listeners(listeners),
        lambda: exporter.serve_stream(theirs),
    ]
    for wait in waits:
        with pytest.raises(trio.ClosedResourceError):
            await wait()
    send.close()
    await ours.aclose()
    await theirs.aclose()
    for listener in listeners:
        await listener.aclose()


async def test_after_the_importers_block_every_call_raises_closed(nursery: trio.Nursery) -> None:
    async with open_exporter() as exporter:
        exporter.open_send_channel("jobs", int)
        async with connect(nursery, exporter) as importer:
            await importer.open_receive_channel("jobs", int)
        send, _other = trio.open_memory_channel[int](0)
        waits: list[Callable[[], Awaitable[Any]]] = [
            lambda: importer.import_("jobs", send, int),
            lambda: importer.open_send_channel("jobs", int),
            lambda: importer.open_receive_channel("jobs", int),
            importer.drain,
            importer.sync,
        ]
        for wait in waits:
            with pytest.raises(trio.ClosedResourceError):
                await wait()
        with pytest.raises(trio.ClosedResourceError):
            importer.hangup("jobs")
        assert send.statistics().open_send_channels == 1  # a failed import leaves the end to its caller


@pytest.mark.parametrize("how", ["tcp", "unix", "stream", "listeners"])
async def test_serve_returns_when_the_block_is_left(tmp_path: Any, how: str) -> None:
    async with trio.open_nursery() as serving, open_exporter() as exporter:
        if how == "tcp":
            await serving.start(exporter.serve_tcp, 0)
        elif how == "unix":
            await serving.start(exporter.serve_unix, tmp_path / "socket")
        elif how == "listeners":
            await serving.start(exporter.serve_listeners, await trio.open_tcp_listeners(0, host="127.0.0.1"))
        else:
            _ours, theirs = trio.testing.memory_stream_pair()
            serving.start_soon(exporter.serve_stream, theirs)
            await trio.testing.wait_all_tasks_blocked()


@pytest.mark.promise(25)
async def test_leaving_the_importers_block_waits_for_what_was_sent(nursery: trio.Nursery) -> None:
    """Channels whose ends are closed are finished properly: nothing that was accepted is lost."""
    async with open_exporter() as exporter:
        results = exporter.open_receive_channel("results", int)
        async with trio.open_nursery() as inner:
            got: list[int] = []

            async def collect() -> None:
                got.extend(await take_all(results))

            inner.start_soon(collect)
            async with connect(nursery, exporter) as importer:
                send = await importer.open_send_channel("results", int, max_buffer_size=100)
                for value in range(100):
                    send.send_nowait(value)
                send.close()
        assert got == list(range(100))


@pytest.mark.promise(26)
async def test_leaving_with_an_open_end_is_a_crash_not_a_finish(nursery: trio.Nursery) -> None:
    """The exporter's receiver sees no end; the next import of the name adopts the orphaned share."""
    async with open_exporter() as exporter:
        results = exporter.open_receive_channel("results", int, max_buffer_size=10)
        async with connect(nursery, exporter) as importer:
            await (await importer.open_send_channel("results", int)).send(1)
            await importer.drain()
        await trio.testing.wait_all_tasks_blocked()
        assert results.receive_nowait() == 1
        with pytest.raises(trio.WouldBlock):
            results.receive_nowait()
        async with connect(nursery, exporter) as importer:
            nursery.start_soon(put, await importer.open_send_channel("results", int), [2])
            assert await take_all(results) == [2]


@pytest.mark.promise(23, 29)
async def test_orphan_is_adopted_while_its_values_wait(nursery: trio.Nursery) -> None:
    """The values of the importer that crashed are still to be delivered when the next one comes."""
    async with open_exporter() as exporter:
        results = exporter.open_receive_channel("results", int)
        with pytest.raises(KeyError):
            async with connect(nursery, exporter) as importer:
                send = await importer.open_send_channel("results", int)
                for value in range(3):
                    await send.send(value)
                await until(lambda: importer.statistics().channels["results"].sent == 3)
                raise KeyError
        await until(lambda: exporter.statistics().connections == 0)
        async with connect(nursery, exporter) as importer:
            nursery.start_soon(put, await importer.open_send_channel("results", int), [3])
            assert await take_all(results) == [0, 1, 2, 3]


@pytest.mark.promise(26)
async def test_exception_out_of_the_block_is_a_crash_even_if_the_ends_are_closed(nursery: trio.Nursery) -> None:
    async with open_exporter() as exporter:
        results = exporter.open_receive_channel("results", int)
        with pytest.raises(KeyError):
            async with connect(nursery, exporter) as importer:
                send = await importer.open_send_channel("results", int, max_buffer_size=3)
                send.send_nowait(1)
                send.close()
                raise KeyError
        await trio.testing.wait_all_tasks_blocked()
        with trio.move_on_after(0.05):
            rest = await take_all(results)
            raise AssertionError(f"an end, after {rest}")


@pytest.mark.promise(25)
async def test_leaving_the_exporters_block_waits_for_importers_that_are_there(nursery: trio.Nursery) -> None:
    got: list[int] = []

    async def work(stream: trio.abc.Stream, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        async with open_importer(stream) as importer:
            receive = await importer.open_receive_channel("jobs", int, window=3)
            task_status.started()
            got.extend(await take_all(receive))

    async with trio.open_nursery() as inner, open_exporter() as exporter:
        ours, theirs = trio.testing.memory_stream_pair()
        nursery.start_soon(exporter.serve_stream, theirs)
        send = exporter.open_send_channel("jobs", int, max_buffer_size=100)
        await inner.start(work, ours)
        for value in range(100):
            send.send_nowait(value)
        send.close()
    assert got == list(range(100))


async def test_what_no_one_is_there_to_take_is_dropped_with_a_warning(caplog: pytest.LogCaptureFixture) -> None:
    async with open_exporter() as exporter:
        send = exporter.open_send_channel("jobs", int, max_buffer_size=3)
        for value in range(3):
            send.send_nowait(value)
        send.close()
    messages = [record.getMessage() for record in caplog.records if record.name == "trionetchan"]
    assert any("jobs" in message and "3" in message for message in messages)


@pytest.mark.promise(42)
async def test_goodbye_is_bounded(nursery: trio.Nursery, autojump_clock: trio.testing.MockClock) -> None:
    """A peer that takes nothing does not keep the block from being left."""
    ours, _theirs = trio.testing.lockstep_stream_pair()
    start = trio.current_time()
    async with open_importer(ours, limits=Limits(goodbye_timeout=1)):
        await trio.testing.wait_all_tasks_blocked()
    assert trio.current_time() - start < 5


@pytest.mark.promise(41)
async def test_failed_or_cancelled_import_leaves_the_end_open(nursery: trio.Nursery) -> None:
    ours, theirs = trio.testing.memory_stream_pair()
    send, receive = trio.open_memory_channel[int](1)
    async with open_exporter() as exporter:
        jobs = exporter.open_send_channel("jobs", int)
        async with open_importer(ours) as importer:
            with trio.move_on_after(0.01) as scope:
                await importer.import_("jobs", send, int)
            assert scope.cancelled_caught
            nursery.start_soon(exporter.serve_stream, theirs)
            with pytest.raises(TypeMismatchError):
                await importer.import_("jobs", cast("trio.MemorySendChannel[Any]", send), str)
            send.send_nowait(1)
            assert receive.receive_nowait() == 1
            await importer.import_("jobs", send, int)
            await jobs.send(2)
            assert await receive.receive() == 2
