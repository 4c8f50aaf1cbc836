"""Who is let in, and what they may bind: over real sockets, as a program sees it on both sides."""

from __future__ import annotations

import functools
import logging
import os
import ssl
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
import trio
from authority import Authority
from support import serve_tcp, until

from trionetchan import (
    AuthenticationError,
    Authorize,
    ConnectionLostError,
    Credentials,
    Direction,
    Exporter,
    Importer,
    LimitError,
    Limits,
    NetchanError,
    NoSuchChannelError,
    PeerConnected,
    PermissionDeniedError,
    ProtocolError,
    SessionLostError,
    allow_certificates,
    any_of,
    name_patterns,
    open_exporter,
    open_importer,
    open_tcp_importer,
    open_unix_importer,
    same_user,
    tokens,
)

AUDIT = "trionetchan.audit"


@pytest.fixture
def authority(tmp_path: Path) -> Authority:
    return Authority(tmp_path)


def audited(caplog: pytest.LogCaptureFixture) -> list[tuple[int, str]]:
    return [(record.levelno, record.getMessage()) for record in caplog.records if record.name == AUDIT]


async def receive_one(importer: Importer, name: str = "numbers") -> int:
    async with await importer.open_receive_channel(name, int) as numbers:
        return await numbers.receive()


@asynccontextmanager
async def exporting(nursery: trio.Nursery, **options: Any) -> AsyncGenerator[Exporter]:
    """With "numbers", in which there is always one more."""
    async with open_exporter(**options) as exporter:
        numbers = exporter.open_send_channel("numbers", int, max_buffer_size=100)
        for number in range(100):
            numbers.send_nowait(number)
        yield exporter


# Certificates


async def test_a_certificate_names_the_principal(
    nursery: trio.Nursery, authority: Authority, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, AUDIT)
    async with exporting(nursery, authenticate=allow_certificates("*.workers.example")) as exporter:
        port = await serve_tcp(nursery, exporter, ssl_context=authority.server())
        context = authority.client("one.workers.example")
        async with open_tcp_importer("localhost", port, ssl_context=context) as importer:
            assert await receive_one(importer) == 0
            assert exporter.statistics().principals == {"one.workers.example": 1}
            event = await anext(exporter.peers())
            assert isinstance(event, PeerConnected)
            assert event.principal == "one.workers.example"
        await until(lambda: exporter.statistics().connections == 0)
        assert exporter.statistics().principals == {}
    assert [level for level, _ in audited(caplog)] == [logging.INFO]
    assert audited(caplog)[0][1].endswith(" as 'one.workers.example'")


async def test_a_certificate_of_another_name_is_refused(
    nursery: trio.Nursery, authority: Authority, caplog: pytest.LogCaptureFixture
) -> None:
    async with exporting(nursery, authenticate=allow_certificates("*.workers.example")) as exporter:
        port = await serve_tcp(nursery, exporter, ssl_context=authority.server())
        context = authority.client("workers.example.org")
        with pytest.raises(AuthenticationError, match="expected an importer that this exporter knows"):
            async with open_tcp_importer("localhost", port, ssl_context=context) as importer:
                with pytest.raises(AuthenticationError):  # at the call, too
                    await importer.open_receive_channel("numbers", int)
                await importer.open_receive_channel("numbers", int)
        assert exporter.statistics().refused == 1
    [(level, message)] = audited(caplog)
    assert level == logging.WARNING
    assert message.endswith("expected a certificate of '*.workers.example', got one of 'workers.example.org'")


async def test_without_a_certificate_tls_itself_refuses(
    nursery: trio.Nursery, authority: Authority, caplog: pytest.LogCaptureFixture
) -> None:
    """And nothing of this library is asked."""
    asked: list[Credentials] = []

    async def authenticate(credentials: Credentials) -> str | None:
        asked.append(credentials)
        return "anyone"

    async with exporting(nursery, authenticate=authenticate) as exporter:
        port = await serve_tcp(nursery, exporter, ssl_context=authority.server())
        with pytest.raises(ConnectionLostError, match="requires a certificate"):
            async with open_tcp_importer("localhost", port, ssl_context=authority.client()) as importer:
                await receive_one(importer)
        await until(lambda: exporter.statistics().connections == 0)
    assert not asked
    assert not audited(caplog)


