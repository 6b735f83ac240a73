"""Holds the rules of shared/README.md by reading the source: imports, the environment, sizes, errors."""

import ast
import re
import subprocess
import sys
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest

import main
from infra.local.routing import FUNCTIONS
from shared import errors
from shared.errors import ServiceError
from shared.web.errors import STATUS_OF

ROOT = Path(__file__).parents[2]
PRODUCT = sorted(
    [ROOT / "main.py", *ROOT.glob("functions/**/*.py"), *ROOT.glob("shared/**/*.py"), *ROOT.glob("infra/**/*.py")]
)
MAX_FILE_LINES = 300
MAX_BODY_LINES = 50
TOP_LEVEL = {
    ".ci", ".env.example", ".gcloudignore", ".github", ".gitignore", ".pre-commit-config.yaml", "CHANGELOG.md",
    "CONTRIBUTING.md", "Dockerfile", "LICENSE", "Makefile", "README.md", "SECURITY.md", "functions", "infra", "main.py",
    "pyproject.toml", "requirements-dev.txt", "requirements.txt", "shared", "tests",
}  # fmt: skip

ALL_OF_THE_ABOVE = "all of the above"
MAY_IMPORT = {
    "error_codes.py": (),
    "errors.py": ("error_codes.py",),
    "log.py": (),
    "tracing.py": ("log.py",),
    "domain/": ("errors.py", "error_codes.py"),
    "ports/": ("domain/",),
    "usecases/": ("domain/", "ports/", "errors.py", "error_codes.py", "log.py", "tracing.py"),
    "services.py": ("usecases/", "ports/"),
    "settings_reader.py": ("domain/", "errors.py"),
    "settings.py": ("settings_reader.py", "domain/"),
    "adapters/storage/": ("domain/", "ports/", "errors.py", "error_codes.py", "log.py", "tracing.py"),
    "adapters/": ("adapters/storage/", "domain/", "ports/", "errors.py", "error_codes.py", "log.py", "tracing.py"),
    "web/": ("services.py", "usecases/", "domain/", "ports/", "errors.py", "error_codes.py", "log.py", "tracing.py"),
    "wiring/": (
        "settings.py", "services.py", "adapters/", "usecases/", "domain/", "ports/", "errors.py", "log.py",
        "tracing.py",
    ),
    "../functions/": ("wiring/", "web/", "services.py", "domain/", "log.py"),
    "../main.py": ("../functions/", "wiring/"),
    "../infra/": (ALL_OF_THE_ABOVE,),
}  # fmt: skip
"""{room: the rooms that it may import besides itself}, as in the first table of shared/README.md, from bottom to top.

Rooms are paths relative to shared/. Within `adapters/`, each folder or module is a room of its own.
"""
ONLY_IN = {
    ("google.api_core", "google.cloud", "google.protobuf", "google.pubsub_v1", "grpc"): ("adapters/gcp/", "../infra/"),
    ("google.auth",): ("adapters/gcp/", "adapters/identity/", "adapters/tracing/"),
    ("requests", "urllib3"): ("adapters/llm/", "adapters/identity/", "adapters/webhooks/", "../infra/"),
    ("standardwebhooks",): ("adapters/webhooks/",),
    ("redis",): ("adapters/cache/",),
    ("sqlite3",): ("adapters/sqlite/",),
    ("jwt",): ("adapters/identity/", "../infra/"),
    ("cachetools",): ("adapters/",),
    ("langcodes",): ("domain/",),
    ("opentelemetry",): ("adapters/tracing/",),
    ("logging", "pythonjsonlogger"): ("log.py",),
    ("starlette",): ("web/", "../functions/", "../infra/"),
    ("werkzeug",): ("web/",),
    ("functions_framework",): ("../functions/", "../infra/"),
    ("dotenv", "filelock", "swagger_ui_bundle", "uvicorn", "uvloop", "yaml"): ("../infra/",),
}
"""{packages: the only rooms that may import them}, as in the second table of shared/README.md."""
PURE_LIBRARIES = {"langcodes", "msgspec"}
"""Packages besides the standard library that the domain may import: they use no clock and no I/O."""


def relative(path: Path) -> str:
    return path.relative_to(ROOT).as_posix()


@cache
def nodes(path: Path) -> list[ast.AST]:
    return list(ast.walk(ast.parse(path.read_text())))


