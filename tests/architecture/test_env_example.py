""".env.example shows every setting that somebody on one machine may want, with its default."""

import re
import subprocess
from pathlib import Path

import pytest

from shared.settings import from_environment

ROOT = Path(__file__).parents[2]
NAMES = set(re.findall(r'reader\.\w+\(\s*"([A-Z_]+)"', (ROOT / "shared/settings.py").read_text()))
EXAMPLES = dict(re.findall(r"^#([A-Z_]+)=(.+)$", (ROOT / ".env.example").read_text(), re.MULTILINE))
CLOUD_ONLY = {
    "BACKEND", "DELIVER_WEBHOOK_URL", "FIRESTORE_DATABASE", "INTERNAL_AUDIENCE", "INVOKER_SERVICE_ACCOUNT", "K_SERVICE",
    "LONG_RUNS_TOPIC", "LONG_TASKS_QUEUE", "RECHECK_URL", "RUNS_TOPIC", "STREAMS_URL", "TASKS_LOCATION",
    "TASKS_QUEUE", "WEBHOOKS_QUEUE",
}  # fmt: skip
"""Settings of deployed functions; the commands for one machine choose them."""


def test_every_setting_is_in_the_example_or_of_the_cloud_only() -> None:
    assert set(EXAMPLES) == NAMES - CLOUD_ONLY
    assert CLOUD_ONLY < NAMES


def test_every_line_of_the_example_is_commented_out() -> None:
    lines = (ROOT / ".env.example").read_text().splitlines()
    assert all(line.startswith("#") for line in lines if line)


def test_the_example_shows_the_defaults_of_the_operators_table() -> None:
    table = re.findall(r"^\| `([A-Z_]+)` \| ([^|`]*) \|", (ROOT / "infra/README.md").read_text(), re.MULTILINE)
    defaults = {name: default.partition(",")[0].strip() for name, default in table if name in EXAMPLES}
    shown = {name: default for name, default in defaults.items() if default and name != "LLM_DEPLOYMENTS"}
    assert len(shown) > 10 and shown.items() <= EXAMPLES.items()


def test_every_value_of_the_example_is_accepted(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in EXAMPLES.items():
        monkeypatch.setenv(name, value)
    assert from_environment().own_llm


@pytest.mark.parametrize("name", [".gitignore", ".gcloudignore"])
def test_a_file_with_secrets_is_neither_committed_nor_deployed(name: str) -> None:
    assert ".env" in (ROOT / name).read_text().splitlines()


def test_git_ignores_the_file_with_secrets_and_keeps_the_example() -> None:
    def is_ignored(name: str) -> bool:
        return subprocess.run(["git", "check-ignore", "--quiet", "--no-index", name], cwd=ROOT).returncode == 0

    assert is_ignored(".env") and not is_ignored(".env.example")
