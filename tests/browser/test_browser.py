"""A browser comes in: plain JavaScript, written from docs/protocol.md alone, in headless Chromium and in Node."""

from __future__ import annotations

import functools
import json
import shutil
import subprocess
import sys
from collections.abc import AsyncGenerator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Any
from urllib.parse import quote

import attrs
import pytest
import trio
from support import PEERS, child_environment, put, take_all

from trionetchan import BoundListener, Direction, Exporter, open_exporter, tokens

HERE = Path(__file__).parent
TIME = 60  # seconds, real ones: a browser starts slowly
COUNT = 1000
TYPES = {".html": "text/html", ".mjs": "text/javascript"}
FLAGS = [
    *("--headless", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--disable-breakpad", "--disable-quic"),
    *("--no-first-run", "--no-default-browser-check", "--disable-background-networking", "--disable-component-update"),
    *("--disable-sync", "--disable-default-apps", "--disable-extensions", "--no-proxy-server"),
]
CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)


@attrs.frozen
class Job:
    """What is sent as a record."""

    id: int
    name: str


JOBS = [Job(number, f"job {number} ✓") for number in range(COUNT)]
TEXTS = ["", "é", "x" * 300_000 + "y"]


@attrs.define
class Seen:
    """What the exporter has got."""

    squares: list[int] = attrs.Factory(list[int])
    results: list[Job] = attrs.Factory(list[Job])
    large: list[str] = attrs.Factory(list[str])
    choosy: list[int] = attrs.Factory(list[int])


def node() -> str | None:
    """A Node that has WebSocket."""
    path = shutil.which("node")
    if path is None:
        return None
    with child_environment() as env:
        probe = [path, "--experimental-websocket", "-e", "process.exit(typeof WebSocket === 'function' ? 0 : 1)"]
        found = subprocess.run(probe, env=env, check=False, capture_output=True)
    return path if found.returncode == 0 else None


# A server of the files beside this one, and of what the page has to say


@attrs.frozen
class Pages:
    """`origin` serves them; what the page posts arrives at `results`."""

    origin: str
    results: trio.MemoryReceiveChannel[bytes]


@asynccontextmanager
async def pages() -> AsyncGenerator[Pages]:
    send, receive = trio.open_memory_channel[bytes](10)

    async def handle(stream: trio.SocketStream) -> None:
        async with stream:
            await answer(stream, send)

    async with trio.open_nursery() as nursery:
        [listener] = await trio.open_tcp_listeners(0, host="127.0.0.1")
        nursery.start_soon(trio.serve_listeners, handle, [listener])
        yield Pages(f"http://127.0.0.1:{listener.socket.getsockname()[1]}", receive)
        nursery.cancel_scope.cancel()


async def answer(stream: trio.SocketStream, posted: trio.MemorySendChannel[bytes]) -> None:
    """One request of HTTP, as far as a browser's few need it."""
    data = b""
    while b"\r\n\r\n" not in data:
        chunk = await stream.receive_some()
        if not chunk:
            return  # a browser opens connections that it may need
        data += chunk
    head, _, body = data.partition(b"\r\n\r\n")
    lines = head.decode().split("\r\n")
    method, target, _ = lines[0].split(" ")
    headers = {name.lower(): value for name, _, value in (line.partition(": ") for line in lines[1:])}
    while len(body) < int(headers.get("content-length", "0")):
        body += await stream.receive_some()
    file = HERE / target.partition("?")[0].lstrip("/")
    if method == "POST":
        posted.send_nowait(body)
        await stream.send_all(response(200, b"", "text/plain"))
    elif file.suffix in TYPES and file.parent == HERE:
        await stream.send_all(response(200, await trio.Path(file).read_bytes(), TYPES[file.suffix]))
    else:
        await stream.send_all(response(404, b"", "text/plain"))


def response(status: int, body: bytes, kind: str) -> bytes:
    head = f"HTTP/1.1 {status} -\r\nConnection: close\r\nContent-Type: {kind}\r\nContent-Length: {len(body)}\r\n\r\n"
    return head.encode() + body


# The exporter


async def offer(nursery: trio.Nursery, exporter: Exporter) -> Seen:
    """Exports all that the page asks for, and serves it."""
    seen = Seen()

    async def collect(receive: trio.MemoryReceiveChannel[Any], values: list[Any]) -> None:
        values += await take_all(receive)

    async def hang_up_when_asked(asked: trio.MemoryReceiveChannel[int]) -> None:
        assert await asked.receive() == 1
        exporter.hangup("hung up")
        assert await take_all(asked) == []

    nursery.start_soon(put, exporter.open_send_channel("numbers", int), range(COUNT))
    nursery.start_soon(put, exporter.open_send_channel("jobs", Job), JOBS)
    nursery.start_soon(put, exporter.open_send_channel("texts", str), TEXTS)
    exporter.open_send_channel("endless", int, max_buffer_size=1).send_nowait(7)
    exporter.open_send_channel("hung up", int)
    nursery.start_soon(collect, exporter.open_receive_channel("squares", int), seen.squares)
    nursery.start_soon(collect, exporter.open_receive_channel("results", Job), seen.results)
    nursery.start_soon(collect, exporter.open_receive_channel("large", str), seen.large)
    nursery.start_soon(collect, exporter.open_receive_channel("choosy", int), seen.choosy)
    nursery.start_soon(hang_up_when_asked, exporter.open_receive_channel("asked", int))
    return seen


