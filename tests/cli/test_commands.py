"""The commands of the command line, against an exporter that runs: as a process, in a terminal, and in this process."""

from __future__ import annotations

import fcntl
import functools
import json
import logging
import os
import pty
import signal
import ssl
import struct
import subprocess
import sys
import termios
from collections.abc import AsyncGenerator, Callable, Generator, Mapping
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import attrs
import pytest
import trio
import trustme
from support import child_environment, serve_tcp, take, take_all, until

from trionetchan import (
    Direction,
    Exporter,
    _observing,  # pyright: ignore[reportPrivateUsage]
    name_patterns,
    open_exporter,
    open_tcp_importer,
    tokens,
)
from trionetchan._cli import app, moving, watching
from trionetchan._cli.connecting import Address, Options, parse_address
from trionetchan._cli.console import Failure

NOBODY = "127.0.0.1:1"


@attrs.frozen
class Job:
    number: int
    data: bytes = b""
    when: datetime | None = None


@attrs.frozen
class Ran:
    status: int
    output: str
    errors: str


@attrs.frozen
class Served:
    exporter: Exporter
    address: str
    port: int


@asynccontextmanager
async def served(*, observable: bool = True, **options: Any) -> AsyncGenerator[Served]:
    async with trio.open_nursery() as nursery, open_exporter(observable=observable) as exporter:
        port = await serve_tcp(nursery, exporter, **options)
        yield Served(exporter, f"127.0.0.1:{port}", port)
        for name in exporter.statistics().channels:
            exporter.hangup(name)


async def run(*arguments: object, stdin: bytes = b"", env: Mapping[str, str] | None = None) -> Ran:
    """Runs a command to its end, with pipes."""
    with child_environment(**(env or {})) as environment:
        ran = await trio.run_process(
            [sys.executable, "-m", "trionetchan", *map(str, arguments)],
            stdin=stdin,
            capture_stdout=True,
            capture_stderr=True,
            check=False,
            env=environment,
        )
    return Ran(ran.returncode, ran.stdout.decode(), ran.stderr.decode())


Command = Callable[..., Ran]


