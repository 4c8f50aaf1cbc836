"""The tutorial: its programs do what it says. Only the port is another one, and the hard work is less hard."""

from __future__ import annotations

import re
import signal
import socket
from pathlib import Path

import pytest
from programs import Program, running
from support import until

PAGE = (Path(__file__).parent.parent / "docs" / "tutorial.md").read_text(encoding="utf-8")
STEPS = re.split(r"^## \d\. ", PAGE, flags=re.MULTILINE)
SAYS_WHEN_AT_REST = "testing.wait_all_tasks_blocked(0.1); print('at rest', flush=True); await trio.sleep_forever()"
LOOPBACK = "127.0.0.1"

pytestmark = pytest.mark.bounded(60)


def blocks(step: int, language: str) -> list[str]:
    """The code blocks of a language in a step."""
    return re.findall(rf"^```{language}\n(.*?)^```$", STEPS[step], re.MULTILINE | re.DOTALL)


@pytest.fixture
def port() -> int:
    """A port that is free."""
    with socket.socket() as probe:
        probe.bind((LOOPBACK, 0))
        return int(probe.getsockname()[1])


def write(directory: Path, step: int, port: int) -> dict[str, Path]:
    """Writes the files of the tutorial as they are after this step; returns the programs by name."""
    for number in range(1, step + 1):
        for block in blocks(number, "python"):
            name = re.findall(r"\A# (\w+\.py)$", block, re.MULTILINE)[0]
            text = block.replace("9000", str(port)).replace("sleep(1)", "sleep(0.001)")
            (directory / name).write_text(text.replace("resume_timeout=2", "resume_timeout=0.2"), encoding="utf-8")
    return {path.stem: path for path in directory.glob("*.py")}


def stuck(worker: Path, work: str = "sleep_forever()") -> Path:
    """A worker that is never done with its first job."""
    path = worker.with_name("stuck.py")
    path.write_text(worker.read_text(encoding="utf-8").replace("sleep(0.001)", work), encoding="utf-8")
    return path


async def serves(server: Program, port: int) -> None:
    await until(lambda: server.output.startswith(f"serving at port {port}\n"))


def squares(server: Program) -> list[int]:
    """The numbers whose squares it printed, as they are printed."""
    found = re.findall(r"^(\d+) squared is (\d+), says worker \d+$", server.output, re.MULTILINE)
    assert all(int(square) == int(number) ** 2 for number, square in found)
    return [int(number) for number, _ in found]


def test_each_block_is_a_file() -> None:
    assert len(STEPS) == 6
    assert all(block.startswith("# ") for step in range(6) for block in blocks(step, "python"))


async def test_one_process(tmp_path: Path, port: int) -> None:
    async with running(write(tmp_path, 1, port)["local"]) as program:
        pass
    assert program.output == blocks(1, "text")[0]


async def test_two_processes(tmp_path: Path, port: int) -> None:
    files = write(tmp_path, 2, port)
    async with running(files["server"]) as server:
        await serves(server, port)
        files["worker"].write_text(files["worker"].read_text().replace(", int)", ", str)"))
        async with running(files["worker"]) as mistaken:
            pass
        assert "TypeMismatchError: numbers: text here, int there" in mistaken.errors
        async with running(write(tmp_path, 2, port)["worker"]) as worker:
            pass
    assert worker.output == blocks(1, "text")[0]
    assert (server.process.returncode, worker.process.returncode) == (0, 0)
    assert server.errors + worker.errors == ""


async def test_several_workers(tmp_path: Path, port: int) -> None:
    files = write(tmp_path, 3, port)
    async with running(files["server"]) as server:
        await serves(server, port)
        async with running(files["worker"]), running(files["worker"]):
            pass  # one of them may have done it all before the other has come
    assert sorted(squares(server)) == [*range(20)]
    assert server.output.endswith("\ndone\n")
    assert server.errors == ""


async def test_a_killed_worker_loses_the_job_in_its_hands(tmp_path: Path, port: int) -> None:
    """Until it is the worker who says what is done."""
    files = write(tmp_path, 3, port)
    # Only so that this test need not wait for what the worker that is killed had not been handed yet.
    text = stuck(files["worker"], SAYS_WHEN_AT_REST).read_text()
    killed = tmp_path / "killed.py"
    limits = "limits=trionetchan.Limits(resume_timeout=0)"
    killed.write_text("import trio.testing\n" + text.replace(f"{port})", f"{port}, {limits})"))
    async with running(files["server"]) as server:
        await serves(server, port)
        async with running(killed) as one:
            await until(lambda: one.output == "at 0\nat rest\n")
            one.process.send_signal(signal.SIGKILL)  # the job is acknowledged
        async with running(files["worker"]) as two:
            pass
        await until(lambda: len(squares(server)) == 19)
        assert server.process.poll() is None
        server.process.kill()
    assert sorted(squares(server)) == [*range(1, 20)]
    assert two.process.returncode == 0


async def kill_at_work(worker: Path) -> None:
    async with running(worker) as program:
        await until(lambda: program.output.startswith("at "))
        program.process.send_signal(signal.SIGKILL)


async def test_kill_any_worker(tmp_path: Path, port: int) -> None:
    files = write(tmp_path, 4, port)
    async with running(files["server"]) as server:
        await serves(server, port)
        for _ in range(2):
            await kill_at_work(stuck(files["worker"]))
        async with running(files["worker"]) as last:
            pass
    assert sorted(squares(server)) == [*range(20)]
    assert server.output.endswith("\n" + blocks(4, "text")[0])
    assert re.sub(r"results: hung up by the exporter .*; 0 values were not delivered\n", "", last.errors) == ""
    assert "was not resumed in time" in server.errors


async def test_all_addresses(tmp_path: Path, port: int) -> None:
    files = write(tmp_path, 4, port)
    text = files["server"].read_text()
    line = blocks(5, "text")[0].replace("9000", str(port))
    served = re.findall(r"^ *await nursery\.start\(.*\n", text, re.MULTILINE)
    files["server"].write_text("import functools\n" + text.replace(served[0], line))
    async with running(files["server"]) as server:
        await serves(server, port)
        async with running(files["worker"]):
            pass
    assert server.output.endswith("\n20 squares\n")
