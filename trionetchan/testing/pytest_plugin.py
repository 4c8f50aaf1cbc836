"""Fixtures for pytest: an exporter, and importers that are connected to it in memory.

It is loaded by whoever names it, in the `conftest.py` at the top of the tests:

    pytest_plugins = ["trionetchan.testing.pytest_plugin"]

or by `pytest -p trionetchan.testing.pytest_plugin`. The fixtures are for tests that run on trio, by pytest-trio or by
anyio's plugin. A fixture of the same name in your `conftest.py` comes first: so `netchan_limits` says what is not to
be the default.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator

import pytest

from trionetchan import Exporter, Importer, Limits, open_exporter, open_importer

from ._network import Network, open_network

__all__ = ["netchan_exporter", "netchan_importer", "netchan_limits", "netchan_network"]


@pytest.fixture
def netchan_limits() -> Limits:
    """The limits of the exporter and of the importer: the defaults."""
    return Limits()


@pytest.fixture
async def netchan_network() -> AsyncGenerator[Network]:
    """A network in memory: `open_network()`. It leads to `netchan_exporter`, if the test uses that."""
    async with open_network() as network:
        yield network


@pytest.fixture
async def netchan_exporter(netchan_network: Network, netchan_limits: Limits) -> AsyncGenerator[Exporter]:
    """An exporter, at the other end of `netchan_network`."""
    async with open_exporter(limits=netchan_limits) as exporter:
        netchan_network.exporter = exporter
        yield exporter


@pytest.fixture
async def netchan_importer(
    netchan_exporter: Exporter,  # noqa: ARG001  # the network leads to it
    netchan_network: Network,
    netchan_limits: Limits,
) -> AsyncGenerator[Importer]:
    """An importer that is connected to `netchan_exporter` by `netchan_network`, and connects again when that breaks."""
    async with open_importer(netchan_network.connect, limits=netchan_limits) as importer:
        yield importer
