"""The rules of the house (shared/README.md), held by reading the source."""

import ast
import re
import subprocess
import sys
from collections.abc import Iterator
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
    "CONTRIBUTING.md", "LICENSE", "Makefile", "README.md", "SECURITY.md", "functions", "infra", "main.py",
    "pyproject.toml", "requirements-dev.txt", "requirements.txt", "shared", "tests",
}  # fmt: skip

ONLY_IN = {
    "google.cloud": ("shared/adapters/gcp", "infra/local"),
    "grpc": ("shared/adapters/gcp", "infra/local"),
    "requests": ("shared/adapters/llm", "shared/adapters/identity"),
    "redis": ("shared/adapters/cache",),
    "sqlite3": ("shared/adapters/sqlite",),
    "starlette": ("shared/web", "functions", "infra/local"),
    "functions_framework": ("functions", "infra/local"),
    "jwt": ("shared/adapters/identity", "infra/local"),
    "cachetools": ("shared/adapters",),
    "logging": ("shared/log.py",),
    "pythonjsonlogger": ("shared/log.py",),
    "infra": ("infra",),
    "yaml": ("infra/local",),
    "swagger_ui_bundle": ("infra/local",),
}
"""A package, and the only rooms that may import it."""

MAY_IMPORT = {
    "shared/domain": {"shared.domain", "shared.errors", "shared.error_codes"},
    "shared/errors.py": {"shared.error_codes"},
    "shared/error_codes.py": set(),
    "shared/log.py": set(),
    "shared/ports.py": {"shared.domain"},
    "shared/usecases": {
        "shared.usecases", "shared.domain", "shared.ports", "shared.errors", "shared.error_codes", "shared.log",
    },
    "shared/adapters": {
        "shared.adapters", "shared.domain", "shared.ports", "shared.errors", "shared.error_codes", "shared.log",
    },
    "shared/services.py": {"shared.usecases", "shared.ports"},
    "shared/settings.py": {"shared.settings_reader", "shared.domain"},
    "shared/settings_reader.py": {"shared.domain", "shared.errors"},
    "shared/web": {
        "shared.web", "shared.services", "shared.usecases", "shared.domain", "shared.ports", "shared.errors",
        "shared.error_codes", "shared.log",
    },
    "shared/wiring": {
        "shared.wiring", "shared.services", "shared.settings", "shared.adapters", "shared.usecases", "shared.domain",
        "shared.ports", "shared.errors", "shared.log",
    },
    "functions": {"functions", "shared.wiring", "shared.services", "shared.web", "shared.domain", "shared.log"},
    "main.py": {"functions", "shared.wiring"},
}  # fmt: skip
"""A room, and all that it may import of ours."""
PURE_LIBRARIES = {"langcodes"}
"""What the domain may import besides the standard library: no clock, no I/O, no framework."""


def relative(path: Path) -> str:
    return path.relative_to(ROOT).as_posix()


def imports(path: Path) -> Iterator[str]:
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def within(name: str, package: str) -> bool:
    return name == package or name.startswith(f"{package}.")


@pytest.mark.parametrize("path", PRODUCT, ids=relative)
def test_each_folder_imports_only_what_its_rules_allow(path: Path) -> None:
    here = relative(path)
    for name in imports(path):
        for package, rooms in ONLY_IN.items():
            assert not within(name, package) or here.startswith(rooms), f"{here} may not import {name}"
        for room, allowed in MAY_IMPORT.items():
            ours = within(name, "shared") or within(name, "functions")
            if (here == room or here.startswith(f"{room}/")) and ours:
                assert any(within(name, package) for package in allowed), f"{here} may not import {name}"


@pytest.mark.parametrize("path", [path for path in PRODUCT if "shared/domain" in relative(path)], ids=relative)
def test_the_domain_is_pure(path: Path) -> None:
    impure = {"os", "time", "asyncio", "random", "threading", "uuid.uuid4", "socket", "logging"}
    assert not set(imports(path)) & impure
    packages = {name.split(".")[0] for name in imports(path)}
    assert packages <= {*sys.stdlib_module_names, "shared", *PURE_LIBRARIES}
    assert "now()" not in path.read_text()


@pytest.mark.parametrize("path", PRODUCT, ids=relative)
def test_the_environment_is_read_in_settings_only(path: Path) -> None:
    source = path.read_text()
    assert relative(path) == "shared/settings.py" or not {"environ", "getenv"} & set(re.findall(r"\w+", source))


@pytest.mark.parametrize("path", PRODUCT, ids=relative)
def test_files_and_functions_stay_small_and_files_say_why_they_exist(path: Path) -> None:
    source = path.read_text()
    tree = ast.parse(source)
    assert source.count("\n") <= MAX_FILE_LINES
    assert path.name == "__init__.py" or ast.get_docstring(tree), "a module says in one sentence why it exists"
    for node in ast.walk(tree):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            first = node.body[0]
            docstring = (first.end_lineno or 0) - first.lineno + 1 if ast.get_docstring(node) else 0
            length = (node.end_lineno or 0) - node.lineno - docstring
            assert length <= MAX_BODY_LINES, f"{node.name} has {length} lines"


def test_every_exception_is_caught_in_the_wrappers_and_where_a_thread_hands_it_back_only() -> None:
    places = [
        relative(path) for path in PRODUCT for line in path.read_text().splitlines() if "except Exception" in line
    ]
    web = ["shared/web/push.py", "shared/web/routes.py", "shared/web/sse.py"]
    assert sorted(places) == ["shared/adapters/sqlite/database.py", *web]


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


def loaded_by(statement: str) -> set[str]:
    command = [sys.executable, "-c", f"{statement}\nimport sys; print(*sys.modules)"]
    return set(subprocess.check_output(command, cwd=ROOT, text=True, env={"PATH": "/usr/bin:/bin"}).split())


def test_importing_main_loads_no_client_and_starts_nothing() -> None:
    loaded = loaded_by("import main, threading\nassert threading.active_count() == 1")
    assert (
        not {
            "requests",
            "redis",
            "sqlite3",
            "jwt",
            "langcodes",
            "google.api_core",
            "google.cloud.firestore",
            "grpc",
            "uvicorn",
            "infra",
        }
        & loaded
    )


def test_the_top_level_stays_as_it_was_prescribed() -> None:
    tracked = subprocess.check_output(["git", "ls-files"], cwd=ROOT, text=True).split()
    assert {name.split("/")[0] for name in tracked} <= TOP_LEVEL


def test_each_function_has_one_file_and_main_exports_them_all() -> None:
    assert sorted(main.__all__) == list(FUNCTIONS)
