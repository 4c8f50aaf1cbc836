"""What the README shows works when pasted."""

from __future__ import annotations

import re
import subprocess
import sys
import textwrap
import tomllib
from pathlib import Path

import pytest
import trustme
from support import child_environment

TOP = Path(__file__).parent.parent
README = (TOP / "README.md").read_text(encoding="utf-8")
URLS: dict[str, str] = tomllib.loads((TOP / "pyproject.toml").read_text(encoding="utf-8"))["project"]["urls"]
FILES = f"{URLS['Repository']}/blob/main/"


def blocks(language: str) -> list[str]:
    """The code blocks of a language."""
    return re.findall(rf"^```{language}\n(.*?)^```$", README, re.MULTILINE | re.DOTALL)


PROGRAM, NURSERY_OUTSIDE, NURSERY_INSIDE, TLS = blocks("python")


def run(tmp_path: Path, program: str) -> subprocess.CompletedProcess[str]:
    path = tmp_path / "program.py"
    path.write_text(program, encoding="utf-8")
    with child_environment() as env:
        return subprocess.run(
            [sys.executable, str(path)],
            cwd=tmp_path,
            env=env,
            capture_output=True,
            encoding="utf-8",
            timeout=30,
            check=False,
        )


def test_program_is_short_and_prints_what_the_readme_says(tmp_path: Path) -> None:
    (expected,) = blocks("text")
    ran = run(tmp_path, PROGRAM)
    assert (ran.stdout, ran.stderr, ran.returncode) == (expected, "", 0)
    assert len([line for line in PROGRAM.splitlines() if line]) <= 15


@pytest.mark.parametrize(("block", "said"), [(NURSERY_OUTSIDE, "ended"), (NURSERY_INSIDE, "waits")])
def test_order_of_exporter_and_nursery(tmp_path: Path, block: str, said: str) -> None:
    program = f"""
import trio, trio.testing, trionetchan

async def main():
    with trio.move_on_after(1000) as scope:
{textwrap.indent(block, " " * 8)}
    print("waits" if scope.cancelled_caught else "ended")

trio.run(main, clock=trio.testing.MockClock(autojump_threshold=0.05))
"""
    ran = run(tmp_path, program)
    assert (ran.stdout, ran.stderr) == (f"{said}\n", "")


def test_tls(tmp_path: Path) -> None:
    authority = trustme.CA()
    authority.cert_pem.write_to_path(str(tmp_path / "ca.pem"))
    authority.issue_cert("localhost").private_key_and_cert_chain_pem.write_to_path(str(tmp_path / "server.pem"))
    program = f"""
import functools, ssl, trio, trionetchan

async def main():
    async with trio.open_nursery() as nursery, trionetchan.open_exporter() as exporter:
{textwrap.indent(TLS, " " * 8)}
        async with importing as importer:
            send = exporter.open_send_channel("numbers", int)
            send.close()
            print([number async for number in await importer.open_receive_channel("numbers", int)])

trio.run(main)
"""
    ran = run(tmp_path, program)
    assert (ran.stdout, ran.stderr) == ("[]\n", "")
    assert len(TLS.splitlines()) == 5


def test_commands_are_one_for_the_demo_and_one_for_the_tests() -> None:
    demo, tests = blocks("sh")
    assert demo.rstrip("\n").endswith("trionetchan demo")
    assert "pytest" in tests
    for command in (demo, tests):
        assert command.count("\n") == 1
        assert command.startswith("python3 -m venv .venv && ")


def test_ci_runs_the_command_of_the_readme() -> None:
    _, command = blocks("sh")
    assert command.rstrip("\n").replace(".venv", ".ci/venv") in (TOP / ".ci" / "run").read_text(encoding="utf-8")


def test_links_lead_somewhere_on_pypi_too() -> None:
    targets = re.findall(r"\]\(([^)#]+)", README)
    ours = [target for target in targets if target.startswith(URLS["Repository"])]
    assert len(ours) > 5
    assert [target for target in ours if not target.startswith(FILES)] == []
    assert [target for target in ours if not (TOP / target.removeprefix(FILES)).is_file()] == []
    assert [target for target in targets if not target.startswith("https://")] == []


def test_urls_of_the_project_are_all_of_one_repository() -> None:
    assert [url for url in URLS.values() if not url.startswith(URLS["Repository"])] == []
    assert {"Repository", "Documentation", "Changelog", "Issues"} <= {*URLS}
