"""An import that is cancelled while its answer arrives: it is bound and returns, or it never was.

The cancellation is aimed: at the very turn of the scheduler in which the answer is read, and at some turns before and
after it. trio runs the tasks of one turn in a random order, so each aim is tried with several seeds.
"""

from __future__ import annotations

import contextlib
from collections.abc import Sequence
from typing import Any, Literal

import attrs
import pytest
import trio
import trio.testing
from scripted import INT, Scripted, Through, data, seeded
from support import connect, take, take_all

from trionetchan import (
    ConnectionLostError,
    Importer,
    NetchanError,
    ProtocolError,
    RemoteValueError,
    open_exporter,
    open_importer,
)
from trionetchan._errors import Code
from trionetchan._protocol.frames import Accept, Ack, Close, Data, Frame, Goodbye, Import, Reject

Form = Literal["import_ receives", "open_receive_channel", "import_ sends", "open_send_channel"]
FORMS: Sequence[Form] = ("import_ receives", "open_receive_channel", "import_ sends", "open_send_channel")
SEEDS = range(6)
TURNS = range(-3, 4)  # of the scheduler, between the cancellation and the reading of the answer

ACCEPT = Accept(0, 64, INT)
RECEIVES: dict[str, list[Frame]] = {
    "accept": [ACCEPT],
    "accept, values": [ACCEPT, data(0, 0, [0, 1, 2])],
    "accept, end": [ACCEPT, Close(0, 0, Code.FINISHED, "")],
    "accept, values, end": [ACCEPT, data(0, 0, [0, 1, 2]), Close(0, 3, Code.FINISHED, "")],
    "accept, hung up": [ACCEPT, Close(0, 0, Code.HUNG_UP, "")],
    "reject": [Reject(0, Code.NO_SUCH_CHANNEL, "numbers: no")],
}
SENDS: dict[str, list[Frame]] = {
    "accept": [ACCEPT],
    "accept, receiver gone": [ACCEPT, Close(0, 0, Code.RECEIVER_GONE, "")],
    "accept, hung up": [ACCEPT, Close(0, 0, Code.HUNG_UP, "")],
    "reject": [Reject(0, Code.NO_SUCH_CHANNEL, "numbers: no")],
}
ENDS: dict[str, tuple[list[Frame], type[NetchanError]]] = {
    "goodbye": ([Goodbye(Code.FINISHED, "")], ConnectionLostError),
    "accept, goodbye": ([ACCEPT, Goodbye(Code.FINISHED, "")], ConnectionLostError),
    "accept, violation": ([ACCEPT, Accept(99, 1, INT)], ProtocolError),
    "violation": ([Accept(99, 1, INT)], ProtocolError),
}


@attrs.define
class Call:
    """One call that binds "numbers", and what became of it."""

    importer: Any  # an Importer, once there is one
    form: Form
    scope: trio.CancelScope = attrs.field(factory=trio.CancelScope)
    handed: Any = None  # the end that `import_` gets
    kept: Any = None  # the end that the program has
    outcome: str = ""
    done: trio.Event = attrs.field(factory=trio.Event)

    def __attrs_post_init__(self) -> None:
        send, receive = trio.open_memory_channel[int](10)
        if self.form == "import_ receives":
            self.handed, self.kept = send, receive
        elif self.form == "import_ sends":
            for value in range(3):
                send.send_nowait(value)
            self.handed, self.kept = receive, send

    @property
    def sends(self) -> bool:
        return self.form in ("import_ sends", "open_send_channel")

    async def run(self) -> None:
        try:
            with self.scope:
                if self.handed is not None:
                    await self.importer.import_("numbers", self.handed, int)
                elif self.sends:
                    self.kept = await self.importer.open_send_channel("numbers", int, max_buffer_size=10)
                else:
                    self.kept = await self.importer.open_receive_channel("numbers", int, max_buffer_size=10)
                self.outcome = "bound"
        except NetchanError as error:
            self.outcome = type(error).__name__
        else:
            self.outcome = self.outcome or "cancelled"
        if self.outcome == "cancelled":
            with contextlib.suppress(NetchanError):  # the block may have failed meanwhile
                assert "numbers" not in self.importer.statistics().channels, "the name is not free"
        self.done.set()

    def check_end(self) -> None:
        """What was handed over is open, and as it was."""
        if self.handed is not None:
            self.handed.clone().close()  # raises if it is closed
            assert self.handed.statistics().current_buffer_used == (3 if self.sends else 0)


