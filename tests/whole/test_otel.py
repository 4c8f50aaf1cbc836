"""Metrics, spans, and the trace of a value, with OpenTelemetry's own SDK."""

from __future__ import annotations

import threading
from typing import Any

import attrs
import pytest
import trio
import trio.testing
from opentelemetry import trace
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import InMemoryMetricReader
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.trace import StatusCode
from support import connect, connected, serve_tcp, take, until

from trionetchan import (
    ChannelStatistics,
    ConnectionLostError,
    Direction,
    Exporter,
    Importer,
    ImporterStatistics,
    Limits,
    NoSuchChannelError,
    TypeMismatchError,
    open_exporter,
    open_importer,
    open_tcp_importer,
)
from trionetchan.otel import (
    Traced,
    _Source,  # pyright: ignore[reportPrivateUsage]
    channel_label,
    export_metrics,
    spans,
    traced,
    traced_receive,
    traced_send,
)

# Metrics


@attrs.define
class Metrics:
    """What a reader gets, as a real one does: in a thread of its own."""

    reader: InMemoryMetricReader = attrs.field(factory=InMemoryMetricReader)
    provider: MeterProvider = attrs.field(init=False)

    def __attrs_post_init__(self) -> None:
        self.provider = MeterProvider([self.reader])

    async def read(self) -> dict[str, dict[Any, int]]:
        """The points of each metric."""
        data: Any = await trio.to_thread.run_sync(self.reader.get_metrics_data)
        if data is None:
            return {}
        return {
            metric.name: {frozenset(dict(point.attributes).items()): point.value for point in metric.data.data_points}
            for resource in data.resource_metrics
            for scope in resource.scope_metrics
            for metric in scope.metrics
        }

    async def export(
        self,
        endpoint: Exporter | Importer,
        name: str = "",
        interval: float = 1,
        task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED,
    ) -> None:
        provider = self.provider
        await export_metrics(endpoint, name=name, meter_provider=provider, interval=interval, task_status=task_status)


def key(**attributes: str) -> Any:
    return frozenset(attributes.items())


async def test_metrics_are_the_statistics() -> None:
    metrics = Metrics()
    async with trio.open_nursery() as nursery, connected(nursery) as (exporter, importer):
        jobs = exporter.open_send_channel("jobs", int, max_buffer_size=10)
        received = await importer.open_receive_channel("jobs", int, window=2)
        for number in range(5):
            await jobs.send(number)
        assert await take(received, 1) == [0]
        await until(lambda: exporter.statistics().channels["jobs"].sent == 3)
        await nursery.start(metrics.export, exporter, "one")
        await nursery.start(metrics.export, importer, "other")
        told = await metrics.read()
        at = {"channel": "jobs", "endpoint": "one", "direction": "send"}
        assert told["trionetchan.channel.sent"][key(**at)] == 3
        assert told["trionetchan.channel.acknowledged"][key(**at)] == 1
        assert told["trionetchan.channel.unacknowledged"][key(**at)] == 2
        assert told["trionetchan.channel.waiting"][key(**at)] == 2
        assert told["trionetchan.channel.peers"][key(**at)] == 1
        there = {"channel": "jobs", "endpoint": "other", "direction": "receive"}
        assert told["trionetchan.channel.received"][key(**there)] == 1
        assert told["trionetchan.connections"] == {key(endpoint="one"): 1}
        assert told["trionetchan.resumed"] == {key(endpoint="one"): 0, key(endpoint="other"): 0}
        exporter.hangup("jobs")
        nursery.cancel_scope.cancel()


async def test_counters_never_go_back(autojump_clock: trio.testing.MockClock) -> None:
    """A name that is exported anew counts from 0; its metric does not."""
    metrics = Metrics()
    async with trio.open_nursery() as nursery, connected(nursery) as (exporter, importer):
        nursery.start_soon(metrics.export, exporter)
        at = key(channel="jobs", endpoint="", direction="send")
        for round_ in range(1, 4):
            async with exporter.open_send_channel("jobs", int) as jobs:
                received = await importer.open_receive_channel("jobs", int)
                for number in range(2):
                    await jobs.send(number)
                    await received.receive()
                await exporter.drain("jobs")
                await trio.sleep(2)
                assert (await metrics.read())["trionetchan.channel.sent"][at] == 2 * round_
            exporter.hangup("jobs")
            await trio.sleep(2)
            told = await metrics.read()
            assert told["trionetchan.channel.sent"][at] == 2 * round_
            assert "trionetchan.channel.peers" not in told, "what is now, is of what is there"
        nursery.cancel_scope.cancel()


