"""Other engines than one server: a cluster, and a primary whose replica is promoted."""

from __future__ import annotations

import subprocess
from collections.abc import Generator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import pytest
import trio
from redis_servers import CLI, RedisServer, free_port, redis_server
from support import child_environment, put, take_all

from trionetchan import Limits
from trionetchan.redis import open_redis_exporter, open_redis_importer

CHANNELS = 6
AT_ONCE = ("--repl-diskless-sync-delay", "0")  # a replica need not wait for others to come


@contextmanager
def cluster() -> Generator[list[RedisServer]]:
    """Three primaries that share the slots."""
    with ExitStack() as stack:
        servers = [
            stack.enter_context(
                redis_server("--cluster-enabled", "yes", "--cluster-port", str(free_port()), port=free_port())
            )
            for _ in range(3)
        ]
        assert CLI is not None
        nodes = [f"127.0.0.1:{server.port}" for server in servers]
        with child_environment() as environment:
            command = [CLI, "--cluster", "create", *nodes, "--cluster-yes"]
            subprocess.run(command, check=True, capture_output=True, env=environment)
        yield servers


@pytest.mark.bounded(60)
async def test_cluster_of_three_primaries(nursery: trio.Nursery) -> None:
    with cluster() as servers:
        url = "redis+cluster://" + ",".join(f"127.0.0.1:{server.port}" for server in servers)
        async with open_redis_exporter(url) as exporter, open_redis_importer(url) as importer:
            names = [f"numbers {number}" for number in range(CHANNELS)]
            sends = {name: exporter.open_send_channel(name, int) for name in names}
            await exporter.sync()
            got: dict[str, list[int]] = {}

            async def receive(name: str) -> None:
                got[name] = await take_all(await importer.open_receive_channel(name, int))

            async with trio.open_nursery() as receivers:
                for name in names:
                    receivers.start_soon(receive, name)
                await trio.sleep(0.3)  # they are hungry: a wake-up must find them, whatever node they listen on
                for name in names:
                    nursery.start_soon(put, sends[name], range(300))
            assert got == {name: [*range(300)] for name in names}
            await exporter.drain()
            used = [int(server.tell("dbsize")) for server in servers]
            assert sum(used) >= CHANNELS
            assert sum(1 for each in used if each) > 1  # the channels are spread over nodes


class Primary:
    """A primary, a replica, and a sentinel that promotes the replica when the primary is gone."""

    def __init__(self, stack: ExitStack) -> None:
        self.primary = stack.enter_context(redis_server(*AT_ONCE, "--appendonly", "yes", port=free_port()))
        follows = ("--replicaof", "127.0.0.1", str(self.primary.port))
        self.replica = stack.enter_context(redis_server(*follows, port=free_port()))
        self.sentinel_port = free_port()
        folder = Path(stack.enter_context(_folder(self.primary)))
        (folder / "sentinel.conf").write_text(
            f"port {self.sentinel_port}\n"
            f"sentinel monitor jobs 127.0.0.1 {self.primary.port} 1\n"
            "sentinel down-after-milliseconds jobs 500\n"
            "sentinel failover-timeout jobs 3000\n"
        )
        self.sentinel = stack.enter_context(
            redis_server(str(folder / "sentinel.conf"), "--sentinel", port=self.sentinel_port, sentinel=True)
        )

    def replica_has_all(self) -> bool:
        """Whether the replica has what the primary has written, and listens to it."""
        primary, replica = (_facts(each.tell("info", "replication")) for each in (self.primary, self.replica))
        if replica.get("master_link_status") != "up" or replica.get("master_sync_in_progress") != "0":
            return False
        return primary["master_repl_offset"] == replica["slave_repl_offset"]

    @property
    def url(self) -> str:
        return f"redis+sentinel://127.0.0.1:{self.sentinel_port}/jobs"


def _facts(info: str) -> dict[str, str]:
    return {name: value for name, _, value in (line.strip().partition(":") for line in info.splitlines())}


@contextmanager
def _folder(server: RedisServer) -> Generator[str]:
    folder = server.folder / "sentinel"
    folder.mkdir()
    yield str(folder)


@pytest.mark.bounded(90)
async def test_replica_that_is_promoted_is_a_pause() -> None:
    with ExitStack() as stack:
        servers = await trio.to_thread.run_sync(Primary, stack)
        while "state=online" not in servers.primary.tell("info", "replication"):  # noqa: ASYNC110
            await trio.sleep(0.1)
        options: dict[str, Any] = {"limits": Limits(resume_timeout=60)}
        async with (
            open_redis_exporter(servers.url, **options) as exporter,
            open_redis_importer(servers.url, **options) as importer,
        ):
            send = exporter.open_send_channel("numbers", int)
            await exporter.sync()
            receive = await importer.open_receive_channel("numbers", int)
            promoted = False

            async def produce() -> None:
                number = 0
                async with send:
                    while not promoted:
                        await send.send(number)
                        number += 1
                        await trio.sleep(0.002)

            async def promote() -> None:
                nonlocal promoted
                await trio.sleep(0.5)
                # What was written before is waited for; what is not confirmed then is sent again to the next primary.
                servers.primary.tell("client", "pause", "5000", "write")
                while not servers.replica_has_all():  # noqa: ASYNC110
                    await trio.sleep(0.02)
                servers.primary.kill()
                while "role:master" not in servers.replica.tell("info", "replication"):  # noqa: ASYNC110
                    await trio.sleep(0.1)
                await trio.sleep(1)
                promoted = True

            async with trio.open_nursery() as nursery:
                nursery.start_soon(produce)
                nursery.start_soon(promote)
                got = await take_all(receive)
            assert got == [*range(len(got))]
            assert exporter.statistics().channels["numbers"].sent == len(got)
            assert len(got) > 20


async def test_values_wait_for_replicas_where_they_are_asked_for() -> None:
    with redis_server(*AT_ONCE, port=(port := free_port())) as primary:
        async with open_redis_exporter(primary.url, replicas=1) as exporter:
            send = exporter.open_send_channel("numbers", int, max_buffer_size=1)
            with pytest.raises(trio.TooSlowError):
                await exporter.sync(timeout=0.5)  # there is none
            with redis_server("--replicaof", "127.0.0.1", str(port)):
                await send.send(1)
                with trio.fail_after(8):
                    while not exporter.statistics().channels["numbers"].acknowledged:  # noqa: ASYNC110
                        await trio.sleep(0.05)
