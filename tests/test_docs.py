"""The documents are true of the code: snippets run, links lead somewhere, and what is named is there."""

from __future__ import annotations

import functools
import importlib
import re
import shutil
import signal
import socket
import subprocess
import sys
from pathlib import Path

import pytest
import trio
from support import child_environment

import trionetchan

TOP = Path(__file__).parents[1]
DOCS = TOP / "docs"
PACKAGE = Path(trionetchan.__file__).parent
PAGES = [*sorted(path for path in DOCS.rglob("*.md")), TOP / "CONTRIBUTING.md"]
TESTED_ELSEWHERE = {"tutorial.md", "systemd.md"}  # by tests/test_tutorial.py, and below: they wait for other processes
ARCHITECTURE = (DOCS / "architecture.md").read_text(encoding="utf-8")
DEBUGGING = (DOCS / "debugging.md").read_text(encoding="utf-8")
ROOMS = {path.parent.name for path in PACKAGE.glob("*/__init__.py")}
MOST_MODULES = 7  # on the way of one value

each_page = pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(TOP)))


def blocks(page: str, language: str) -> list[str]:
    """The code blocks of a language."""
    return re.findall(rf"^```{language}\n(.*?)^```$", page, re.MULTILINE | re.DOTALL)


def section(title: str) -> str:
    """A section of the page on the architecture."""
    text: str
    (text,) = re.findall(rf"^## {re.escape(title)}\n(.*?)(?=^## |\Z)", ARCHITECTURE, re.MULTILINE | re.DOTALL)
    return text


def rows(text: str) -> list[list[str]]:
    """The cells of a table, without its head."""
    lines = [line.strip("|").split(" | ") for line in text.splitlines() if line.startswith("|")]
    return [[cell.strip(" |") for cell in line] for line in lines if not line[0].startswith("-")][1:]


def run(*arguments: str, cwd: Path) -> subprocess.CompletedProcess[str]:
    with child_environment() as env:
        return subprocess.run(
            [sys.executable, *arguments],
            cwd=cwd,
            env=env,
            capture_output=True,
            encoding="utf-8",
            timeout=30,
            check=False,
        )


MODULES = {
    path.relative_to(PACKAGE).with_suffix("").as_posix()
    for path in PACKAGE.rglob("*.py")
    if path.name != "__init__.py" or path.parent == PACKAGE
}
SNIPPETS = [
    pytest.param(snippet, id=f"{page.stem}-{number}")
    for page in PAGES
    if page.name not in TESTED_ELSEWHERE
    for number, snippet in enumerate(blocks(page.read_text(encoding="utf-8"), "python"), 1)
]


# Every page


def make_certificates(directory: Path) -> None:
    """As the page on TLS has its reader do it."""
    if shutil.which("openssl") is None:
        pytest.skip("the page on TLS needs the command openssl")
    (commands,) = blocks((DOCS / "how-to" / "tls.md").read_text(encoding="utf-8"), "sh")
    subprocess.run(["sh", "-e", "-c", commands], cwd=directory, check=True, capture_output=True, timeout=30)


@pytest.mark.parametrize("snippet", SNIPPETS)
def test_snippet_runs(snippet: str, tmp_path: Path) -> None:
    """One that is not to be run has another language than `python`."""
    if ".pem" in snippet:
        make_certificates(tmp_path)
    ran = run("-c", snippet, cwd=tmp_path)
    assert ran.returncode == 0, ran.stderr


@each_page
def test_code_block_says_its_language(page: Path) -> None:
    fences = re.findall(r"^```(\S*).*$", page.read_text(encoding="utf-8"), re.MULTILINE)
    assert len(fences) % 2 == 0
    assert {*fences[::2]} <= {"python", "sh", "text", "ini", "dockerfile", "{include}"}


