"""The fixtures work with pytest-trio and with anyio's plugin, for those who name them and for nobody else."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from support import child_environment

PLUGIN = 'pytest_plugins = ["trionetchan.testing.pytest_plugin"]\n'
TESTS = """
import pytest
import trio
from trionetchan import Limits, SessionLostError

pytestmark = pytest.mark.{mark}


@pytest.fixture
def anyio_backend():
    return "trio"


async def test_values_survive_a_cut(netchan_exporter, netchan_importer, netchan_network{clock}):
    numbers = netchan_exporter.open_send_channel("numbers", int, max_buffer_size=3)
    received = await netchan_importer.open_receive_channel("numbers", int)
    for number in range(3):
        await numbers.send(number)
    assert await received.receive() == 0
    netchan_network.cut()
    await trio.sleep({pause})
    assert [await received.receive() for _ in range(2)] == [1, 2]
    assert netchan_network.attempts == 2


class TestLimits:
    @pytest.fixture
    def netchan_limits(self):
        return Limits(max_value_size=1234)

    async def test_limits(self, netchan_exporter, netchan_importer):
        assert netchan_importer._limits.max_value_size == netchan_exporter._limits.max_value_size == 1234


async def test_fails(netchan_exporter, netchan_importer):
    raise KeyError("mine")
"""


def run_pytest(directory: Path, *arguments: str) -> str:
    with child_environment() as env:
        command = [sys.executable, "-m", "pytest", "-q", "-W", "error", "-p", "no:cacheprovider", *arguments]
        return subprocess.run(
            command, cwd=directory, env=env, capture_output=True, encoding="utf-8", check=False
        ).stdout


def write(directory: Path, mark: str, clock: str, pause: float) -> None:
    (directory / "conftest.py").write_text(PLUGIN)
    (directory / "test_it.py").write_text(TESTS.format(mark=mark, clock=clock, pause=pause))


def test_with_pytest_trio(tmp_path: Path) -> None:
    write(tmp_path, "trio", ", autojump_clock", 20)
    output = run_pytest(tmp_path)
    assert "2 passed" in output, output
    assert "1 failed" in output
    assert "KeyError: 'mine'" in output


def test_with_anyio(tmp_path: Path) -> None:
    write(tmp_path, "anyio", "", 0.01)
    output = run_pytest(tmp_path, "-p", "no:trio")
    assert "2 passed" in output, output
    assert "1 failed" in output
    assert "KeyError: 'mine'" in output


def test_nobody_has_them_who_did_not_ask(tmp_path: Path) -> None:
    (tmp_path / "test_it.py").write_text(
        "import sys\n\ndef test_it(request):\n    assert 'trionetchan' not in sys.modules\n"
    )
    assert "1 passed" in run_pytest(tmp_path)
    assert "netchan_exporter" not in run_pytest(tmp_path, "--fixtures")
    assert "netchan_exporter" in run_pytest(tmp_path, "--fixtures", "-p", "trionetchan.testing.pytest_plugin")