@pytest.mark.parametrize(
    ("names", "common_name", "principal"),
    [
        (["worker.example"], None, "worker.example"),
        (["worker.example", "other.example"], None, "worker.example"),
        (["worker@example.org"], None, "worker@example.org"),
        (["worker.example"], "somebody else", "worker.example"),
        (["127.0.0.1"], "the common name does not count beside others", None),
    ],
)
async def test_names_of_certificates(
    nursery: trio.Nursery, authority: Authority, names: list[str], common_name: str | None, principal: str | None
) -> None:
    async with exporting(nursery, authenticate=allow_certificates()) as exporter:
        port = await serve_tcp(nursery, exporter, ssl_context=authority.server())
        context = authority.client(*names, common_name=common_name)
        try:
            async with open_tcp_importer("localhost", port, ssl_context=context) as importer:
                await receive_one(importer)
                assert exporter.statistics().principals == {principal: 1}
        except AuthenticationError:
            assert principal is None


@pytest.mark.promise(82)
async def test_tls_1_2_and_plain_text_are_refused(nursery: trio.Nursery, authority: Authority) -> None:
    """By the contexts that this library makes, on both sides."""
    async with exporting(nursery, authenticate=allow_certificates()) as exporter:
        port = await serve_tcp(nursery, exporter, ssl_context=authority.server())
        old = ssl.create_default_context(cafile=authority.file)
        old.maximum_version = ssl.TLSVersion.TLSv1_2
        old.load_cert_chain(authority.issue("worker.example"))
        with pytest.raises(ConnectionLostError, match="no version of TLS in common"):
            async with open_tcp_importer("localhost", port, ssl_context=old) as importer:
                await receive_one(importer)
        with pytest.raises((ProtocolError, ConnectionLostError)):
            async with open_tcp_importer("localhost", port) as importer:
                await receive_one(importer)
        old_server = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
        old_server.maximum_version = ssl.TLSVersion.TLSv1_2
        old_server.load_cert_chain(authority.issue("localhost"))
        old_port = await serve_tcp(nursery, exporter, ssl_context=old_server)
        with pytest.raises(ConnectionLostError, match="no version of TLS in common"):
            async with open_tcp_importer("localhost", old_port, ssl_context=authority.client("w.example")) as importer:
                await receive_one(importer)
        assert exporter.statistics().principals == {}


# Tokens


async def test_a_token_over_tls(nursery: trio.Nursery, authority: Authority) -> None:
    async with exporting(nursery, authenticate=tokens({"s3cret": "worker"})) as exporter:
        port = await serve_tcp(nursery, exporter, ssl_context=authority.server(clients="none"))
        context = authority.client()
        async with open_tcp_importer("localhost", port, ssl_context=context, token="s3cret") as importer:
            assert await receive_one(importer) == 0
            assert exporter.statistics().principals == {"worker": 1}
        for token in None, "s3creT", "s3cret ", "s3cre", "\N{SNOWMAN}", "x" * 1024:
            with pytest.raises(AuthenticationError):
                async with open_tcp_importer("localhost", port, ssl_context=context, token=token) as importer:
                    await receive_one(importer)
        assert exporter.statistics().refused == 6


@pytest.mark.promise(79)
async def test_a_token_is_not_shown_where_others_may_read_it(nursery: trio.Nursery) -> None:
    async with exporting(nursery, authenticate=tokens({"s3cret": "worker"}, allow_plain=True)) as exporter:
        port = await serve_tcp(nursery, exporter)
        with pytest.raises(ValueError, match=r"token: expected TLS .* or a unix socket") as caught:
            async with open_tcp_importer("127.0.0.1", port, token="s3cret"):
                raise AssertionError("not reached")
        assert "s3cret" not in str(caught.value)
        with pytest.raises(ValueError, match="token: expected TLS"):
            async with open_importer(functools.partial(trio.open_tcp_stream, "127.0.0.1", port), token="s3cret"):
                raise AssertionError("not reached")
        async with open_tcp_importer("127.0.0.1", port, token="s3cret", allow_plain_token=True) as importer:
            assert await receive_one(importer) == 0


