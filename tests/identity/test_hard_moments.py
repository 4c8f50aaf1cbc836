"""Identity at odd moments: peers that go, programs that are slow or raise, exporters that leave or stop meanwhile."""

from __future__ import annotations

from typing import Any

import pytest
import trio
from support import serve_tcp

from trionetchan import (
    Authenticate,
    AuthenticationError,
    Credentials,
    Direction,
    Limits,
    PermissionDeniedError,
    any_of,
    open_exporter,
    open_tcp_importer,
)

HOST = "127.0.0.1"
NOT_ACCEPTED = "expected an importer that this exporter knows, got one that it does not accept"


# Programs that refuse without a word


async def refuses_by_none(credentials: Credentials) -> str | None:
    return None


async def refuses_without_a_word(credentials: Credentials) -> str | None:
    raise AuthenticationError("")


@pytest.mark.parametrize(
    "authenticate",
    [refuses_without_a_word, any_of(refuses_by_none), any_of(refuses_without_a_word, refuses_by_none), any_of()],
)
async def test_who_is_refused_without_a_word_is_refused(
    nursery: trio.Nursery, caplog: pytest.LogCaptureFixture, authenticate: Authenticate
) -> None:
    async with open_exporter(authenticate=authenticate) as exporter:
        exporter.open_send_channel("numbers", int)
        port = await serve_tcp(nursery, exporter)
        with pytest.raises(AuthenticationError, match=NOT_ACCEPTED):
            async with open_tcp_importer(HOST, port) as importer:
                await importer.open_receive_channel("numbers", int)
        assert exporter.statistics().refused == 1
        assert exporter.statistics().principals == {}
    [line] = [record.getMessage() for record in caplog.records if record.name == "trionetchan.audit"]
    assert line.startswith("refused ")
    assert not line.endswith(": ")


# Programs that raise while they are cancelled


async def fails_to_clean_up() -> None:
    """As with a database that does not answer, and whose connection cannot be closed then."""
    async with trio.open_nursery() as nursery:
        nursery.start_soon(trio.sleep_forever)
        try:
            await trio.sleep_forever()
        finally:
            raise ValueError("from the program")


async def test_authorize_that_raises_when_its_time_is_over(
    nursery: trio.Nursery, caplog: pytest.LogCaptureFixture
) -> None:
    async def authorize(principal: str, name: str, direction: Direction) -> bool:
        await fails_to_clean_up()
        return True

    async with open_exporter(authorize=authorize, limits=Limits(handshake_timeout=0.1)) as exporter:
        exporter.open_send_channel("numbers", int)
        port = await serve_tcp(nursery, exporter)
        async with open_tcp_importer(HOST, port) as importer:
            for _ in range(2):
                with pytest.raises(PermissionDeniedError):
                    await importer.open_receive_channel("numbers", int)
    assert any("`authorize` raised" in record.getMessage() for record in caplog.records)


@pytest.mark.parametrize("asks", ["authenticate", "authorize"])
async def test_the_block_is_left_while_a_program_that_raises_is_asked(
    nursery: trio.Nursery, caplog: pytest.LogCaptureFixture, asks: str
) -> None:
    """Whatever it raises when it is cancelled: nothing of it leaves the exporter's block."""
    asked = trio.Event()

    async def ask(*_: object) -> Any:
        asked.set()
        await fails_to_clean_up()

    answers: dict[str, Any] = {asks: ask}
    async with open_exporter(limits=Limits(goodbye_timeout=0.1), **answers) as exporter:
        exporter.open_send_channel("numbers", int)
        port = await serve_tcp(nursery, exporter)

        async def imports() -> None:
            with pytest.raises(Exception):  # noqa: B017, PT011 how it hears of it is not the point
                async with open_tcp_importer(HOST, port) as importer:
                    await importer.open_receive_channel("numbers", int)

        nursery.start_soon(imports)
        await asked.wait()
    assert any(f"`{asks}` raised" in record.getMessage() for record in caplog.records)


# Many at once


@pytest.mark.parametrize("count", [9, 10, 20])
async def test_more_imports_at_once_than_are_asked_about_at_once(nursery: trio.Nursery, count: int) -> None:
    async def authorize(principal: str, name: str, direction: Direction) -> bool:
        return False

    async with open_exporter(authorize=authorize, limits=Limits(max_refusals=100)) as exporter:
        port = await serve_tcp(nursery, exporter)
        denied: list[str] = []

        async def imports(name: str) -> None:
            with pytest.raises(PermissionDeniedError):
                await importer.open_receive_channel(name, int)
            denied.append(name)

        async with open_tcp_importer(HOST, port) as importer, trio.open_nursery() as imports_all:
            for number in range(count):
                imports_all.start_soon(imports, str(number))
        assert len(denied) == count == exporter.statistics().denied
