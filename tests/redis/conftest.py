"""A server for the tests that do not harm it, and a namespace of its own for each test."""

from __future__ import annotations

import itertools
from collections.abc import Generator

import pytest
from redis_servers import RedisServer, redis_server

pytest.importorskip("coredis", reason="the extra `redis` is not installed")

_numbers = itertools.count()


@pytest.fixture(scope="session")
def server() -> Generator[RedisServer]:
    with redis_server() as running:
        yield running


@pytest.fixture
def namespace() -> str:
    return f"test{next(_numbers)}"