@pytest.mark.promise(79)
async def test_a_token_that_came_in_plain_text_is_refused(
    nursery: trio.Nursery, caplog: pytest.LogCaptureFixture
) -> None:
    async with exporting(nursery, authenticate=tokens({"s3cret": "worker"})) as exporter:
        port = await serve_tcp(nursery, exporter)
        with pytest.raises(AuthenticationError):
            async with open_tcp_importer("127.0.0.1", port, token="s3cret", allow_plain_token=True) as importer:
                await receive_one(importer)
    assert "got a stream that others may read" in audited(caplog)[0][1]


@pytest.mark.parametrize("token", ["", "x" * 1025, 5, b"bytes"])
async def test_what_is_no_token(token: Any) -> None:
    with pytest.raises((ValueError, TypeError), match="token: expected"):
        open_unix_importer("nowhere", token=token)
    with pytest.raises((ValueError, TypeError), match="token: expected"):
        tokens({token: "worker"})


@pytest.mark.promise(79)
async def test_the_token_is_in_no_log(nursery: trio.Nursery, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    seen: list[str] = []

    async def authenticate(credentials: Credentials) -> str | None:
        seen.append(repr(credentials))
        return None

    async with exporting(nursery, authenticate=authenticate) as exporter:
        port = await serve_tcp(nursery, exporter)
        with pytest.raises(AuthenticationError):
            async with open_tcp_importer("127.0.0.1", port, token="s3cret", allow_plain_token=True) as importer:
                seen.append(repr(importer))
                await receive_one(importer)
    assert len(seen) == 2
    assert "s3cret" not in caplog.text + "".join(seen)


# Unix sockets


async def test_the_same_user(nursery: trio.Nursery, tmp_path: Path) -> None:
    shown: list[Credentials] = []
    same = same_user()

    async def authenticate(credentials: Credentials) -> str | None:
        shown.append(credentials)
        return await same(credentials)

    async with exporting(nursery, authenticate=authenticate) as exporter:
        await nursery.start(exporter.serve_unix, tmp_path / "socket")
        async with open_unix_importer(tmp_path / "socket") as importer:
            assert await receive_one(importer) == 0
            assert exporter.statistics().principals == {f"uid {os.geteuid()}": 1}
        [credentials] = shown
        assert credentials.confidential
        assert credentials.unix_user is not None
        assert (credentials.unix_user.pid, credentials.unix_user.gid) == (os.getpid(), os.getegid())


async def test_another_user_is_refused(
    nursery: trio.Nursery, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """The exporter believes that it is somebody else."""
    monkeypatch.setattr(os, "geteuid", lambda: 4711)
    async with exporting(nursery, authenticate=same_user()) as exporter:
        await nursery.start(exporter.serve_unix, tmp_path / "socket")
        with pytest.raises(AuthenticationError):
            async with open_unix_importer(tmp_path / "socket") as importer:
                await receive_one(importer)
        port = await serve_tcp(nursery, exporter)
        with pytest.raises(AuthenticationError):
            async with open_tcp_importer("127.0.0.1", port) as importer:
                await receive_one(importer)
    assert [message.partition(": ")[2] for _, message in audited(caplog)] == [
        f"expected the user uid 4711, got uid {os.getuid()}",
        "expected a unix socket whose user the system tells, got none",
    ]


async def test_any_of(nursery: trio.Nursery, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    async with exporting(nursery, authenticate=any_of(allow_certificates(), tokens({"t": "by token"}))) as exporter:
        await nursery.start(exporter.serve_unix, tmp_path / "socket")
        async with open_unix_importer(tmp_path / "socket", token="t") as importer:
            await receive_one(importer)
            assert exporter.statistics().principals == {"by token": 1}
        with pytest.raises(AuthenticationError):
            async with open_unix_importer(tmp_path / "socket", token="u") as importer:
                await receive_one(importer)
    assert "expected a certificate, got none; expected a token, got a wrong one" in audited(caplog)[-1][1]


# The program's own answers


@pytest.mark.promise(77)
@pytest.mark.parametrize("answer", [None, "", 5, ValueError("a mistake"), AuthenticationError("not today")])
async def test_what_authenticate_may_not_answer(
    nursery: trio.Nursery, caplog: pytest.LogCaptureFixture, answer: Any
) -> None:
    """It refuses that peer, and nothing else happens to the exporter."""
    accepts = False

    async def authenticate(credentials: Credentials) -> Any:
        if accepts:
            return "principal"
        if isinstance(answer, Exception):
            raise answer
        return answer

    async with exporting(nursery, authenticate=authenticate) as exporter:
        port = await serve_tcp(nursery, exporter)
        with pytest.raises(AuthenticationError) as caught:
            async with open_tcp_importer("127.0.0.1", port) as importer:
                await receive_one(importer)
        assert str(caught.value) == ("expected an importer that this exporter knows, got one that it does not accept")
        accepts = True
        async with open_tcp_importer("127.0.0.1", port) as importer:
            assert await receive_one(importer) == 0
    mistakes = [record for record in caplog.records if record.levelno == logging.ERROR]
    assert bool(mistakes) == (answer in (5, "") or isinstance(answer, ValueError))


@pytest.mark.promise(77)
async def test_nothing_is_done_for_an_importer_while_authenticate_is_asked(nursery: trio.Nursery) -> None:
    """Not even for one that has said what it wants already."""
    asked, may_answer = trio.Event(), trio.Event()

    async def authenticate(credentials: Credentials) -> str | None:
        asked.set()
        await may_answer.wait()
        return "principal"

    async with exporting(nursery, authenticate=authenticate) as exporter:
        port = await serve_tcp(nursery, exporter)
        async with open_tcp_importer("127.0.0.1", port) as importer:
            got: list[int] = []

            async def receive() -> None:
                got.append(await receive_one(importer))

            nursery.start_soon(receive)
            await asked.wait()
            await trio.sleep(0.02)
            assert exporter.statistics().channels["numbers"].peers == 0
            assert not got
            may_answer.set()
            await until(lambda: got == [0])


@pytest.mark.promise(77)
async def test_authenticate_that_never_answers(nursery: trio.Nursery, caplog: pytest.LogCaptureFixture) -> None:
    async def authenticate(credentials: Credentials) -> str | None:
        await trio.sleep_forever()
        return "too late"

    limits = Limits(handshake_timeout=0.1, goodbye_timeout=0.1)
    async with exporting(nursery, authenticate=authenticate, limits=limits) as exporter:
        port = await serve_tcp(nursery, exporter)
        with pytest.raises(AuthenticationError, match=r"within 0\.1 s"):
            async with open_tcp_importer("127.0.0.1", port) as importer:
                await receive_one(importer)
        await until(lambda: exporter.statistics().connections == 0)
        assert exporter.statistics().refused == 1
    assert "has not answered in time" in audited(caplog)[0][1]


async def test_the_block_is_left_while_authenticate_is_asked(nursery: trio.Nursery) -> None:
    asked = trio.Event()

    async def authenticate(credentials: Credentials) -> str | None:
        asked.set()
        await trio.sleep_forever()
        return None

    with trio.fail_after(5):
        async with exporting(nursery, authenticate=authenticate, limits=Limits(goodbye_timeout=0.1)) as exporter:
            port = await serve_tcp(nursery, exporter)
            stream = await trio.open_tcp_stream("127.0.0.1", port)
            async with open_importer(stream):
                await asked.wait()
                nursery.cancel_scope.cancel()


# What they may bind

ALLOWED: dict[str, dict[str, Direction | None]] = {
    "worker": {"numbers": Direction.SEND, "results": Direction.RECEIVE},
    "admin*": {"*": None},
    "nobody": {},
}


async def ask(importer: Importer, name: str, direction: Direction) -> type[NetchanError] | None:
    """What comes of it; seen from the exporter, as `authorize` sees it."""
    try:
        if direction is Direction.SEND:
            async with await importer.open_receive_channel(name, int):
                return None
        async with await importer.open_send_channel(name, int):
            return None
    except NetchanError as error:
        return type(error)


EXPECTED: dict[tuple[str, str, Direction], type[NetchanError] | None] = {
    ("worker", "numbers", Direction.SEND): None,
    ("worker", "numbers", Direction.RECEIVE): PermissionDeniedError,
    ("worker", "results", Direction.SEND): PermissionDeniedError,
    ("worker", "results", Direction.RECEIVE): None,
    ("worker", "secret", Direction.SEND): PermissionDeniedError,
    ("worker", "secret", Direction.RECEIVE): PermissionDeniedError,
    ("worker", "unknown", Direction.SEND): PermissionDeniedError,
    ("worker", "unknown", Direction.RECEIVE): PermissionDeniedError,
    ("admin-1", "numbers", Direction.SEND): None,
    ("admin-1", "results", Direction.RECEIVE): None,
    ("admin-1", "secret", Direction.SEND): None,
    ("admin-1", "unknown", Direction.SEND): NoSuchChannelError,
    ("admin-1", "unknown", Direction.RECEIVE): NoSuchChannelError,
    **{
        ("nobody", name, direction): PermissionDeniedError
        for name in ("numbers", "results", "secret", "unknown")
        for direction in Direction
    },
}


@pytest.mark.promise(78)
@pytest.mark.parametrize(("principal", "name", "direction"), EXPECTED)
async def test_each_principal_name_and_direction(
    nursery: trio.Nursery, tmp_path: Path, principal: str, name: str, direction: Direction
) -> None:
    authenticate = tokens({each: each for each in ("worker", "admin-1", "nobody")})
    async with exporting(nursery, authenticate=authenticate, authorize=name_patterns(ALLOWED)) as exporter:
        exporter.open_send_channel("secret", int)
        exporter.open_receive_channel("results", int, importers=None)
        await nursery.start(exporter.serve_unix, tmp_path / "socket")
        expected = EXPECTED[principal, name, direction]
        async with open_unix_importer(tmp_path / "socket", token=principal) as importer:
            assert await ask(importer, name, direction) is expected
            assert exporter.statistics().denied == (expected is PermissionDeniedError)


@pytest.mark.promise(78)
async def test_a_forbidden_name_and_an_unknown_one_look_alike(nursery: trio.Nursery, tmp_path: Path) -> None:
    async with exporting(nursery, authorize=name_patterns({"*": {"public": None}})) as exporter:
        await nursery.start(exporter.serve_unix, tmp_path / "socket")
        said: list[str] = []
        async with open_unix_importer(tmp_path / "socket") as importer:
            for name in "numbers", "nothing":
                with pytest.raises(PermissionDeniedError) as caught:
                    await importer.open_receive_channel(name, str)
                assert caught.value.channel == name
                said.append(str(caught.value).replace(name, "NAME"))
        assert said[0] == said[1]


@pytest.mark.promise(81)
async def test_decisions_are_audited(nursery: trio.Nursery, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, AUDIT)
    authorize = name_patterns({"worker": {"numbers": Direction.SEND}})
    async with exporting(nursery, authenticate=tokens({"t": "worker"}), authorize=authorize) as exporter:
        await nursery.start(exporter.serve_unix, tmp_path / "socket")
        async with open_unix_importer(tmp_path / "socket", token="t") as importer:
            await receive_one(importer)
            for name in "results", "numbers\N{SNOWMAN}'":
                with pytest.raises(PermissionDeniedError):
                    await importer.open_send_channel(name, int)
    assert audited(caplog) == [
        (logging.INFO, "accepted a unix socket as 'worker'"),
        (logging.INFO, "allowed 'worker' to receive from 'numbers'"),
        (logging.WARNING, "denied 'worker' to send into 'results'"),
        (logging.WARNING, "denied 'worker' to send into \"numbers\N{SNOWMAN}'\""),
    ]


@pytest.mark.parametrize("answer", [None, 0, 1, "yes", ValueError("a mistake")])
async def test_only_true_allows(nursery: trio.Nursery, answer: Any) -> None:
    async def authorize(principal: str, name: str, direction: Direction) -> Any:
        if isinstance(answer, Exception):
            raise answer
        return answer

    async with exporting(nursery, authorize=authorize) as exporter:
        port = await serve_tcp(nursery, exporter)
        async with open_tcp_importer("127.0.0.1", port) as importer:
            with pytest.raises(PermissionDeniedError):
                await receive_one(importer)


class Slow:
    """An `authorize` that answers when told."""

    def __init__(self) -> None:
        self.asked: list[str] = []
        self.answers = {name: trio.Event() for name in ("numbers", "others")}

    async def __call__(self, principal: str, name: str, direction: Direction) -> bool:
        self.asked.append(name)
        await self.answers[name].wait()
        return True


@pytest.mark.promise(78)
async def test_other_channels_go_on_while_authorize_is_asked(nursery: trio.Nursery) -> None:
    slow = Slow()
    async with exporting(nursery, authorize=slow) as exporter:
        others = exporter.open_receive_channel("others", int)
        port = await serve_tcp(nursery, exporter)
        async with open_tcp_importer("127.0.0.1", port) as importer, trio.open_nursery() as asking:
            slow.answers["others"].set()
            sender = await importer.open_send_channel("others", int)
            asking.start_soon(receive_one, importer)
            await until(lambda: "numbers" in slow.asked)
            for number in range(5):
                await sender.send(number)
                assert await others.receive() == number
            slow.answers["numbers"].set()


@pytest.mark.promise(78)
async def test_an_import_that_is_cancelled_while_authorize_is_asked(nursery: trio.Nursery) -> None:
    """It leaves no trace, and the answer comes to nothing."""
    slow = Slow()
    async with exporting(nursery, authorize=slow) as exporter:
        port = await serve_tcp(nursery, exporter)
        async with open_tcp_importer("127.0.0.1", port) as importer:
            with trio.CancelScope() as scope:
                nursery.start_soon(_cancel_when, lambda: bool(slow.asked), scope)
                await importer.open_receive_channel("numbers", int)
            assert scope.cancelled_caught
            slow.answers["numbers"].set()
            assert await receive_one(importer) == 0
            assert slow.asked == ["numbers", "numbers"]


async def _cancel_when(condition: Any, scope: trio.CancelScope) -> None:
    await until(condition)
    scope.cancel()


async def test_the_channel_is_gone_when_authorize_answers(nursery: trio.Nursery) -> None:
    slow = Slow()
    async with exporting(nursery, authorize=slow) as exporter:
        port = await serve_tcp(nursery, exporter)
        async with open_tcp_importer("127.0.0.1", port) as importer:

            async def hang_up() -> None:
                await until(lambda: bool(slow.asked))
                exporter.hangup("numbers")
                slow.answers["numbers"].set()

            nursery.start_soon(hang_up)
            with pytest.raises(NoSuchChannelError):
                await importer.open_receive_channel("numbers", int)


async def test_authorize_that_never_answers(nursery: trio.Nursery, caplog: pytest.LogCaptureFixture) -> None:
    async def authorize(principal: str, name: str, direction: Direction) -> bool:
        await trio.sleep_forever()
        return True

    async with exporting(nursery, authorize=authorize, limits=Limits(handshake_timeout=0.2)) as exporter:
        port = await serve_tcp(nursery, exporter)
        async with open_tcp_importer("127.0.0.1", port) as importer:
            with pytest.raises(PermissionDeniedError):
                await receive_one(importer)
    assert "`authorize` has not answered within 0.2 s" in caplog.text


async def test_many_imports_wait_for_authorize(nursery: trio.Nursery) -> None:
    """Some are asked about at a time; what waits is bounded in bytes; each gets its answer."""
    most = 0
    now = 0

    async def authorize(principal: str, name: str, direction: Direction) -> bool:
        nonlocal most, now
        now += 1
        most = max(most, now)
        await until(lambda: "max_answer_bytes" in exporter.statistics().limits)
        now -= 1
        return True

    limits = Limits(max_answer_bytes=64 * 2**10, max_refusals=1000)
    async with open_exporter(authorize=authorize, limits=limits) as exporter:
        names = [f"{number:0200}" for number in range(170)]
        for name in names:
            exporter.open_send_channel(name, int)
        port = await serve_tcp(nursery, exporter)
        outcomes: list[type[NetchanError] | None] = []
        async with open_tcp_importer("127.0.0.1", port) as importer, trio.open_nursery() as inner:

            async def one(name: str) -> None:
                outcomes.append(await ask(importer, name, Direction.SEND))

            for name in names:
                inner.start_soon(one, name)
        assert most == 8
        assert outcomes.count(None) >= 64 * 2**10 // 500
        assert {*outcomes} == {None, LimitError}
        assert exporter.statistics().limits["max_answer_bytes"] == outcomes.count(LimitError)


# What is served without


@pytest.mark.promise(82)
@pytest.mark.parametrize(
    ("host", "tls", "knows", "missing"),
    [
        ("127.0.0.1", False, False, None),
        ("localhost", False, False, None),
        ("::1", False, False, None),
        ("0.0.0.0", False, False, "without TLS (`ssl_context=`) and without authentication"),
        ("0.0.0.0", True, False, "without authentication"),
        ("0.0.0.0", False, True, "without TLS"),
        ("0.0.0.0", True, True, None),
    ],
)
async def test_an_open_door_is_told(
    nursery: trio.Nursery,
    authority: Authority,
    caplog: pytest.LogCaptureFixture,
    host: str,
    tls: bool,
    knows: bool,
    missing: str | None,
) -> None:
    authenticate = tokens({"t": "worker"}) if knows else None
    context = authority.server(clients="none") if tls else None
    async with open_exporter(authenticate=authenticate) as exporter:
        try:
            await serve_tcp(nursery, exporter, host=host, ssl_context=context)
        except OSError:
            pytest.skip("there is no IPv6 here")
    assert [missing in record.getMessage() for record in caplog.records if missing] == [True] * bool(missing)
    assert len(caplog.records) == bool(missing)


async def test_certificates_that_tls_requires_are_authentication(
    nursery: trio.Nursery, authority: Authority, caplog: pytest.LogCaptureFixture
) -> None:
    async with open_exporter() as exporter:
        await serve_tcp(nursery, exporter, host="0.0.0.0", ssl_context=authority.server())
    assert not caplog.records


def test_types() -> None:
    authorize: Authorize = name_patterns({"*": {"*": None}})
    assert callable(authorize)


# Sessions


@pytest.mark.promise(80)
async def test_a_session_resumes_with_a_renewed_certificate_of_the_same_principal(
    nursery: trio.Nursery, authority: Authority
) -> None:
    certificates = {"now": authority.client("worker.example")}
    connections: list[trio.SSLStream[trio.SocketStream]] = []
    async with exporting(nursery, authenticate=allow_certificates("*.example")) as exporter:
        port = await serve_tcp(nursery, exporter, ssl_context=authority.server())

        async def connect() -> trio.abc.Stream:
            stream = await trio.open_ssl_over_tcp_stream("localhost", port, ssl_context=certificates["now"])
            connections.append(stream)
            return stream

        async with open_importer(connect) as importer:
            numbers = await importer.open_receive_channel("numbers", int, window=1)
            assert await numbers.receive() == 0
            certificates["now"] = authority.client("worker.example")
            await connections[0].transport_stream.aclose()
            assert [await numbers.receive() for _ in range(5)] == [1, 2, 3, 4, 5]
            assert exporter.statistics().resumed == 1
            assert exporter.statistics().principals == {"worker.example": 1}


@pytest.mark.promise(80)
async def test_a_session_does_not_resume_for_another_principal(nursery: trio.Nursery, authority: Authority) -> None:
    """Who has its id and its secret, and is somebody else."""
    certificates = {"now": authority.client("worker.example")}
    connections: list[trio.SSLStream[trio.SocketStream]] = []
    limits = Limits(resume_timeout=2)
    async with exporting(nursery, authenticate=allow_certificates("*.example"), limits=limits) as exporter:
        port = await serve_tcp(nursery, exporter, ssl_context=authority.server())

        async def connect() -> trio.abc.Stream:
            stream = await trio.open_ssl_over_tcp_stream("localhost", port, ssl_context=certificates["now"])
            connections.append(stream)
            return stream

        with pytest.raises(SessionLostError):
            async with open_importer(connect) as importer:
                numbers = await importer.open_receive_channel("numbers", int, window=1)
                assert await numbers.receive() == 0
                certificates["now"] = authority.client("other.example")
                await connections[0].transport_stream.aclose()
                await trio.sleep_forever()
        assert exporter.statistics().resumed == 0
        assert exporter.statistics().suspended == 1  # it waits for its own principal as long as ever
