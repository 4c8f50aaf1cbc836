"""Who may do what: TLS and access control lists of the engine."""

from __future__ import annotations

import re
import shlex
import ssl
from pathlib import Path

import pytest
import trio
import trustme
from redis_servers import free_port, redis_server
from support import put, take, take_all

from trionetchan import Limits, NetchanError
from trionetchan.redis import open_redis_exporter, open_redis_importer

PAGE = Path(__file__).parents[2] / "docs" / "redis.md"


def rights_of_the_page() -> list[str]:
    """The rules that docs/redis.md gives a worker."""
    found = re.search(r"^ACL SETUSER worker (.*?)^```", PAGE.read_text(encoding="utf-8"), re.MULTILINE | re.DOTALL)
    assert found is not None
    return shlex.split(found[1].replace("\\\n", " "))


async def use_all_of_it(url: str, ssl_context: ssl.SSLContext | None = None) -> None:
    """Values both ways, acknowledged by the library and the program, rejected, dead, hung up, drained."""
    letters, dead = trio.open_memory_channel[int](10)
    async with (
        open_redis_exporter(url, ssl_context=ssl_context, limits=Limits(max_redeliveries=1)) as exporter,
        open_redis_importer(url, ssl_context=ssl_context) as importer,
    ):
        jobs = exporter.open_send_channel("jobs", int, max_buffer_size=10, dead_letters=letters)
        results = exporter.open_receive_channel("results", int, max_buffer_size=10)
        await exporter.sync()
        await put(await importer.open_send_channel("results", int), [1, 2])
        assert await take_all(results) == [1, 2]
        deliveries = await importer.open_receive_channel("jobs", int, acknowledge="manual")
        await jobs.send(3)
        for _ in range(2):
            await (await deliveries.receive()).reject()
        assert await dead.receive() == 3
        importer.hangup("jobs")
        await put(jobs, [4, 5])
        assert await take_all(await importer.open_receive_channel("jobs", int)) == [4, 5]
        await exporter.drain()
        exporter.hangup("jobs")
        await exporter.sync()


@pytest.mark.bounded(20)
async def test_worker_with_the_rights_of_the_page_can_do_all_and_nothing_else() -> None:
    with redis_server(port=(port := free_port())) as server:
        assert server.tell("acl", "setuser", "worker", *rights_of_the_page()) == "OK"
        url = f"redis://worker:the%20password@127.0.0.1:{port}"
        await use_all_of_it(url)
        with pytest.raises(PermissionError, match="expected an engine that answers"):
            async with open_redis_exporter(url, namespace="elsewhere"):
                raise AssertionError
        assert server.tell("acl", "setuser", "worker", "resetkeys", "~something:*") == "OK"
        with pytest.raises(NetchanError, match=r"jobs: expected the engine to do it, got: .*ermission"):
            async with open_redis_exporter(url) as exporter:
                exporter.open_send_channel("jobs", int)
                await trio.sleep_forever()


async def test_wrong_password_is_refused_at_once() -> None:
    with redis_server("--requirepass", "right", port=(port := free_port())):
        with pytest.raises(PermissionError, match="expected an engine that answers"):
            async with open_redis_exporter(f"redis://:wrong@127.0.0.1:{port}"):
                raise AssertionError
        async with open_redis_exporter(f"redis://:right@127.0.0.1:{port}"):
            pass


@pytest.mark.bounded(20)
async def test_tls(tmp_path: Path) -> None:
    authority = trustme.CA()
    authority.cert_pem.write_to_path(tmp_path / "ca.pem")
    authority.issue_cert("localhost").private_key_and_cert_chain_pem.write_to_path(tmp_path / "server.pem")
    files = [("cert-file", "server.pem"), ("key-file", "server.pem"), ("ca-cert-file", "ca.pem")]
    options = [each for option, file in files for each in (f"--tls-{option}", str(tmp_path / file))]
    port = free_port()
    with redis_server("--tls-port", str(port), "--tls-auth-clients", "yes", *options):
        context = ssl.create_default_context()
        authority.configure_trust(context)  # pyright: ignore[reportUnknownMemberType]
        authority.issue_cert("worker@example.org").configure_cert(context)  # pyright: ignore[reportUnknownMemberType]
        await use_all_of_it(f"rediss://localhost:{port}", context)
        strange = ssl.create_default_context()
        trustme.CA().configure_trust(strange)  # pyright: ignore[reportUnknownMemberType]
        with pytest.raises(OSError, match="expected an engine that answers"):
            async with open_redis_exporter(f"rediss://localhost:{port}", ssl_context=strange):
                raise AssertionError
    with pytest.raises(ValueError, match="ssl_context with rediss"):
        async with open_redis_exporter("redis://localhost", ssl_context=context):
            raise AssertionError


async def test_what_is_taken_is_what_was_sent(tmp_path: Path) -> None:
    with redis_server() as server:
        for name in ("jobs {1}", "}", "100%", "jobs:é"):  # the hash tag and the keys take any name
            async with open_redis_exporter(server.url) as exporter, open_redis_importer(server.url) as importer:
                send = exporter.open_send_channel(name, int, max_buffer_size=3)
                await exporter.sync()
                receive = await importer.open_receive_channel(name, int)
                await send.send(1)
                assert await take(receive, 1) == [1]
