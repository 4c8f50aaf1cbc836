"""Go's netchan, the original. The Go program of `go/` takes the place of the measuring process.

It is built, once, where `go` is installed and its module proxy, or a copy of the module golang.org/x/exp that has
old/netchan (the directory in the environment variable GO_EXP), can be reached.
"""

from __future__ import annotations

import functools
import os
import shutil
import subprocess
from pathlib import Path
from typing import NoReturn

from ..measure import UnableError
from ..work import Kind, Task, Work

__all__ = ["become", "missing"]

SOURCE = Path(__file__).with_name("go") / "main.go"
MODULE = "golang.org/x/exp"
VERSION = "v0.0.0-20180321215751-8460e604b9de"  # old/netchan was deleted later


def _program() -> Path:
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    return cache / "trionetchan-benchmarks" / "go-netchan"


@functools.cache
def missing() -> str | None:
    """Builds the program unless it is there; says why it cannot be."""
    program = _program()
    if program.exists() and program.stat().st_mtime > SOURCE.stat().st_mtime:
        return None
    go = shutil.which("go")
    if go is None:
        return "Go is not installed"
    copy = os.environ.get("GO_EXP")
    source = program.with_name("source")
    source.mkdir(parents=True, exist_ok=True)
    shutil.copy(SOURCE, source)
    replace = f"replace {MODULE} => {copy}\n" if copy else ""
    (source / "go.mod").write_text(f"module benchmark\n\ngo 1.19\n\nrequire {MODULE} {VERSION}\n\n{replace}")
    command = [go, "build", "-mod=mod", "-o", str(program), "."]
    try:
        built = subprocess.run(command, cwd=source, capture_output=True, text=True, timeout=120, check=False)
    except subprocess.TimeoutExpired:
        return "netchan could not be built in 120 s"
    if built.returncode != 0:
        why = (built.stderr.strip() or "no reason given").splitlines()[-1]
        return f"netchan's source cannot be had, or built (a copy of {MODULE} may be named in GO_EXP): {why}"
    return None


def become(role: str, work: Work) -> NoReturn:
    """Puts the Go program in the place of this process."""
    if work.task is not Task.STREAM or work.kind is not Kind.RECORDS:
        raise UnableError("netchan is measured with a stream of records")
    program = _program()
    os.execv(program, [str(program), role, *map(str, (work.window, work.buffer, work.warmup, work.count))])
