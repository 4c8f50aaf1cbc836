"""The engines that the suite runs on."""

from __future__ import annotations

from collections.abc import Generator

import pytest
from places import Listening, OnRedis, Place
from redis_servers import RedisServer, redis_server


@pytest.fixture(scope="session")
def server() -> Generator[RedisServer]:
    with redis_server() as running:
        yield running


@pytest.fixture(params=["listening", "redis"])
def place(request: pytest.FixtureRequest) -> Place:
    if request.param == "listening":
        return Listening()
    pytest.importorskip("coredis")
    return OnRedis(request.getfixturevalue("server"))