def anchors(page: Path) -> set[str]:
    titles = re.findall(r"^#+ (.*)$", page.read_text(encoding="utf-8"), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", title.lower()).replace(" ", "-") for title in titles}


@each_page
def test_links_lead_somewhere(page: Path) -> None:
    wrong: list[str] = []
    for target in re.findall(r"\]\(([^)\s]+)\)", page.read_text(encoding="utf-8")):
        if target.startswith("https://"):
            continue
        path, _, anchor = target.partition("#")
        file = (page.parent / path).resolve() if path else page
        if not file.is_file() or not file.is_relative_to(TOP) or (anchor and anchor not in anchors(file)):
            wrong.append(target)
    assert not wrong


@each_page
def test_files_that_are_named_are_there(page: Path) -> None:
    """Files of the project in code spans, and modules of the package, as `_room/module`."""
    named = re.findall(r"`((?:docs|tests|benchmarks|examples)/[\w./-]+)`", page.read_text(encoding="utf-8"))
    modules = re.findall(r"`(_[a-z]+/\w+)`", page.read_text(encoding="utf-8"))
    assert [name for name in named if not (TOP / name).exists()] == []
    assert [module for module in modules if module not in MODULES] == []


START_AS_SYSTEMD_DOES = """
import os, sys
os.dup2(int(sys.argv[1]), 3)
os.environ.update(LISTEN_PID=str(os.getpid()), LISTEN_FDS="1")
os.execv(sys.executable, [sys.executable, "service.py"])
"""


async def test_service_takes_the_socket_of_systemd_and_stops_in_an_orderly_way(tmp_path: Path) -> None:
    (program,) = blocks((DOCS / "how-to" / "systemd.md").read_text(encoding="utf-8"), "python")
    (tmp_path / "service.py").write_text(program, encoding="utf-8")
    with socket.socket() as listening, child_environment() as env:
        listening.bind(("127.0.0.1", 0))
        listening.listen()
        descriptor = listening.fileno()
        command = [sys.executable, "-c", START_AS_SYSTEMD_DOES, str(descriptor)]
        process = await trio.lowlevel.open_process(command, cwd=tmp_path, env=env, pass_fds=[descriptor])
        try:
            with pytest.raises(trionetchan.ConnectionLostError):
                async with trionetchan.open_tcp_importer(*listening.getsockname()) as importer:
                    ticks = await importer.open_receive_channel("ticks", float)
                    await ticks.receive()
                    process.send_signal(signal.SIGTERM)
                    async for _ in ticks:
                        pass
            assert await process.wait() == 0
        finally:
            process.kill()
            with trio.CancelScope(shield=True):
                await process.wait()


# The reference


def test_reference_has_every_public_name() -> None:
    page = (DOCS / "reference.rst").read_text(encoding="utf-8")
    named = re.findall(r"^\.\. auto(?:function|class|exception|data):: (\w+)(?:\(\))?$", page, re.MULTILINE)
    assert sorted(named) == sorted(trionetchan.__all__)


def test_reference_has_every_public_module() -> None:
    page = (DOCS / "reference.rst").read_text(encoding="utf-8")
    public = {module.partition("/")[0] for module in MODULES if not module.startswith("_")}
    public |= {path.parent.name for path in PACKAGE.glob("*/__init__.py") if not path.parent.name.startswith("_")}
    assert {*re.findall(r"^\.\. automodule:: trionetchan\.(\w+)", page, re.MULTILINE)} == public


# The decisions


def test_index_names_every_decision() -> None:
    index = (DOCS / "decisions" / "README.md").read_text(encoding="utf-8")
    files = sorted(path.name for path in DOCS.glob("decisions/0*.md"))
    assert re.findall(r"\]\((0[^)]*)\)", index) == files
    assert [int(name[:4]) for name in files] == [*range(1, len(files) + 1)]


@pytest.mark.parametrize("page", sorted(DOCS.glob("decisions/0*.md")), ids=lambda page: page.stem)
def test_decision_has_its_parts(page: Path) -> None:
    text = page.read_text(encoding="utf-8")
    assert re.findall(r"^## (.*)$", text, re.MULTILINE) == [
        "Context",
        "Decision",
        "Measured",
        "Consequences",
        "When to look again",
    ]
    assert text.startswith(f"# {int(page.name[:4])}. ")


def test_the_codecs_can_be_measured() -> None:
    ran = run("-m", "benchmarks.codecs", "--quick", cwd=TOP)
    assert ran.returncode == 0, ran.stderr
    assert ran.stdout.count("write") == ran.stdout.count("read") == 4


# The architecture


def test_every_module_has_its_line() -> None:
    table = re.findall(r"^\| `(\w+(?:/\w+)?)` \| \S", section("Rooms"), re.MULTILINE)
    once = [name for name in table if name != "_ports"]  # that is a room, too
    assert sorted(name for name in once if name not in ROOMS) == sorted(MODULES - {"_ports"})
    assert {*once} - MODULES == ROOMS


def test_way_of_a_value_is_short_and_its_functions_are_there() -> None:
    way = [[cell.strip("`") for cell in row[1:3]] for row in rows(section("The way of one value")) if row[1]]
    assert len(way) > 10
    assert len({module for module, _ in way}) <= MOST_MODULES
    for module, function in way:
        loaded = importlib.import_module(f"trionetchan.{module.replace('/', '.')}")
        assert callable(functools.reduce(getattr, function.split("."), loaded)), function


def test_ports_and_those_behind_them_are_there() -> None:
    ports = importlib.import_module("trionetchan._ports")
    table = rows(section("Ports"))
    assert sorted(row[0].strip("`") for row in table) == sorted(
        name for name in ports.__all__ if getattr(ports, name).__module__ == ports.__name__
    )
    for port, behind, offers in table:
        name, module = re.findall(r"`(\w+)` in `([\w/]+)`", behind)[0]
        loaded = importlib.import_module(f"trionetchan.{module.replace('/', '.')}")
        for method in re.findall(r"`(\w+)`", offers):
            assert hasattr(getattr(ports, port.strip("`")), method), method
        assert isinstance(getattr(loaded, name), type)


def test_states_are_those_of_the_code() -> None:
    for _, where, states in rows(section("States")):
        name, module = re.findall(r"`(\w+)` in `([\w/]+)`", where)[0]
        found = getattr(importlib.import_module(f"trionetchan.{module.replace('/', '.')}"), name)
        if states:
            assert [state.name for state in found] == states.split(", ")


# Debugging


def shape(trace: str) -> set[tuple[str, ...]]:
    """Of each line of a trace: which way, the frame, the names of its fields."""
    return {
        (way, kind, *re.findall(r"(\w+)=", fields))
        for way, kind, fields in re.findall(r": (sent|received) ([A-Z]+)(.*)$", trace, re.MULTILINE)
    }


def test_trace_on_the_page_is_that_of_its_program(tmp_path: Path) -> None:
    (shown,) = blocks(DEBUGGING, "text")
    ran = run("-c", blocks(DEBUGGING, "python")[0], cwd=tmp_path)
    assert len(ran.stderr.splitlines()) >= len(shape(shown)) > 8
    assert shape(ran.stderr) == shape(shown)