@pytest.fixture
def command(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Generator[Command]:
    """Runs a command in this process, where no trio runs."""
    logger = logging.getLogger("trionetchan")
    level = logger.level

    def run_here(*arguments: str) -> Ran:
        monkeypatch.setattr(sys, "argv", ["trionetchan", *arguments])
        status = app.main()
        captured = capsys.readouterr()
        return Ran(status, captured.out, captured.err)

    yield run_here
    logger.setLevel(level)


# As processes


async def test_tail_writes_what_put_reads(capfd: pytest.CaptureFixture[str]) -> None:
    async with served() as s:
        jobs = s.exporter.open_send_channel("jobs", Job, max_buffer_size=10)
        results = s.exporter.open_receive_channel("results", Job, max_buffer_size=10)
        sent = [Job(1, b"\x00\xff", datetime(2026, 1, 31, tzinfo=UTC)), Job(2)]
        for job in [*sent, Job(3)]:
            await jobs.send(job)
        assert await moving.tail(s.address, "jobs", Options(), 2) == 0
        lines = capfd.readouterr().out
        assert lines == (
            '{"number": 1, "data": "AP8=", "when": "2026-01-31T00:00:00+00:00"}\n'
            '{"number": 2, "data": "", "when": null}\n'
        )
        assert await run("put", s.address, "results", stdin=lines.encode()) == Ran(0, "", "")
        assert await take(results, 2) == sent
        assert s.exporter.statistics().channels["jobs"].waiting == 1, "the third is for others"


async def put(s: Served, lines: bytes, *, finish: bool = False, name: str = "results", as_json: bool = False) -> int:
    """Puts these lines, in this process."""
    reading, writing = os.pipe()
    os.write(writing, lines)
    os.close(writing)
    try:
        return await moving.put(s.address, name, Options(json=as_json), finish=finish, source=reading)
    finally:
        os.close(reading)


async def test_put_says_which_line_does_not_fit_and_sends_those_before_it() -> None:
    async with served() as s:
        results = s.exporter.open_receive_channel("results", Job, max_buffer_size=10)
        with pytest.raises(Failure) as caught:
            await put(s, b'{"number": 1}\n\n{"number": "x"}\n{"number": 3}\n')
        assert str(caught.value) == 'line 3: field "number": expected a whole number, got "x"'
        assert caught.value.status == 2
        assert results.receive_nowait() == Job(1)
        with pytest.raises(trio.WouldBlock):
            results.receive_nowait()


async def test_put_does_not_end_a_channel_unless_told_to(capsys: pytest.CaptureFixture[str]) -> None:
    async with served() as s:
        results = s.exporter.open_receive_channel("results", int, max_buffer_size=10)
        assert await put(s, b"1") == 0
        assert results.receive_nowait() == 1
        with pytest.raises(trio.WouldBlock):
            results.receive_nowait()
        assert await put(s, b"2\n3\n", finish=True, as_json=True) == 0
        assert capsys.readouterr().out == '{"sent": 2}\n'
        assert await take_all(results) == [2, 3]


async def test_put_finishes_a_channel_that_others_send_into() -> None:
    """Else the end would be waited for in vain: what it leaves behind would never be taken up."""
    async with served() as s, open_tcp_importer("127.0.0.1", s.port) as importer:
        results = s.exporter.open_receive_channel("results", int, max_buffer_size=10, importers=2)
        async with await importer.open_send_channel("results", int) as other:
            assert await put(s, b"1") == 0
            await other.send(2)
        assert await take_all(results) == [1, 2]


async def test_put_says_why_the_exporter_takes_no_more() -> None:
    @attrs.frozen
    class Even:
        number: int

        def __attrs_post_init__(self) -> None:
            if self.number % 2:
                raise ValueError("odd")

    async with served() as s:
        s.exporter.open_receive_channel("results", Even, max_buffer_size=10)
        with pytest.raises(Failure, match=r"results: the exporter refused a value .*odd") as caught:
            await put(s, b'{"number": 2}\n{"number": 3}\n')
        assert caught.value.status == 1


async def test_long_lines_come_in_pieces() -> None:
    text = "x" * 200_000
    async with served() as s, trio.open_nursery() as nursery:
        results = s.exporter.open_receive_channel("results", str)
        reading, writing = os.pipe()
        lines = f'"{text}"\n"y"'.encode()
        nursery.start_soon(trio.to_thread.run_sync, write_all, writing, lines)
        nursery.start_soon(functools.partial(moving.put, s.address, "results", Options(), finish=True, source=reading))
        assert await take_all(results) == [text, "y"]
    os.close(reading)


def write_all(descriptor: int, data: bytes) -> None:
    with open(descriptor, "wb") as file:
        file.write(data)


async def test_nobody_reads_what_tail_writes_and_no_value_is_lost() -> None:
    async with served() as s:
        numbers = s.exporter.open_send_channel("numbers", int, max_buffer_size=1_000)
        for number in range(1_000):
            await numbers.send(number)
        with child_environment() as env:
            command = [sys.executable, "-m", "trionetchan", "tail", s.address, "numbers", "--take"]
            process = await trio.lowlevel.open_process(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=env)
            assert process.stdout is not None
            assert process.stderr is not None
            seen = b""
            while b"\n1\n" not in seen:
                seen += await process.stdout.receive_some()
            await process.stdout.aclose()
            assert await process.wait() == 141
            assert b"".join([chunk async for chunk in process.stderr]) == b""
            await process.stderr.aclose()
        async with open_tcp_importer("127.0.0.1", s.port) as importer:
            await until(lambda: s.exporter.statistics().channels["numbers"].peers == 0)
            numbers.close()
            rest = await take_all(await importer.open_receive_channel("numbers", int))
        written = len(seen.splitlines())
        assert rest == list(range(rest[0], 1_000))
        assert rest[0] >= 2
        assert rest[0] >= written - 1, "what was written may come again, once; what was not is never lost"


@pytest.mark.parametrize(
    ("arguments", "status", "message"),
    [
        (["list"], 2, 'Command "list" parameter ADDRESS requires an argument. See --help.'),
        (["list", "nowhere"], 2, "expected an address (HOST:PORT, unix:PATH, "),
        (["list", NOBODY], 1, f"{NOBODY}: all attempts to connect to {NOBODY} failed: "),
        (["tail", NOBODY, "jobs"], 2, "tail takes values, which nobody else gets then: say how many"),
        (["tail", NOBODY, "jobs", "--count", "x"], 2, "See --help."),
        (["ping", NOBODY, "--token-file", "/nowhere"], 2, "cannot read the token: "),
        (["ping", NOBODY, "--ca", "/nowhere"], 2, "cannot read certificates or keys from /nowhere: "),
        (["ping", "unix:/nowhere", "--tls"], 2, "TLS is for HOST:PORT and wss:// addresses"),
    ],
)
def test_an_error_is_one_line(arguments: list[str], status: int, message: str, command: Command) -> None:
    ran = command(*arguments)
    assert (ran.status, ran.output) == (status, "")
    assert ran.errors.startswith("trionetchan: ")
    assert message in ran.errors
    assert ran.errors.count("\n") == 1


async def test_a_token_is_not_shown_where_others_may_read_it() -> None:
    async with served() as s:
        ran = await run("ping", s.address, "--count", 1, env={"TRIONETCHAN_TOKEN": "secret"})
        assert (ran.status, ran.output) == (2, "")
        assert "over TLS and unix sockets only" in ran.errors
        assert "secret" not in ran.errors


async def test_a_token(tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    """From a file or the environment; who is not known, and what may not be bound, is one line."""
    (tmp_path / "token").write_text("right\n")
    (tmp_path / "wrong").write_text("wrong\n")
    authorize = name_patterns({"operator": {"$statistics": Direction.SEND}})
    async with (
        trio.open_nursery() as nursery,
        open_exporter(authenticate=tokens({"right": "operator"}), authorize=authorize, observable=True) as exporter,
    ):
        await nursery.start(exporter.serve_unix, tmp_path / "socket")
        exporter.open_send_channel("jobs", int)
        address, options = f"unix:{tmp_path / 'socket'}", Options(json=True)
        known = attrs.evolve(options, token_file=tmp_path / "token")
        assert await watching.ping(address, known, 1, 1) == 0
        assert await watching.list_channels(address, known, False, 1) == 0
        assert '"jobs"' in capsys.readouterr().out
        with pytest.raises(Failure, match="that this exporter knows") as caught:
            await watching.ping(address, attrs.evolve(options, token_file=tmp_path / "wrong"), 1, 1)
        assert caught.value.status == 1
        with pytest.raises(Failure, match="jobs: expected a name that this importer may receive from") as caught:
            await moving.tail(address, "jobs", known, 1)
        assert caught.value.status == 3
        monkeypatch.setenv("TRIONETCHAN_TOKEN", "right")
        assert await watching.ping(address, options, 1, 1) == 0
        exporter.hangup("jobs")


@pytest.mark.parametrize("name", ["list", "top", "inspect", "tail", "put", "ping", "completion", "demo"])
def test_help_says_all(name: str, command: Command) -> None:
    ran = command(name, "--help")
    assert (ran.status, ran.errors) == (0, "")
    assert ran.output.startswith(f"Usage: trionetchan {name}")
    if name not in ("completion", "demo"):
        for part in ("HOST:PORT", "--token-file", "TRIONETCHAN_TOKEN", "--server-name", "--json"):
            assert part in ran.output


def test_exit_statuses_are_documented(command: Command) -> None:
    ran = command("--help")
    for status in ("0, done", "1, the", "2, wrong", "3, the", "130", "141"):
        assert status in ran.output


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_completion(shell: str, command: Command) -> None:
    ran = command("completion", shell)
    assert (ran.status, ran.errors) == (0, "")
    assert "inspect" in ran.output
    assert "token-file" in ran.output
    if shell == "bash":
        subprocess.run(["bash", "-n"], input=ran.output.encode(), check=True)


# In a terminal


async def test_top_in_a_terminal_until_it_is_interrupted() -> None:
    async with served() as s, trio.open_nursery() as nursery:
        numbers = s.exporter.open_send_channel("num\x0bbers".replace("\x0b", ""), int)
        nursery.start_soon(flow, numbers, s.port)
        ours, theirs = pty.openpty()
        fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", 24, 100, 0, 0))
        with child_environment(TERM="xterm-256color") as env:
            process = await trio.lowlevel.open_process(
                [sys.executable, "-m", "trionetchan", "top", s.address, "--interval", "0.1"],
                stdin=theirs,
                stdout=theirs,
                stderr=theirs,
                env=env,
                start_new_session=True,
            )
            os.close(theirs)
            seen = b""
            while seen.count(b"values/s") < 6:  # two looks: the head and the table, each drawn anew
                await trio.lowlevel.wait_readable(ours)
                seen += os.read(ours, 2**16)
            process.send_signal(signal.SIGINT)
            rest = await until_closed(ours)
            assert await process.wait() == 130
        assert b"\x1b[?1049h" in seen, "on a screen of its own"
        assert b"\x1b[?1049l" in seen + rest, "and the old one is back"
        assert b"2 connections" in seen
        assert b"numbers" in seen
        nursery.cancel_scope.cancel()


async def flow(numbers: trio.MemorySendChannel[int], port: int) -> None:
    """Somebody who sends, and somebody who takes."""

    async def send() -> None:
        for number in range(1_000_000):
            await numbers.send(number)

    async with trio.open_nursery() as nursery, open_tcp_importer("127.0.0.1", port) as importer:
        nursery.start_soon(send)
        async for _ in await importer.open_receive_channel("numbers", int):
            pass


async def until_closed(descriptor: int) -> bytes:
    """What a terminal gets until nobody has it any more."""
    seen = b""
    try:
        while True:
            await trio.lowlevel.wait_readable(descriptor)
            chunk = os.read(descriptor, 2**16)
            if not chunk:
                break
            seen += chunk
    except OSError:
        pass
    os.close(descriptor)
    return seen


# In this process


async def test_list(capsys: pytest.CaptureFixture[str]) -> None:
    async with served() as s:
        jobs = s.exporter.open_send_channel("jobs", dict[str, int], max_buffer_size=5)
        s.exporter.open_receive_channel("[red]results :smile:", int)
        await jobs.send({"a": 1})
        assert await watching.list_channels(s.address, Options(), False, 1) == 0
        lines = capsys.readouterr().out.splitlines()
    assert [line.split() for line in lines] == [
        ["channel", "exporter", "importers", "values", "waiting", "unacked", "back", "dropped", "type"],
        ["[red]results", ":smile:", "receives", "0", "0", "0", "0", "0", "0", "int"],
        ["jobs", "sends", "0", "0", "1", "0", "0", "0", "dict[text,", "int]"],
    ]


async def test_list_as_json(capsys: pytest.CaptureFixture[str]) -> None:
    async with served() as s:
        s.exporter.open_send_channel("jobs", int)
        assert await watching.list_channels(s.address, Options(json=True), False, 1) == 0
        told = json.loads(capsys.readouterr().out)
    assert (told["process"], told["connections"], told["dropped"]) == (os.getpid(), 1, 0)
    assert [channel["name"] for channel in told["channels"]] == ["jobs"]
    assert told["channels"][0]["value_type"] == "int"


async def test_watch_tells_rates(capsys: pytest.CaptureFixture[str]) -> None:
    async with served() as s, trio.open_nursery() as nursery:
        numbers = s.exporter.open_send_channel("numbers", int)
        nursery.start_soon(flow, numbers, s.port)
        nursery.start_soon(watching.list_channels, s.address, Options(json=True), True, 0.1)
        looks: list[Any] = []
        while len(looks) < 4:
            await trio.sleep(0.01)
            looks += map(json.loads, capsys.readouterr().out.splitlines())
        nursery.cancel_scope.cancel()
    first, *others = [look["channels"][0] for look in looks]
    assert first["values_per_second"] is None
    assert any(look["values_per_second"] > 0 and look["bytes_per_second"] > 0 for look in others)


async def test_inspect_says_what_waits_and_for_whom(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(_observing, "SHORTEST_INTERVAL", 0)
    async with served() as s:
        jobs = s.exporter.open_send_channel("jobs", Job, max_buffer_size=5)
        for number in range(5):
            await jobs.send(Job(number))
        assert await watching.inspect_channel(s.address, "jobs", Options()) == 0
        alone = capsys.readouterr().out
        async with open_tcp_importer("127.0.0.1", s.port) as importer:
            received = await importer.open_receive_channel("jobs", Job, window=2)
            await until(lambda: s.exporter.statistics().channels["jobs"].unacknowledged == 2)
            assert await watching.inspect_channel(s.address, "jobs", Options()) == 0
            shown = capsys.readouterr().out
            assert await watching.inspect_channel(s.address, "jobs", Options(json=True)) == 0
            told = json.loads(capsys.readouterr().out)
            received.close()
    assert "5, for an importer: nobody has imported the name" in alone
    assert "waiting         3, for importers to acknowledge what they have" in shown
    assert "its window is full" in shown
    assert "127.0.0.1:" in shown
    assert shown[shown.index("type\n") :].splitlines() == [
        "type",
        "└── record Job",
        "    ├── number: int",
        "    ├── data (may be missing): bytes",
        "    └── when (may be missing): union",
        "        ├── datetime",
        "        └── None",
    ]
    assert told["importers"][0]["unacknowledged"] == 2
    assert told["type"][0]["fields"][0]["name"] == "number"


async def test_a_type_that_has_itself_within_is_shown_once(capsys: pytest.CaptureFixture[str]) -> None:
    async with served() as s:
        s.exporter.open_receive_channel("trees", Tree)
        assert await watching.inspect_channel(s.address, "trees", Options()) == 0
    assert "record Tree (as above)" in capsys.readouterr().out


@attrs.frozen
class Tree:
    left: Tree | None
    right: Tree | None


async def test_ping(capsys: pytest.CaptureFixture[str]) -> None:
    for observable in (True, False):
        async with served(observable=observable) as s:
            assert await watching.ping(s.address, Options(json=True), 2, 0.05) == 0
            first, *others = map(json.loads, capsys.readouterr().out.splitlines())
            assert first["connect_seconds"] > 0
            assert [(line["number"], line["seconds"] > 0) for line in others] == [(1, True), (2, True)]


async def test_who_is_not_observable() -> None:
    async with served(observable=False) as s:
        with pytest.raises(Failure, match="does not let itself be observed") as listing:
            await watching.list_channels(s.address, Options(), False, 1)
        with pytest.raises(Failure, match="does not let itself be observed") as inspecting:
            await watching.inspect_channel(s.address, "jobs", Options())
        assert listing.value.status == inspecting.value.status == 3


async def test_tail_of_who_is_not_observable_tells_kinds(capfd: pytest.CaptureFixture[str]) -> None:
    async with served(observable=False) as s:
        jobs = s.exporter.open_send_channel("jobs", Job, max_buffer_size=1)
        await jobs.send(Job(1, b"x"))
        assert await moving.tail(s.address, "jobs", Options(json=True), 1) == 0
    assert json.loads(capfd.readouterr().out) == {
        "number": 1,
        "redelivered": False,
        "value": {"number": 1, "data": {"$bytes": "eA=="}, "when": None},
    }


async def test_the_wrong_name_and_the_wrong_direction() -> None:
    async with served() as s:
        s.exporter.open_send_channel("jobs", int)
        s.exporter.open_receive_channel("results", int)
        with pytest.raises(Failure, match=r"a name that is exported \(jobs, results\)") as no_name:
            await moving.tail(s.address, "job", Options(), 1)
        with pytest.raises(Failure, match="receives from this channel: see `trionetchan put`") as no_tail:
            await moving.tail(s.address, "results", Options(), 1)
        with pytest.raises(Failure, match="see `trionetchan tail`") as no_put:
            await moving.put(s.address, "jobs", Options(), finish=False)
        assert no_name.value.status == no_tail.value.status == no_put.value.status == 3


async def test_tail_ends_with_the_channel(capfd: pytest.CaptureFixture[str]) -> None:
    async with served() as s:
        async with s.exporter.open_send_channel("jobs", int, max_buffer_size=2) as jobs:
            await jobs.send(1)
        assert await moving.tail(s.address, "jobs", Options(), None) == 0
    assert capfd.readouterr().out == "1\n"


async def test_an_exporter_that_goes_is_told() -> None:
    async def leave() -> None:
        await until(lambda: s.exporter.statistics().channels["jobs"].peers == 1)
        await s.exporter.stop(timeout=1)

    async with served() as s, trio.open_nursery() as nursery:
        s.exporter.open_send_channel("jobs", int)
        nursery.start_soon(leave)
        with pytest.raises(Failure, match=rf"{s.address}: .*got its goodbye") as caught:
            await moving.tail(s.address, "jobs", Options(), None)
        assert caught.value.status == 1


async def test_tls(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Both sides have a certificate; the exporter's has another name than its address."""
    authority = trustme.CA()
    authority.cert_pem.write_to_path(tmp_path / "ca.pem")
    client = authority.issue_cert("client@example.org")
    client.private_key_and_cert_chain_pem.write_to_path(tmp_path / "client.pem")
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    authority.issue_cert("exporter.example.org").configure_cert(context)  # pyright: ignore[reportUnknownMemberType]
    authority.configure_trust(context)  # pyright: ignore[reportUnknownMemberType]
    context.verify_mode = ssl.CERT_REQUIRED
    async with served(ssl_context=context) as s:
        options = Options(
            ca=tmp_path / "ca.pem", cert=tmp_path / "client.pem", server_name="exporter.example.org", json=True
        )
        assert await watching.ping(s.address, options, 1, 1) == 0
        assert capsys.readouterr().out.count("\n") == 2
        with pytest.raises(Failure, match="certificate"):
            await watching.ping(s.address, attrs.evolve(options, server_name=None), 1, 1)


@pytest.mark.parametrize(
    ("text", "address"),
    [
        ("localhost:80", Address("tcp", "localhost", 80)),
        ("[::1]:80", Address("tcp", "::1", 80)),
        ("unix:/a:1", Address("unix", "/a:1")),
        ("ws://a:1/", Address("ws", "ws://a:1/")),
        ("wss://a/", Address("wss", "wss://a/")),
    ],
)
def test_addresses(text: str, address: Address) -> None:
    assert parse_address(text) == address


@pytest.mark.parametrize(
    "text", ["", "localhost", "localhost:", ":80", "localhost:0", "localhost:65536", "a:٣", "unix:"]
)
def test_what_is_no_address(text: str) -> None:
    with pytest.raises(Failure, match="expected an address") as caught:
        parse_address(text)
    assert caught.value.status == 2
