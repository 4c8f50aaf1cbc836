"""The house and its floors: a module imports from below only, and each module has its place."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import attrs
import pytest

import trionetchan

PACKAGE = Path(trionetchan.__file__).parent

# From the ground up. A module may import from the lines below its own, not from its own.
FLOORS: list[tuple[str, set[str]]] = [
    ("0", {"_errors", "_limits", "_statistics", "_protocol", "_channels", "_network", "_cli"}),
    ("1 a", {"_cbor", "_codec.reading", "_protocol.events"}),
    ("1 b", {"_codec.messages", "_codec.schema", "_protocol.frames", "_protocol.window"}),
    ("1 c", {"_codec.compare", "_codec.hints", "_codec.items", "_codec.unions"}),
    ("1 d", {"_codec.columns", "_codec.describe", "_codec.large_bytes"}),
    ("1 e", {"_codec.steps"}),
    ("1 f", {"_codec.shapes"}),
    ("1 g", {"_codec.receiving", "_codec.sending"}),
    ("1 h", {"_codec.codec"}),
    ("1 i", {"_codec"}),
    ("2", {"_protocol.session"}),
    ("3 a", {"_network.transport", "_network.acknowledging"}),
    ("3 b", {"_network.connection"}),
    ("3 c", {"_network.links"}),
    ("3 d", {"_channels.dealing"}),
    ("3 e", {"_channels.outgoing", "_channels.incoming"}),
    ("3 f", {"_endpoint"}),
    ("4", {"_exporter", "_importer"}),
    ("5 a", {"_cli.demo"}),
    ("5 b", {"_cli.app"}),
    ("5 c", {"__main__"}),
    ("6", {"__init__"}),
]
LEVEL = {module: level for level, (_, modules) in enumerate(FLOORS) for module in modules}
PROGRAMS = {"_cli.demo", "_cli.app", "__main__"}

CONTRACT = {
    "Direction",
    "open_exporter",
    "open_importer",
    "open_tcp_importer",
    "open_unix_importer",
    "Exporter",
    "Importer",
    "NetchanError",
    "ChannelNameInUseError",
    "NoSuchChannelError",
    "WrongDirectionError",
    "TypeMismatchError",
    "ValueTypeError",
    "RemoteValueError",
    "ValuesDroppedError",
    "LimitError",
    "ProtocolError",
    "ConnectionLostError",
    "TooManyErrors",
    "Limits",
    "ExporterStatistics",
    "ImporterStatistics",
    "ChannelStatistics",
}


@attrs.frozen
class Import:
    """One imported name: `module` is within the package ("_errors", "__init__"), or None for one from outside."""

    line: int
    module: str | None
    outside: str
    name: str | None


def name_of(path: Path) -> str:
    parts = path.relative_to(PACKAGE).with_suffix("").parts
    return ".".join(parts[:-1] if len(parts) > 1 and parts[-1] == "__init__" else parts)


MODULES = {name_of(path): path for path in sorted(PACKAGE.rglob("*.py"))}


def imports_of(module: str) -> Iterator[Import]:
    """Every import anywhere in the module, also within functions and conditions."""
    path = MODULES[module]
    base = ("trionetchan", *path.relative_to(PACKAGE).parts[:-1])
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            for alias in node.names:
                yield resolved(node.lineno, alias.name.split("."), None)
        elif isinstance(node, ast.ImportFrom):
            start = base[: len(base) - node.level + 1] if node.level else ()
            origin = [*start, *(node.module.split(".") if node.module else [])]
            for alias in node.names:
                submodule = ".".join([*origin[1:], alias.name])
                if origin[0] == "trionetchan" and submodule in MODULES:
                    yield resolved(node.lineno, [*origin, alias.name], None)
                else:
                    yield resolved(node.lineno, origin, alias.name)


def resolved(line: int, origin: list[str], name: str | None) -> Import:
    if origin[0] == "trionetchan":
        return Import(line, ".".join(origin[1:]) or "__init__", "", name)
    return Import(line, None, origin[0], name)


def test_each_module_has_its_place() -> None:
    assert set(MODULES) == set(LEVEL), "a new module goes into the table of floors, and an old one out of it"


@pytest.mark.parametrize("module", sorted(LEVEL))
def test_imports_go_down(module: str) -> None:
    up = [
        f"line {found.line}: {module} imports from {found.module}"
        for found in imports_of(module)
        if found.module is not None and LEVEL.get(found.module, len(FLOORS)) >= LEVEL[module]
    ]
    assert not up


@pytest.mark.parametrize("module", sorted(module for module in LEVEL if module.startswith("_protocol")))
def test_protocol_knows_neither_network_nor_clock(module: str) -> None:
    outside = {found.outside for found in imports_of(module)}
    assert not outside & {
        "anyio",
        "asyncio",
        "datetime",
        "random",
        "select",
        "selectors",
        "socket",
        "ssl",
        "time",
        "trio",
    }
    assert {found.module for found in imports_of(module)} <= {
        None,
        "_errors",
        "_limits",
        "_cbor",
        *(name for name in LEVEL if name.startswith("_protocol")),
    }


@pytest.mark.parametrize("module", sorted(set(LEVEL) - PROGRAMS))
def test_library_needs_no_command_line_packages(module: str) -> None:
    assert not {found.outside for found in imports_of(module)} & {"cyclopts", "rich"}


@pytest.mark.parametrize("module", sorted(PROGRAMS))
def test_programs_use_public_names_only(module: str) -> None:
    private = [
        f"line {found.line}: {found.name} of {found.module}"
        for found in imports_of(module)
        if found.module is not None and found.module not in PROGRAMS and found.name not in CONTRACT
    ]
    assert not private


def test_public_names_are_the_contract() -> None:
    assert set(trionetchan.__all__) == CONTRACT
    assert len(trionetchan.__all__) == len(CONTRACT)
    assert all(hasattr(trionetchan, name) for name in CONTRACT)


def test_package_says_that_it_is_typed() -> None:
    assert (PACKAGE / "py.typed").is_file()
