"""Dependencies are declared once, in pyproject.toml; the compiled files agree with it and with each other."""

import ast
import re
import sys
import tomllib
from collections.abc import Iterable, Iterator
from functools import cache
from importlib.metadata import PackageNotFoundError, distribution, distributions
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).parents[2]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())
DEPLOYED = [Requirement(line) for line in PROJECT["project"]["dependencies"]]
LOCAL, DEV = ([Requirement(line) for line in PROJECT["dependency-groups"][group]] for group in ("local", "dev"))
COMPILED = {
    "requirements.txt": DEPLOYED,
    "infra/local/requirements.txt": LOCAL,
    "requirements-dev.txt": [*DEPLOYED, *LOCAL, *DEV],
}
"""A compiled file, and the declared dependencies that it is made of."""
FOREIGN = {ROOT / "tests/bench/peers" / name for name in ("celery_app.py", "restate_app.py")}
"""Programs with a virtual environment of their own."""
OURS = {"functions", "infra", "main", "shared", "tests"}
PIN = re.compile(r"^(\S+?)==(\S+)(?: ; (.+?))? \\\n((?:    --hash=sha256:[0-9a-f]{64}(?: \\)?\n)+)", re.MULTILINE)


@cache
def pins(file: str) -> dict[str, tuple[str, str, str]]:
    """{package: (version, marker, hashes)}."""
    return {name: (version, marker, hashes) for name, version, marker, hashes in PIN.findall((ROOT / file).read_text())}


@pytest.mark.parametrize("file", COMPILED)
def test_every_line_of_a_compiled_file_is_a_pinned_version_with_hashes(file: str) -> None:
    rest = PIN.sub("", (ROOT / file).read_text())
    assert pins(file) and not [line for line in rest.splitlines() if line.split() and not line.lstrip().startswith("#")]
    assert "://" not in rest and "index" not in rest


@pytest.mark.parametrize("file", COMPILED)
def test_every_declared_dependency_is_pinned_to_a_version_that_it_allows(file: str) -> None:
    for declared in COMPILED[file]:
        version, marker, _ = pins(file).get(canonicalize_name(declared.name), ("", "", ""))
        assert version and declared.specifier.contains(version), f"{declared} changed: run make lock"
        assert re.sub("[\"']", "", marker) == re.sub("[\"']", "", str(declared.marker or ""))


@pytest.mark.parametrize("file", COMPILED)
def test_a_compiled_file_holds_what_the_declared_dependencies_need_and_nothing_else(file: str) -> None:
    needed = set(names(COMPILED[file], everywhere=False))
    assert needed <= set(pins(file)), "run make lock"
    assert set(pins(file)) <= set(names(COMPILED[file], everywhere=True)), "run make lock"


def names(declared: Iterable[Requirement], *, everywhere: bool) -> Iterator[str]:
    """These packages and those that they require, here or on any platform, as far as they are installed."""
    seen: set[tuple[str, str]] = set()
    waiting = [requirement for requirement in declared if is_wanted(requirement, "", everywhere=everywhere)]
    while waiting:
        requirement = waiting.pop()
        name = canonicalize_name(requirement.name)
        yield name
        for extra in ("", *requirement.extras):
            if (name, extra) not in seen:
                seen.add((name, extra))
                waiting += [below for below in required_by(name) if is_wanted(below, extra, everywhere=everywhere)]


def is_wanted(requirement: Requirement, extra: str, *, everywhere: bool) -> bool:
    marker = requirement.marker
    if marker is None or marker.evaluate({"extra": extra}):
        return True
    return everywhere and "extra ==" not in str(marker)


@cache
def required_by(name: str) -> list[Requirement]:
    try:
        return [Requirement(line) for line in distribution(name).requires or []]
    except PackageNotFoundError:
        return []


@pytest.mark.parametrize("file", ["requirements.txt", "infra/local/requirements.txt"])
def test_tests_run_with_the_very_packages_that_are_deployed(file: str) -> None:
    assert pins(file).items() <= pins("requirements-dev.txt").items()


@pytest.mark.parametrize(
    ("folders", "declared"),
    [
        (("main.py", "functions", "shared"), DEPLOYED),
        (("infra",), [*DEPLOYED, *LOCAL]),
        (("tests",), [*DEPLOYED, *LOCAL, *DEV]),
    ],
    ids=["deployed", "local", "tests"],
)
def test_every_package_that_the_code_imports_is_declared(folders: tuple[str, ...], declared: list[Requirement]) -> None:
    allowed = {canonicalize_name(requirement.name) for requirement in declared}
    files = [file for folder in folders for file in sorted((ROOT / folder).rglob("*.py")) or [ROOT / folder]]
    for file in set(files) - FOREIGN:
        for module in foreign_imports(file):
            assert package_of(module) in allowed, f"{file.relative_to(ROOT)} imports {module}: declare its package"


@cache
def foreign_imports(file: Path) -> frozenset[str]:
    return frozenset(_foreign_imports(file))


def _foreign_imports(file: Path) -> Iterator[str]:
    for node in ast.walk(ast.parse(file.read_text())):
        if isinstance(node, ast.Import):
            modules = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            modules = [f"{node.module}.{alias.name}" for alias in node.names]
        else:
            continue
        yield from (module for module in modules if module.partition(".")[0] not in sys.stdlib_module_names | OURS)


@cache
def package_of(module: str) -> str | None:
    """The installed package that holds the module, or the module that has it as a name."""
    parts = module.split(".")
    for end in range(len(parts), 0, -1):
        if (found := package_of_file().get("/".join(parts[:end]))) is not None:
            return found
    return None


@cache
def package_of_file() -> dict[str, str]:
    """{path of a module without its ending: package}."""
    found: dict[str, str] = {}
    for package in distributions():
        name = canonicalize_name(package.name)  # it reads the package's metadata anew each time
        for file in package.files or []:
            stem = re.sub(r"(/__init__)?(\.[\w-]+)?\.(py|so|pyd)$", "", file.as_posix())
            if stem != file.as_posix():
                found[stem] = name
    return found
