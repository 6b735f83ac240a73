"""What every open project has: licence, contribution, security, checks on each change."""

import json
import re
import subprocess
import tomllib
from importlib.metadata import distribution
from pathlib import Path

import yaml

from tests.openapi import document

ROOT = Path(__file__).parents[2]


def read(name: str) -> str:
    return (ROOT / name).read_text()


def test_the_licence_is_the_apache_licence_unmodified() -> None:
    standard = distribution("functions-framework").locate_file("")
    [text] = Path(str(standard)).glob("functions_framework-*.dist-info/licenses/LICENSE")
    assert read("LICENSE") == text.read_text()
    assert tomllib.loads(read("pyproject.toml"))["project"]["license"] == "Apache-2.0"


def test_the_api_its_clients_and_the_changelog_have_the_version_of_the_project() -> None:
    version = tomllib.loads(read("pyproject.toml"))["project"]["version"]
    assert document()["info"]["version"] == version
    assert json.loads(read("infra/clients/typescript/package.json"))["version"] == version
    lock = json.loads(read("infra/clients/typescript/package-lock.json"))
    assert lock["version"] == lock["packages"][""]["version"] == version
    releases = re.findall(r"^## (.+)", read("CHANGELOG.md"), re.MULTILINE)
    assert releases[0] == "Unreleased" and re.fullmatch(rf"{re.escape(version)} \(\d{{4}}-\d\d-\d\d\)", releases[1])


def test_each_change_is_tested_by_the_script_of_ci_on_the_oldest_python_and_a_newer_one() -> None:
    job = yaml.safe_load(read(".github/workflows/ci.yml"))["jobs"]["test"]
    assert "bash .ci/run" in [step.get("run") for step in job["steps"]]
    oldest = tomllib.loads(read("pyproject.toml"))["project"]["requires-python"].removeprefix(">=")
    assert job["strategy"]["matrix"]["python"][0] == oldest and len(job["strategy"]["matrix"]["python"]) == 2


def test_ci_has_the_emulators_that_the_tests_need() -> None:
    steps = yaml.safe_load(read(".github/workflows/ci.yml"))["jobs"]["test"]["steps"]
    [components] = [step["with"]["install_components"] for step in steps if "setup-gcloud" in step.get("uses", "")]
    command = re.search(r"gcloud components install ([\w -]+)", read("infra/local/emulators/google.py"))
    assert command is not None and set(components.split(",")) == {*command[1].split(), "alpha"}, (
        "alpha: infra/gcloud.sh"
    )
    assert any("setup-java" in step.get("uses", "") for step in steps)


def test_updates_are_looked_for_wherever_dependencies_stand() -> None:
    updates = yaml.safe_load(read(".github/dependabot.yml"))["updates"]
    watched = {(entry["package-ecosystem"], folder) for entry in updates for folder in folders(entry)}
    pinned = {("pip", folder_of(path)) for path in tracked("requirements*.txt")}
    assert watched == pinned | {("npm", folder_of(path)) for path in tracked("package.json")} | {
        ("github-actions", "/")
    }


def folders(entry: dict[str, object]) -> list[str]:
    several = entry.get("directories")
    return [str(folder) for folder in several] if isinstance(several, list) else [str(entry["directory"])]


def tracked(pattern: str) -> list[Path]:
    listed = subprocess.check_output(["git", "ls-files"], cwd=ROOT, text=True).splitlines()
    return [path for path in map(Path, listed) if path.match(pattern)]


def folder_of(path: Path) -> str:
    return f"/{path.parent.as_posix()}".removesuffix("/.") or "/"


def test_the_checks_before_a_commit_are_those_of_make_check() -> None:
    [repository] = yaml.safe_load(read(".pre-commit-config.yaml"))["repos"]
    before = {" ".join(hook["entry"].split()[:2]).removeprefix(".venv/bin/") for hook in repository["hooks"]}
    recipe = read("Makefile").partition("\ncheck:")[2].partition("\n\n")[0]
    tools = {" ".join(words.split()[:2]) for words in re.findall(r"\$\(BIN\)/([\w -]+)", recipe)}
    assert before == tools