@cache
def imports(path: Path) -> list[str]:
    found: list[str] = []
    for node in nodes(path):
        if isinstance(node, ast.Import):
            found += [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            found += [f"{node.module}.{alias.name}" for alias in node.names]
    return found


def within(name: str, package: str) -> bool:
    return name == package or name.startswith(f"{package}.")


def package_of(room: str) -> str:
    """Returns the dotted name of a room: `adapters/gcp/` is shared.adapters.gcp, `../main.py` is main."""
    path = room.removeprefix("../") if room.startswith("../") else f"shared/{room}"
    return path.removesuffix(".py").rstrip("/").replace("/", ".")


def room_of(name: str) -> str | None:
    """Returns the innermost room that holds the module; None for modules of others and for `shared` itself."""
    rooms = [room for room in MAY_IMPORT if within(name, package_of(room))]
    return max(rooms, key=len, default=None)


def area_of(name: str) -> str | None:
    """Returns the room of the module, or within `adapters/` its own folder or module there."""
    room = room_of(name)
    return ".".join(name.split(".")[:3]) if room == "adapters/" else room


def allowed(room: str) -> tuple[str, ...]:
    """Returns the rooms that this room may import."""
    rooms = list(MAY_IMPORT)
    return tuple(rooms[: rooms.index(room)]) if MAY_IMPORT[room] == (ALL_OF_THE_ABOVE,) else MAY_IMPORT[room]


def test_a_file_imports_only_the_rooms_that_its_own_room_may_import() -> None:
    for path in PRODUCT:
        check_rooms(path)


def check_rooms(path: Path) -> None:
    here = relative(path).removesuffix(".py").removesuffix("/__init__").replace("/", ".")
    room = room_of(here)
    if room is None:
        assert path.name == "__init__.py" and not list(imports(path)), here
        return
    for name in imports(path):
        imported = room_of(name)
        assert imported is None or area_of(name) == area_of(here) or imported in allowed(room), f"{here} imports {name}"


def test_a_package_of_others_is_imported_only_in_its_rooms() -> None:
    for path in PRODUCT:
        check_packages(path)


def check_packages(path: Path) -> None:
    here, names = relative(path).removesuffix(".py").replace("/", "."), list(imports(path))
    for packages, rooms in ONLY_IN.items():
        for name in names:
            if any(within(name, package) for package in packages):
                assert any(within(here, package_of(room)) for room in rooms), f"{here} imports {name}"


def test_every_room_imports_only_rooms_above_it_in_the_table() -> None:
    rooms = list(MAY_IMPORT)
    for room in rooms:
        assert all(rooms.index(imported) < rooms.index(room) for imported in allowed(room)), room


def test_the_map_has_the_same_tables() -> None:
    rows = [line.split("|") for line in (ROOT / "shared/README.md").read_text().splitlines() if line.startswith("| `")]
    rooms = {names_in(row[1])[0]: names_in(row[3]) for row in rows if len(row) == 5}
    assert list(rooms) == list(MAY_IMPORT)
    for room, imported in MAY_IMPORT.items():
        stated = (ALL_OF_THE_ABOVE,) if ALL_OF_THE_ABOVE in rows[list(rooms).index(room)][3] else rooms[room]
        assert stated == imported, room
    packages = {names_in(row[1]): names_in(row[2]) for row in rows if len(row) == 4}
    assert packages == ONLY_IN


def names_in(cell: str) -> tuple[str, ...]:
    return tuple(re.findall(r"`([^`]+)`", cell))


@pytest.mark.parametrize("path", [path for path in PRODUCT if "shared/domain" in relative(path)], ids=relative)
def test_the_domain_is_pure(path: Path) -> None:
    impure = {"os", "time", "asyncio", "random", "threading", "uuid.uuid4", "socket", "logging"}
    assert not set(imports(path)) & impure
    packages = {name.split(".")[0] for name in imports(path)}
    assert packages <= {*sys.stdlib_module_names, "shared", *PURE_LIBRARIES}
    assert "now()" not in path.read_text()


def test_the_environment_is_read_in_settings_only() -> None:
    readers = [path for path in PRODUCT if {"environ", "getenv"} & set(re.findall(r"\w+", path.read_text()))]
    assert [relative(path) for path in readers] == ["shared/settings.py"]


def test_files_and_functions_stay_small_and_files_say_why_they_exist() -> None:
    for path in PRODUCT:
        check_size(path)


def check_size(path: Path) -> None:
    source, here = path.read_text(), relative(path)
    module = nodes(path)[0]
    assert isinstance(module, ast.Module)
    assert source.count("\n") <= MAX_FILE_LINES, f"{here} is too long"
    assert path.name == "__init__.py" or ast.get_docstring(module), f"{here} says in one sentence why it exists"
    for node in nodes(path):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            first = node.body[0]
            docstring = (first.end_lineno or 0) - first.lineno + 1 if ast.get_docstring(node) else 0
            length = (node.end_lineno or 0) - node.lineno - docstring
            assert length <= MAX_BODY_LINES, f"{here}: {node.name} has {length} lines"


def test_every_exception_is_caught_in_the_wrappers_and_where_a_thread_hands_it_back_only() -> None:
    places = [
        relative(path) for path in PRODUCT for line in path.read_text().splitlines() if "except Exception" in line
    ]
    web = ["shared/web/push.py", "shared/web/push.py", "shared/web/routes.py", "shared/web/sse.py"]
    threads = ["shared/adapters/llm/threads.py", "shared/adapters/sqlite/worker.py"]
    assert sorted(places) == [*threads, *web]


def leaves(kind: type[ServiceError]) -> Iterator[type[ServiceError]]:
    below = kind.__subclasses__()
    if not below:
        yield kind
    for child in below:
        yield from leaves(child)


def test_every_error_has_a_status_and_stands_in_the_tree() -> None:
    assert set(leaves(ServiceError)) == set(STATUS_OF)
    drawn = errors.__doc__ or ""
    for kind in leaves(ServiceError):
        assert kind.__module__ != "shared.errors" or f" {kind.__name__} " in drawn
        assert kind.code.islower() and kind.default_message


def test_the_top_level_stays_as_it_was_prescribed() -> None:
    tracked = subprocess.check_output(["git", "ls-files"], cwd=ROOT, text=True).split()
    assert {name.split("/")[0] for name in tracked} <= TOP_LEVEL


def test_each_function_has_one_file_and_main_exports_them_all() -> None:
    assert sorted(main.__all__) == list(FUNCTIONS)
