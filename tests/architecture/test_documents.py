"""What the documents say is what there is: settings, commands, requirements, links."""

import re
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
DOCUMENTS = [
    "README.md",
    "CONTRIBUTING.md",
    "SECURITY.md",
    "shared/README.md",
    "shared/decisions.md",
    "infra/README.md",
    "infra/OPERATIONS.md",
]


def read(name: str) -> str:
    return (ROOT / name).read_text()


def test_every_setting_is_in_the_operators_table_and_nothing_else_is() -> None:
    code = read("shared/settings.py")
    settings = set(re.findall(r'reader\.\w+\(\s*"([A-Z_]+)"', code))
    table = set(re.findall(r"^\| `([A-Z_]+)` \|", read("infra/README.md"), re.MULTILINE))
    assert table == settings


@pytest.mark.parametrize("document", DOCUMENTS)
def test_every_make_command_in_the_documents_exists(document: str) -> None:
    targets = set(re.findall(r"^([a-z-]+):", read("Makefile"), re.MULTILINE))
    commands = re.findall(r"^    make ([a-z-]+)|[`(]make ([a-z-]+)", read(document), re.MULTILINE)
    assert {name for pair in commands for name in pair if name} <= targets


@pytest.mark.parametrize("document", DOCUMENTS)
def test_every_link_in_the_documents_leads_somewhere(document: str) -> None:
    folder = (ROOT / document).parent
    links = re.findall(r"\]\(([^)#]+)\)", read(document))
    for link in links:
        assert link.startswith("http") or (folder / link).exists(), link


def test_every_file_that_the_map_names_exists() -> None:
    for name in re.findall(r"`((?:shared|functions|infra|tests)/[\w./]+)`", read("shared/README.md")):
        assert (ROOT / name).exists(), name


def test_the_deployed_packages_contain_neither_tests_nor_tools() -> None:
    ignored = read(".gcloudignore").split()
    assert {"tests/", "infra/", ".venv/", ".data/", ".env", "pyproject.toml", "requirements-dev.txt"} <= set(ignored)


def test_a_deployment_without_a_project_says_what_is_missing_and_changes_nothing() -> None:
    done = subprocess.run(["make", "deploy", "REGION=europe-west1"], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode != 0 and "make deploy PROJECT=" in done.stderr


def test_a_deployment_ends_with_a_try_of_the_deployed_system() -> None:
    words = [
        "make",
        "--no-print-directory",
        "-n",
        "deploy",
        "PROJECT=my-project",
        "REGION=europe-west1",
        "TOKEN=a-token",
    ]
    lines = subprocess.check_output(words, cwd=ROOT, text=True).splitlines()
    applied = next(number for number, line in enumerate(lines) if "terraform apply" in line)
    assert 'infra.smoke_deployed "a-token"' in lines[-1] and applied < len(lines) - 1
