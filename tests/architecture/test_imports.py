"""Holds what a process of one function loads: the modules of the others would delay its first answer."""

import subprocess
import sys
from functools import cache
from pathlib import Path

import pytest

from infra.local.routing import FUNCTIONS

ROOT = Path(__file__).parents[2]
CLOUD = {
    "PATH": "/usr/bin:/bin",
    "BACKEND": "gcp",
    "GOOGLE_CLOUD_PROJECT": "project",
    "RECHECK_URL": "https://recheck.example.com",
    "DELIVER_WEBHOOK_URL": "https://webhooks.example.com",
    "INVOKER_SERVICE_ACCOUNT": "invoker@project.iam.gserviceaccount.com",
    "LLM_DEPLOYMENTS": '{"default": "https://llm.example.com"}',
}
ASKS_FOR = {
    "bury_run": ("invoker", "bury"),
    "deliver_webhook": ("invoker", "deliver_webhook"),
    "process_run": ("invoker", "advance"),
    "read_runs": ("tokens", "directory", "read"),
    "recheck_run": ("invoker", "advance"),
    "submit_run": ("tokens", "directory", "submit"),
    "sweep_runs": ("invoker", "sweep"),
}
"""{function: what it takes from Services until its first answer}"""


def loaded_by(*statements: str, settings: dict[str, str]) -> list[set[str]]:
    """Runs the statements in a process of their own; returns the modules that are loaded after each of them."""
    program = "\n".join(f"{statement}\nimport sys; print(*sys.modules)" for statement in statements)
    written = subprocess.check_output([sys.executable, "-c", program], cwd=ROOT, text=True, env=settings)
    return [set(line.split()) for line in written.splitlines()]


@cache
def loaded_by_function(function: str) -> tuple[set[str], set[str]]:
    """Returns the modules that are loaded at its start, and with its first answer."""
    asked = "\n".join(f"services.{name}" for name in ASKS_FOR[function])
    started, answered = loaded_by(
        f"import main, threading\nmain.{function}\nassert threading.active_count() == 1",
        f"services = main.wiring.services()\n{asked}",
        settings=CLOUD,
    )
    return started, answered


@pytest.mark.parametrize("function", FUNCTIONS)
def test_a_process_loads_its_function_and_connects_to_nothing(function: str) -> None:
    loaded, _ = loaded_by_function(function)
    of_functions = {name for name in loaded if name.startswith("functions.")}
    assert of_functions == {f"functions.{function}"}
    heavy = {
        "google.api_core",
        "grpc",
        "infra",
        "jwt",
        "langcodes",
        "opentelemetry.sdk",
        "redis",
        "requests",
        "sqlite3",
    }
    assert not {*heavy, "uvicorn", "shared.adapters.gcp", "shared.adapters.llm", "shared.adapters.sqlite"} & loaded


@pytest.mark.parametrize("function", FUNCTIONS)
def test_a_first_answer_loads_the_adapters_that_it_needs_only(function: str) -> None:
    _, loaded = loaded_by_function(function)
    assert {"google.cloud.firestore", "google.cloud.tasks_v2", "google.pubsub_v1"} & loaded == {
        "google.cloud.firestore"
    }
    assert ("shared.adapters.llm" in loaded) == (function in ("process_run", "recheck_run"))
    of_submits = {"shared.domain.submission", "shared.usecases.submit"}
    assert function in ("read_runs", "submit_run") or not of_submits & loaded
    assert not {"shared.adapters.sqlite", "shared.adapters.cache.redis", "shared.adapters.identity.embedded"} & loaded


def test_traces_that_are_not_exported_load_no_exporter() -> None:
    statement = "from shared import wiring\nwiring.services().submit\nwiring.close()"
    [loaded] = loaded_by(statement, settings={"PATH": "/usr/bin:/bin"})
    assert "shared.usecases.submit" in loaded and "opentelemetry" not in loaded
