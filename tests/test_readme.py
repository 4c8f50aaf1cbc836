"""What the README shows works when pasted."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

from support import child_environment

TOP = Path(__file__).parent.parent
README = (TOP / "README.md").read_text(encoding="utf-8")


def blocks(language: str) -> list[str]:
    """The code blocks of a language."""
    return re.findall(rf"^```{language}\n(.*?)^```$", README, re.MULTILINE | re.DOTALL)


def test_program_prints_what_the_readme_says(tmp_path: Path) -> None:
    (program,) = blocks("python")
    (expected,) = blocks("text")
    path = tmp_path / "program.py"
    path.write_text(program, encoding="utf-8")
    with child_environment() as env:
        command = [sys.executable, str(path)]
        ran = subprocess.run(
            command, cwd=tmp_path, env=env, capture_output=True, encoding="utf-8", timeout=30, check=False
        )
    assert (ran.stdout, ran.stderr, ran.returncode) == (expected, "", 0)


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


def test_links_lead_somewhere() -> None:
    targets = re.findall(r"\]\((?!https?:)([^)#]+)", README)
    assert targets
    assert [target for target in targets if not (TOP / target).exists()] == []
