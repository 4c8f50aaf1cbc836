"""The house and its floors: a module imports from below only, and each module has its place."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import attrs
import pytest

import trionetchan

PACKAGE = Path(trionetchan.__file__).parent

# The rooms of the house, from the ground up, and what each may import from: other rooms, never the reverse. A room is a
# package, or the modules that are listed with it.
GROUND = frozenset(
    {
        "_errors",
        "_limits",
        "_statistics",
        "_cbor",
        "_batch",
        "_opening",
        "_log",
        "_allowance",
        "_identity",
        "_lease",
        "_observation",
        "_instruments",
    }
)
HALL = frozenset(
    {
        "_access",
        "_arguments",
        "_binding",
        "_endpoint",
        "_exporter",
        "_importer",
        "_observing",
        "_peers",
        "_policies",
        "_publishing",
        "_rebinding",
        "_stopping",
    }
)
PUBLIC = frozenset({"abc", "observation", "otel", "requests"})
ENGINE = frozenset({"redis"})
TOP = frozenset({"__init__", "__main__"})
ROOMS: dict[str, set[str]] = {
    "ground": set(),
    "_ports": {"ground"},
    "_protocol": {"ground"},
    "_codec": {"ground"},
    "_channels": {"ground", "_ports", "_codec"},
    "_network": {"ground", "_ports", "_protocol"},
    "hall": {"ground", "_ports", "_protocol", "_codec", "_channels", "_network"},
    "_redis": {"ground", "_ports"},
    "redis": {"ground", "_codec", "_channels", "_redis", "hall"},
    "public": {"hall", "ground"},
    "_cli": {"hall", "ground", "top", "public", "redis"},  # of these, public names only
    "testing": {"hall", "ground", "top"},  # the same
    "top": {"ground", "hall", "_network", "_cli"},
}
OF_CODEC = {"Codec", "codec_for", "Comparisons", "Schema", "difference", "Difference"}
PROGRAMS = {"_cli", "__main__", "testing"}


def room_of(module: str) -> str:
    for room, members in (("ground", GROUND), ("hall", HALL), ("public", PUBLIC), ("redis", ENGINE), ("top", TOP)):
        if module in members:
            return room
    return module.partition(".")[0]


CONTRACT = {
    "Authenticate",
    "AuthenticationError",
    "Authorize",
    "Certificate",
    "Credentials",
    "PermissionDeniedError",
    "UnixUser",
    "allow_certificates",
    "any_of",
    "client_ssl_context",
    "name_patterns",
    "same_user",
    "server_ssl_context",
    "tokens",
    "BoundListener",
    "Delivery",
    "Direction",
    "open_exporter",
    "open_importer",
    "open_tcp_importer",
    "open_unix_importer",
    "open_websocket_importer",
    "Exporter",
    "Importer",
    "NetchanError",
    "ChannelNameInUseError",
    "NoSuchChannelError",
    "WrongDirectionError",
    "TypeMismatchError",
    "ValueTypeError",
    "RemoteValueError",
    "SessionLostError",
    "ValuesDroppedError",
    "LimitError",
    "ProtocolError",
    "ConnectionLostError",
    "TooManyErrors",
    "Limits",
    "ExporterStatistics",
    "ImporterStatistics",
    "ChannelStatistics",
    "PeerConnected",
    "PeerEvent",
    "PeerEvents",
    "PeerEventsLost",
    "PeerGone",
    "PeerResumed",
    "PeerSuspended",
}
OF_ENGINE = {"RedisExporter", "RedisImporter", "open_redis_exporter", "open_redis_importer"}


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
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
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


def test_each_module_is_in_a_room() -> None:
    assert {room_of(module) for module in MODULES} <= set(ROOMS), "a new module goes into a room"


@pytest.mark.parametrize("module", sorted(MODULES))
def test_rooms_import_from_below_only(module: str) -> None:
    room = room_of(module)
    wrong = [
        f"line {found.line}: {module} imports from {found.module}"
        for found in imports_of(module)
        if found.module is not None and room_of(found.module) not in {room, *ROOMS[room]}
    ]
    assert not wrong


def test_no_module_imports_itself_by_way_of_others() -> None:
    waiting = {
        module: {found.module for found in imports_of(module) if found.module is not None and found.module != module}
        for module in MODULES
    }
    while free := [module for module, needed in waiting.items() if not needed & waiting.keys()]:
        for module in free:
            del waiting[module]
    assert not waiting


@pytest.mark.parametrize("module", sorted(set(MODULES) - {name for name in MODULES if room_of(name) == "_codec"}))
def test_of_the_codec_the_house_sees_its_door_only(module: str) -> None:
    inside = [
        f"line {found.line}: {found.name} of {found.module}"
        for found in imports_of(module)
        if found.module is not None
        and room_of(found.module) == "_codec"
        and (found.module != "_codec" or found.name not in OF_CODEC)
    ]
    assert not inside


@pytest.mark.parametrize(
    "module", sorted(name for name in MODULES if room_of(name) in ("_protocol", "_codec", "_ports"))
)
def test_the_core_knows_neither_network_nor_clock(module: str) -> None:
    outside = {found.outside for found in imports_of(module)}
    assert not outside & {"anyio", "asyncio", "random", "select", "selectors", "socket", "ssl", "time", "trio"}


@pytest.mark.parametrize("module", sorted(name for name in MODULES if room_of(name) != "_redis"))
def test_the_engine_is_known_to_one_room_only(module: str) -> None:
    assert not {found.outside for found in imports_of(module)} & {"coredis", "redis", "anyio"}


@pytest.mark.parametrize("module", sorted(name for name in MODULES if room_of(name) not in ("_cli", "top")))
def test_library_needs_no_command_line_packages(module: str) -> None:
    assert not {found.outside for found in imports_of(module)} & {"cyclopts", "rich"}


@pytest.mark.parametrize("module", sorted(set(MODULES) - {"otel"}))
def test_one_module_needs_opentelemetry(module: str) -> None:
    assert "opentelemetry" not in {found.outside for found in imports_of(module)}


def definitions() -> Iterator[tuple[str, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef]]:
    for module, path in MODULES.items():
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
                yield f"{module}: {node.name}", node


def test_functions_are_short() -> None:
    """Those of the public contract have long signatures and docstrings; they do next to nothing."""
    long = [
        f"{name}: {lines} lines"
        for name, node in definitions()
        if not isinstance(node, ast.ClassDef) and (lines := (node.end_lineno or 0) - node.lineno + 1) > 40
    ]
    assert not long


def test_classes_are_small_or_say_why_not() -> None:
    unexplained: list[str] = []
    for name, node in definitions():
        if not isinstance(node, ast.ClassDef):
            continue
        lines = (node.end_lineno or 0) - node.lineno + 1
        attributes = {
            target.attr
            for each in ast.walk(node)
            if isinstance(each, ast.Assign | ast.AnnAssign | ast.AugAssign)
            for target in (each.targets if isinstance(each, ast.Assign) else [each.target])
            if isinstance(target, ast.Attribute) and isinstance(target.value, ast.Name) and target.value.id == "self"
        }
        large = lines > 250 or len(attributes) > 15
        if large and "because" not in (ast.get_docstring(node) or ""):
            unexplained.append(f"{name}: {lines} lines, {len(attributes)} attributes")
    assert not unexplained


@pytest.mark.parametrize("module", sorted(name for name in MODULES if name.partition(".")[0] in PROGRAMS))
def test_programs_use_public_names_only(module: str) -> None:
    private = [
        f"line {found.line}: {found.name} of {found.module}"
        for found in imports_of(module)
        if found.module is not None
        and found.module.partition(".")[0] not in PROGRAMS
        and found.module not in PUBLIC
        and found.name not in CONTRACT | OF_ENGINE
    ]
    assert not private


def test_public_names_are_the_contract() -> None:
    assert set(trionetchan.__all__) == CONTRACT
    assert len(trionetchan.__all__) == len(CONTRACT)
    assert all(hasattr(trionetchan, name) for name in CONTRACT)


def test_package_says_that_it_is_typed() -> None:
    assert (PACKAGE / "py.typed").is_file()