def test_a_name_that_is_exported_anew_between_two_looks() -> None:
    """It has counted less than before, and its metric does not go back."""
    source = _Source("", channel_label)
    for sent in (5, 6, 2, 3):
        jobs = ChannelStatistics(direction=Direction.SEND, value_type="int", peers=1, sent=sent)
        source.look(ImporterStatistics(channels={"jobs": jobs}, resumed=0))
    assert [observation.value for observation in source.told["channel.sent"]] == [9]


async def test_channels_of_replies_are_one(autojump_clock: trio.testing.MockClock) -> None:
    metrics = Metrics()
    async with trio.open_nursery() as nursery, open_exporter() as exporter:
        for secret in ("a" * 32, "b" * 32):
            exporter.open_receive_channel(f"square/{secret}", int)
        nursery.start_soon(metrics.export, exporter)
        await trio.sleep(2)
        told = (await metrics.read())["trionetchan.channel.received"]
        assert told == {key(channel="square/*", endpoint="", direction="receive"): 0}
        nursery.cancel_scope.cancel()


async def test_metrics_end_with_the_block_and_may_begin_again() -> None:
    metrics = Metrics()
    for _ in range(2):  # with the same provider: its instruments are made once, or the SDK would warn
        async with trio.open_nursery() as nursery, open_exporter() as exporter:
            await nursery.start(metrics.export, exporter, "", 0.001)
            assert (await metrics.read())["trionetchan.connections"]
        assert await metrics.read() == {}


async def test_reading_metrics_waits_for_nothing() -> None:
    """A reader may be asked for its data in the thread of trio, too, and while trio does nothing else."""
    metrics = Metrics()
    async with trio.open_nursery() as nursery, open_exporter() as exporter:
        await nursery.start(metrics.export, exporter)
        assert metrics.reader.get_metrics_data() is not None
        thread = threading.Thread(target=metrics.reader.get_metrics_data)
        thread.start()
        thread.join(5)
        assert not thread.is_alive()
        nursery.cancel_scope.cancel()


# Spans


@attrs.define
class Spans:
    memory: InMemorySpanExporter = attrs.field(factory=InMemorySpanExporter)
    provider: TracerProvider = attrs.field(factory=TracerProvider)

    def __attrs_post_init__(self) -> None:
        self.provider.add_span_processor(SimpleSpanProcessor(self.memory))

    def of(self, name: str) -> list[ReadableSpan]:
        return [span for span in self.memory.get_finished_spans() if span.name == f"trionetchan {name}"]


async def test_calls_are_spans() -> None:
    made = Spans()
    tracer = made.provider.get_tracer("test")
    async with trio.open_nursery() as nursery, open_exporter() as exporter:
        port = await serve_tcp(nursery, exporter)
        results = exporter.open_receive_channel("results", int)
        with spans(made.provider):
            async with open_tcp_importer("127.0.0.1", port) as importer:
                with tracer.start_as_current_span("outer") as outer:
                    send = await importer.open_send_channel("results", int)
                await send.send(1)
                await results.receive()
                await importer.drain("results")
                await importer.sync()
                with pytest.raises(NoSuchChannelError):
                    await importer.open_receive_channel("nothing", int)
                send.close()
    [connect_span] = made.of("connect")
    assert connect_span.attributes == {"trionetchan.address": f"127.0.0.1:{port}"}
    good, bad = made.of("import")
    assert good.attributes == {"trionetchan.channel": "results"}
    assert good.parent is not None
    assert good.parent.span_id == outer.get_span_context().span_id
    assert (good.status.status_code, bad.status.status_code) == (StatusCode.UNSET, StatusCode.ERROR)
    assert "expected a name that is exported" in str(bad.status.description)
    assert [span.attributes for span in made.of("drain")] == [{"trionetchan.channels": "results"}]
    assert [span.attributes for span in made.of("sync")] == [{"trionetchan.channels": ""}]


async def test_a_call_that_is_cancelled_says_so(autojump_clock: trio.testing.MockClock) -> None:
    made = Spans()
    with spans(made.provider):
        async with trio.open_nursery() as nursery, open_exporter() as exporter:
            async with exporter.open_send_channel("jobs", int, max_buffer_size=1) as jobs:
                await jobs.send(1)
                with trio.move_on_after(1):
                    await exporter.drain("jobs")
            nursery.cancel_scope.cancel()
    [drained] = made.of("drain")
    assert drained.attributes == {"trionetchan.channels": "jobs", "trionetchan.cancelled": True}
    assert drained.status.status_code is StatusCode.UNSET