class Aim:
    """Cancels a call so many turns before (negative: after) the next chunk of a stream is read."""

    def __init__(self, nursery: trio.Nursery, call: Call, stream: Through, turns: int) -> None:
        self._nursery, self._call, self._stream, self._turns = nursery, call, stream, turns
        stream.arriving = self._arriving

    async def _arriving(self, _chunk: bytes) -> None:
        self._stream.arriving = None
        if self._turns < 0:
            self._nursery.start_soon(self._cancel_later)
            return
        self._call.scope.cancel()
        for _ in range(self._turns):
            await trio.lowlevel.cancel_shielded_checkpoint()

    async def _cancel_later(self) -> None:
        for _ in range(-self._turns - 1):
            await trio.lowlevel.checkpoint()
        self._call.scope.cancel()


async def check_peer_after_cancellation(peer: Scripted, call: Call, answer: str) -> None:
    """The exporter hears that nothing was delivered, or that nothing ever came; never that a sender has finished."""
    if answer != "reject" and not (call.sends and answer != "accept"):
        close = await peer.hear(Close)
        assert close.count == 0
        if call.sends:
            assert close.code is Code.WITHDRAWN
    assert not [frame for frame in peer.heard if isinstance(frame, Data)]
    assert not [frame for frame in peer.heard if isinstance(frame, Ack) and frame.delivered]


async def check_anew(peer: Scripted, call: Call) -> None:
    """The name can be imported again at once, with the same end, and works."""
    again = Call(call.importer, call.form)
    again.handed, again.kept = call.handed, call.kept
    async with trio.open_nursery() as nursery:
        nursery.start_soon(again.run)
        request = await peer.accept()
        await again.done.wait()
        assert again.outcome == "bound"
        await check_bound(peer, again, request.channel)


async def check_bound(peer: Scripted, call: Call, channel: int, first: int = 0) -> None:
    if call.sends:
        if call.handed is None:
            for value in range(3):
                call.kept.send_nowait(value)
        got = 0
        while got < 3:
            batch = await peer.hear(Data)
            assert batch.channel == channel
            got += bytes(batch.payload)[0] - 0x80
    else:
        await peer.say(data(channel, first, [10, 11]))
        assert await take(call.kept, 2 + first) == [*range(first), 10, 11]


async def scripted_trial(form: Form, answer: str, frames: list[Frame], turns: int) -> str:
    ours, theirs = trio.testing.memory_stream_pair()
    stream = Through(ours)
    peer = Scripted(theirs)
    await peer.greet()
    async with trio.open_nursery() as nursery, open_importer(stream) as importer:
        await trio.testing.wait_all_tasks_blocked()
        call = Call(importer, form)
        nursery.start_soon(call.run)
        await peer.hear(Import)
        Aim(nursery, call, stream, turns)
        await peer.say(*frames)
        await call.done.wait()
        if call.outcome == "cancelled":
            call.check_end()
            await trio.testing.wait_all_tasks_blocked()
            call.check_end()
            await check_peer_after_cancellation(peer, call, answer)
            await check_anew(peer, call)
        elif call.outcome == "bound" and answer == "accept":
            await check_bound(peer, call, 0)
        elif call.outcome == "bound" and answer == "accept, values":
            await check_bound(peer, call, 0, 3)
        elif call.outcome == "bound" and answer == "accept, values, end":
            assert await take_all(call.kept) == [0, 1, 2]
        else:
            assert call.outcome == ("NoSuchChannelError" if answer == "reject" else "bound")
        assert importer.errors.statistics().current_buffer_used <= (call.outcome == "bound")
        if "numbers" in importer.statistics().channels:
            importer.hangup("numbers")
        nursery.start_soon(peer.say, Goodbye(Code.FINISHED, ""))
    return call.outcome


