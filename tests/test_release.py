"""What a release is made of: its version, and its notes."""

from __future__ import annotations

import importlib.metadata
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from support import child_environment

import trionetchan

TOP = Path(__file__).parent.parent
CHANGELOG = """# Changelog

## Unreleased

### Added

- What is coming.

## 1.2.0 – 2027-01-02

### Fixed

- A fault.

## 1.1.0 – 2027-01-01

- The first.
"""


def notes(top: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    with child_environment() as env:
        command = [sys.executable, str(top / ".ci" / "release-notes"), *arguments]
        return subprocess.run(command, env=env, capture_output=True, encoding="utf-8", timeout=30, check=False)


@pytest.fixture
def top(tmp_path: Path) -> Path:
    """A project at version 1.2.0."""
    (tmp_path / ".ci").mkdir()
    shutil.copy(TOP / ".ci" / "release-notes", tmp_path / ".ci")
    (tmp_path / "trionetchan").mkdir()
    (tmp_path / "trionetchan" / "__init__.py").write_text('__all__ = []\n\n__version__ = "1.2.0"\n', encoding="utf-8")
    (tmp_path / "CHANGELOG.md").write_text(CHANGELOG, encoding="utf-8")
    return tmp_path


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        ([], "### Fixed\n\n- A fault.\n"),
        (["1.2.0"], "### Fixed\n\n- A fault.\n"),
        (["1.1.0"], "- The first.\n"),
        (["Unreleased"], "### Added\n\n- What is coming.\n"),
    ],
)
def test_release_notes_are_a_section_of_the_changelog(top: Path, arguments: list[str], expected: str) -> None:
    ran = notes(top, *arguments)
    assert (ran.stdout, ran.stderr, ran.returncode) == (expected, "", 0)


@pytest.mark.parametrize("version", ["1.3.0", "1.2", "1x2.0"])
def test_there_are_no_notes_of_a_version_that_is_not_there(top: Path, version: str) -> None:
    ran = notes(top, version)
    assert (ran.stdout, ran.returncode) == ("", 1)
    assert version in ran.stderr


def test_what_comes_next_has_notes() -> None:
    assert notes(TOP, "Unreleased").returncode == 0 or notes(TOP).returncode == 0


def test_version_is_said_once() -> None:
    assert importlib.metadata.version("trionetchan") == trionetchan.__version__
    assert re.fullmatch(r"\d+\.\d+\.\d+((a|b|rc)\d+)?", trionetchan.__version__)
    files = subprocess.run(
        ["grep", "-rlF", trionetchan.__version__, "trionetchan"], cwd=TOP, capture_output=True, check=True
    )
    assert [name for name in files.stdout.decode().split() if name.endswith(".py")] == ["trionetchan/__init__.py"]