async def test_a_pause_is_a_span_on_both_sides() -> None:
    made = Spans()
    with spans(made.provider):
        async with trio.open_nursery() as nursery, open_exporter() as exporter:
            streams: list[trio.abc.Stream] = []

            async def dial() -> trio.abc.Stream:
                if len(streams) == 2:
                    raise OSError("nobody is there any more")
                ours, theirs = trio.testing.memory_stream_pair()
                nursery.start_soon(exporter.serve_stream, theirs)
                streams.append(ours)
                return ours

            exporter.open_send_channel("jobs", int)
            with pytest.raises(ConnectionLostError):
                async with open_importer(dial, limits=Limits(resume_timeout=0.2)) as importer:
                    await importer.open_receive_channel("jobs", int)
                    await streams[0].aclose()
                    await until(lambda: importer.statistics().resumed == 1)
                    await until(lambda: len(made.of("resume")) == 2)
                    await streams[1].aclose()
                    await trio.sleep_forever()
            await until(lambda: len(made.of("resume")) == 4)
            nursery.cancel_scope.cancel()
    sides = [
        ((span.attributes or {})["trionetchan.side"], span.status.status_code is StatusCode.ERROR)
        for span in made.of("resume")
    ]
    assert sorted(sides) == [("exporter", False), ("exporter", True), ("importer", False), ("importer", True)]


async def test_outside_of_the_block_nothing_is_made() -> None:
    made = Spans()
    with spans(made.provider):
        pass
    async with trio.open_nursery() as nursery, open_exporter() as exporter, connect(nursery, exporter) as importer:
        await importer.drain()
    assert made.memory.get_finished_spans() == ()


# The trace of a value


@attrs.frozen
class Job:
    number: int


def trace_of_current() -> int:
    return trace.get_current_span().get_span_context().trace_id


async def test_the_trace_of_a_value_goes_with_it() -> None:
    made = Spans()
    tracer = made.provider.get_tracer("test")
    async with trio.open_nursery() as nursery, connected(nursery, "tcp") as (exporter, importer):
        jobs = traced_send(exporter.open_send_channel("jobs", Traced[Job]))
        received = traced_receive(await importer.open_receive_channel("jobs", Traced[Job]))
        sent: list[int] = []
        got: list[tuple[int, int]] = []

        async def work() -> None:
            with tracer.start_as_current_span("worker"):
                own = trace_of_current()
                async for job in received:
                    got.append((job.number, trace_of_current()))
                    with tracer.start_as_current_span("job"):
                        pass
                assert trace_of_current() == own

        async with trio.open_nursery() as workers:
            workers.start_soon(work)
            await jobs.send(Job(0))  # where there is no trace
            for number in range(1, 4):
                with tracer.start_as_current_span("request"):
                    sent.append(trace_of_current())
                    await jobs.send(Job(number))
            await jobs.aclose()
        nursery.cancel_scope.cancel()
    assert got[1:] == [*enumerate(sent, 1)]
    assert got[0][1] not in {0, *sent}, "the worker's own"
    spans_of_jobs = [span for span in made.memory.get_finished_spans() if span.name == "job"]
    assert [span.context.trace_id for span in spans_of_jobs if span.context][1:] == sent


async def test_both_sides_must_know_of_traces() -> None:
    async with trio.open_nursery() as nursery, connected(nursery) as (exporter, importer):
        exporter.open_send_channel("jobs", Traced[Job])
        with pytest.raises(TypeMismatchError, match="jobs: "):
            await importer.open_receive_channel("jobs", Job)
        nursery.cancel_scope.cancel()


async def test_by_hand() -> None:
    made = Spans()
    with made.provider.get_tracer("test").start_as_current_span("request"):
        trace_id = trace_of_current()
        sent = traced(Job(1))
    assert trace_of_current() == 0
    with sent.current() as job:
        assert job == Job(1)
        assert trace_of_current() == trace_id
    assert trace_of_current() == 0


@pytest.mark.parametrize(
    "context",
    [
        {},
        {"traceparent": "nonsense"},
        {"traceparent": "00-" + "0" * 32 + "-" + "0" * 16 + "-01"},
        {"traceparent": "00-" + "1" * 32 + "-" + "2" * 16 + "-01", "tracestate": "x" * 10_000},
        {f"key{number}": "" for number in range(100)},
    ],
)
def test_a_context_that_is_none_is_left_out(context: dict[str, str]) -> None:
    with Traced(1, context).current() as value:
        assert value == 1
        assert trace_of_current() == 0