@pytest.mark.promise(23, 40, 41)
@pytest.mark.parametrize(
    ("form", "answer"),
    [(form, answer) for form in FORMS for answer in (SENDS if "send" in form else RECEIVES)],
)
async def test_import_that_is_cancelled_as_its_answer_is_read(
    autojump_clock: trio.testing.MockClock, monkeypatch: pytest.MonkeyPatch, form: Form, answer: str
) -> None:
    """It returned and is bound, or it raised `Cancelled`: then name and end are free, and nothing came or went."""
    frames = (SENDS if "send" in form else RECEIVES)[answer]
    outcomes: set[str] = set()
    for turns in TURNS:
        for seed in SEEDS:
            seeded(monkeypatch, seed)
            outcomes.add(await scripted_trial(form, answer, frames, turns))
    assert outcomes == {"cancelled", "NoSuchChannelError" if answer == "reject" else "bound"}


@pytest.mark.promise(40, 41)
@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("end", [*ENDS, "end of the stream"])
async def test_import_that_is_cancelled_as_the_connection_ends(
    autojump_clock: trio.testing.MockClock, monkeypatch: pytest.MonkeyPatch, form: Form, end: str
) -> None:
    """The block raises its error, once; a call that did not return leaves the end to its caller, open."""
    frames, error = ENDS.get(end, ([], ConnectionLostError))
    for turns in TURNS:
        for seed in SEEDS:
            seeded(monkeypatch, seed)
            ours, theirs = trio.testing.memory_stream_pair()
            stream = Through(ours)
            peer = Scripted(theirs)
            await peer.greet()
            raised = False
            async with trio.open_nursery() as nursery:
                call = Call(None, form)
                try:
                    async with open_importer(stream) as call.importer:
                        await trio.testing.wait_all_tasks_blocked()
                        nursery.start_soon(call.run)
                        await peer.hear(Import)
                        Aim(nursery, call, stream, turns)
                        if frames:
                            await peer.say(*frames)
                        else:
                            await theirs.aclose()
                        await call.done.wait()
                        await trio.sleep(60)
                except error:
                    raised = True
                await call.done.wait()
            if call.outcome != "bound":
                call.check_end()
            if call.outcome == "bound" or "goodbye" not in end:  # a goodbye breaks nothing where nothing is bound
                assert raised


@pytest.mark.promise(41)
@pytest.mark.parametrize("form", FORMS)
async def test_import_whose_block_fails_as_its_answer_is_read(
    autojump_clock: trio.testing.MockClock, monkeypatch: pytest.MonkeyPatch, form: Form
) -> None:
    """A bad value on another channel comes in one chunk with the answer, before or behind it."""
    for seed in SEEDS:
        for frames in ([data(0, 0, ["bad"]), Accept(1, 64, INT)], [Accept(1, 64, INT), data(0, 0, ["bad"])]):
            seeded(monkeypatch, seed)
            ours, theirs = trio.testing.memory_stream_pair()
            peer = Scripted(theirs)
            await peer.greet()
            async with trio.open_nursery() as nursery:
                call = Call(None, form)
                with pytest.raises(RemoteValueError):
                    async with open_importer(ours) as call.importer:
                        nursery.start_soon(peer.accept)
                        await call.importer.open_receive_channel("other", int, max_buffer_size=1)
                        nursery.start_soon(call.run)
                        await peer.hear(Import)
                        await peer.say(*frames)
                        await trio.sleep_forever()
                await call.done.wait()
            assert call.outcome in ("bound", "RemoteValueError")
            if call.outcome != "bound":
                call.check_end()


# With a real exporter


async def later(turns: int, scope: trio.CancelScope) -> None:
    for _ in range(turns):
        await trio.lowlevel.checkpoint()
    scope.cancel()


async def receiving_trial(form: Form, turns: int, first: str) -> str:
    async with trio.open_nursery() as nursery, open_exporter() as exporter:
        send = exporter.open_send_channel("numbers", int, max_buffer_size=10)
        for value in range(10):
            send.send_nowait(value)
        send.close()
        async with connect(nursery, exporter) as importer:
            call = await cancelled_call(importer, form, turns, first)
            outcome = call.outcome
            if outcome == "cancelled":
                call.check_end()
                await trio.testing.wait_all_tasks_blocked()
                call.check_end()
                assert exporter.statistics().channels["numbers"].peers == 0
                assert exporter.statistics().dropped == 0
                call = await cancelled_call(importer, form, None, first, call)
            assert await take_all(call.kept) == list(range(10))
            return outcome