def check(told: dict[str, Any], seen: Seen) -> None:
    """What the page says that it has seen, and what the exporter has got."""
    assert "error" not in told, told
    assert told["numbers"] == list(range(COUNT))
    assert [Job(**job) for job in told["jobs"]] == JOBS
    assert told["texts"] == [[0, None], [1, "é"], [300_001, "y"]]
    assert told["squares"] == {"count": COUNT, "code": 0, "message": ""}
    assert seen.squares == [number * number for number in range(COUNT)]
    assert told["results"] == {"count": COUNT, "code": 0, "message": ""}
    assert seen.results == JOBS
    assert told["large"] == {"count": 4, "code": 0, "message": ""}
    assert seen.large == ["é" * 300_000, "", "x" * 300_000, "end"]
    assert (told["missing"], told["direction"], told["type"]) == (7, 8, 9)
    assert (told["stranger"], told["forbidden"]) == (14, 15)
    assert told["endless"] == 7
    assert told["hungUp"] == [[], 1]
    assert (told["choosy"]["count"], told["choosy"]["code"]) == (1, 3)
    assert seen.choosy == [1]
    assert told["closed"] == 1000


@asynccontextmanager
async def offered(*origins: str) -> AsyncGenerator[tuple[str, Seen]]:
    """The URL of an exporter of all that, and what it gets; at the end, no connection is left."""
    authenticate = tokens({"the page's": "the page"}, allow_plain=True)

    async def authorize(principal: str, name: str, direction: Direction) -> bool:
        return principal == "the page" and name != "forbidden"

    opening = open_exporter(authenticate=authenticate, authorize=authorize)
    async with trio.open_nursery() as nursery, opening as exporter, trio.open_nursery() as channels:
        seen = await offer(channels, exporter)
        serve = functools.partial(exporter.serve_websocket, 0, origins=origins)
        listeners: list[BoundListener] = await nursery.start(serve)
        yield f"ws://127.0.0.1:{listeners[0].port}/", seen
        exporter.hangup("choosy")  # its importer was refused, which is no end


@pytest.mark.skipif(CHROMIUM is None, reason="expected Chromium (Debian: apt-get install chromium), got none on PATH")
def test_in_a_browser(tmp_path: Path) -> None:
    async def run() -> None:
        async with AsyncExitStack() as stack:
            served = await stack.enter_async_context(pages())
            url, seen = await stack.enter_async_context(offered(served.origin))
            await stack.enter_async_context(browser(tmp_path, f"{served.origin}/page.html?url={quote(url)}"))
            told = json.loads(await served.results.receive())
        check(told, seen)

    trio.run(bounded, run)


@pytest.mark.skipif(CHROMIUM is None, reason="expected Chromium (Debian: apt-get install chromium), got none on PATH")
def test_page_of_another_origin_is_kept_out(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    async def run() -> None:
        async with AsyncExitStack() as stack:
            served = await stack.enter_async_context(pages())
            exporter = await stack.enter_async_context(open_exporter())
            nursery = await stack.enter_async_context(trio.open_nursery())
            listeners: list[BoundListener] = await nursery.start(exporter.serve_websocket, 0)
            url = quote(f"ws://127.0.0.1:{listeners[0].port}/")
            await stack.enter_async_context(browser(tmp_path, f"{served.origin}/page.html?url={url}"))
            told = json.loads(await served.results.receive())
            nursery.cancel_scope.cancel()
        assert "with code 1006" in told["error"]
        assert f"expected an origin that may connect (`origins=`), got {served.origin}" in caplog.text

    trio.run(bounded, run)


async def bounded(run: Any) -> None:
    with trio.fail_after(TIME):
        await run()


@asynccontextmanager
async def browser(directory: Path, url: str) -> AsyncGenerator[None]:
    """A browser with an empty profile, which shows this page; it is ended at the end of the block."""
    assert CHROMIUM is not None
    command = [CHROMIUM, *FLAGS, f"--user-data-dir={directory / 'profile'}", url]
    launch = [sys.executable, str(PEERS / "launcher.py"), *command]
    with child_environment(HOME=directory) as env:
        process = await trio.lowlevel.open_process(launch, stdin=subprocess.PIPE, env=env)
        try:
            yield
        finally:
            with trio.CancelScope(shield=True):
                assert process.stdin is not None
                await process.stdin.aclose()
                await process.wait()


def test_in_node() -> None:
    path = node()
    if path is None:
        pytest.skip("expected a Node with WebSocket (22 or later, or 20.10 with a flag), got none on PATH")
    command = [path, "--experimental-websocket", "--no-warnings", str(HERE / "in_node.mjs")]

    async def run() -> None:
        with child_environment() as env:
            async with offered() as (url, seen):
                ran = await trio.run_process([*command, url], env=env, capture_stdout=True)
        check(json.loads(ran.stdout), seen)

    trio.run(bounded, run)