async def sending_trial(form: Form, turns: int, first: str) -> str:
    async with trio.open_nursery() as nursery, open_exporter() as exporter:
        results = exporter.open_receive_channel("numbers", int, max_buffer_size=10)
        async with connect(nursery, exporter) as importer:
            call = await cancelled_call(importer, form, turns, first)
            outcome = call.outcome
            if outcome == "cancelled":
                call.check_end()
                await trio.testing.wait_all_tasks_blocked()
                call.check_end()
                assert exporter.statistics().channels["numbers"].peers == 0
                with pytest.raises(trio.WouldBlock):  # neither a value nor an end
                    results.receive_nowait()
                call = await cancelled_call(importer, form, None, first, call)
            if call.handed is None:
                for value in range(3):
                    call.kept.send_nowait(value)
            call.kept.close()
            assert await take_all(results) == list(range(3))
            return outcome


async def cancelled_call(
    importer: Importer, form: Form, turns: int | None, first: str, before: Call | None = None
) -> Call:
    """Runs the call and the task that cancels it after so many turns, in one order or the other."""
    call = Call(importer, form)
    if before is not None and before.handed is not None:
        call.handed, call.kept = before.handed, before.kept
    async with trio.open_nursery() as nursery:
        if turns is None:
            nursery.start_soon(call.run)
        elif first == "call":
            nursery.start_soon(call.run)
            nursery.start_soon(later, turns, call.scope)
        else:
            nursery.start_soon(later, turns, call.scope)
            nursery.start_soon(call.run)
    if turns is None:
        assert call.outcome == "bound"
    return call


@pytest.mark.promise(23, 40, 41)
@pytest.mark.parametrize("first", ["call", "cancellation"])
@pytest.mark.parametrize("form", FORMS)
async def test_import_that_is_cancelled_after_some_turns(
    autojump_clock: trio.testing.MockClock, monkeypatch: pytest.MonkeyPatch, form: Form, first: str
) -> None:
    """A name that is cancelled away leaves no peer, no share and no missing value at the exporter."""
    trial = sending_trial if "send" in form else receiving_trial
    outcomes: set[str] = set()
    for turns in range(25):
        for seed in range(12):
            seeded(monkeypatch, seed)
            outcomes.add(await trial(form, turns, first))
    assert outcomes == {"cancelled", "bound"}


@pytest.mark.promise(31, 41)
@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("way", ["left", "exception"])
@pytest.mark.parametrize("answer", ["accept", "accept, values"])
async def test_import_whose_block_is_left_as_its_answer_is_read(
    autojump_clock: trio.testing.MockClock, monkeypatch: pytest.MonkeyPatch, form: Form, way: str, answer: str
) -> None:
    """In another task than the one that leaves. A call that did not return leaves the end open; nobody sees an end."""
    frames = SENDS["accept"] if "send" in form else RECEIVES[answer]
    for turns in TURNS:
        for seed in SEEDS:
            seeded(monkeypatch, seed)
            ours, theirs = trio.testing.memory_stream_pair()
            stream = Through(ours)
            peer = Scripted(theirs)
            await peer.greet()
            async with trio.open_nursery() as nursery:
                call = Call(None, form)
                leaving = Call(None, form)  # only its scope is used
                try:
                    async with open_importer(stream) as call.importer:
                        await trio.testing.wait_all_tasks_blocked()
                        nursery.start_soon(run_to_the_end, call)
                        await peer.hear(Import)
                        Aim(nursery, leaving, stream, turns)
                        nursery.start_soon(peer.say, *frames)
                        with leaving.scope:
                            await trio.sleep_forever()
                        if way == "exception":
                            raise KeyError
                except (KeyError, ConnectionLostError):
                    pass
                await call.done.wait()
                await trio.testing.wait_all_tasks_blocked()
            if call.outcome == "ClosedResourceError":
                call.check_end()
            if not call.sends and call.kept is not None:
                await check_no_end(call.kept)


async def run_to_the_end(call: Call) -> None:
    try:
        await call.run()
    except trio.ClosedResourceError:
        call.outcome = "ClosedResourceError"
        call.done.set()


async def check_no_end(receive: trio.MemoryReceiveChannel[int]) -> None:
    """What it holds may be taken; then it waits, or is closed, but has no end."""
    with contextlib.suppress(trio.WouldBlock, trio.ClosedResourceError):
        while True:
            receive.receive_nowait()
