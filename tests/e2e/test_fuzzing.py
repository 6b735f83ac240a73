"""Thousands of requests made up from infra/openapi.yaml, right ones and wrong ones: each is answered as it says."""

import json
import os
import re
import subprocess
import sys
from collections import Counter, defaultdict
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

import pytest
from hypothesis.configuration import storage_directory

from shared.web import csrf
from tests.e2e.system import ROOT, System
from tests.openapi import document, event_schema, operations, walk

CONFIG = Path(__file__).parent / "fuzzing" / "schemathesis.toml"
MIN_REQUESTS = 2000
NEED_WHAT_WAS_SENT = {"redeliver_webhook", "replay_dead_letter"}
"""They need the id of a delivery or a dead letter, which no made-up request has; tests/entrypoints do them."""
STREAMS = "/stream/?$"
SUBMIT = "^/llm_user_runs$"
END = "end_session"
FEW = ("--phases", "examples,fuzzing")
"""Without the phase that tries out the bounds of every field: the share `demo` does it, with the same code behind."""
PAGE = ("--header", "Sec-Fetch-Site: same-origin")
OF_ADMINS = "^/api/(admin|webhooks|usage)/"
"""Paths of operations that refuse everybody else, whatever is sent."""


@dataclass(frozen=True)
class Share:
    """Of all requests: with which credentials, by the document's names, to which operations, how many of each."""

    name: str
    credentials: dict[str, str]
    options: tuple[str, ...]


@pytest.fixture(scope="module")
def fuzzed(tmp_path_factory: pytest.TempPathFactory) -> Iterator[System]:
    system = System(tmp_path_factory.mktemp("fuzzed") / "data", LLM_SIM_SECONDS="0.01", MAX_OPEN_RUNS="0")
    yield system
    assert system.stop() == 0


def session(system: System, user: str) -> dict[str, str]:
    with system.client(user) as client:
        client.post("/api/auth/session/").raise_for_status()
        cookie = str(client.cookies["__session"])
    return {"session": f'api_key = "{cookie}"', "csrf": f'api_key = "{csrf.token_of(cookie)}"'}


def shares(system: System) -> list[Share]:
    demo = {"bearer": f'bearer = "{system.token()}"'}
    return [
        Share("demo", demo, ("--exclude-path-regex", f"{STREAMS}|{OF_ADMINS}", "--max-examples", "6")),
        Share("member", demo, ("--include-path-regex", OF_ADMINS, "--max-examples", "2", *FEW)),
        Share("streams", demo, ("--include-path-regex", f"{STREAMS}|{SUBMIT}", "--max-examples", "6")),
        Share("admin", session(system, "admin"), ("--exclude-operation-id", END, *PAGE, "--max-examples", "4", *FEW)),
        Share("end", session(system, "admin"), ("--include-operation-id", END, *PAGE, "--max-examples", "5")),
        Share("nobody", {}, ("--max-examples", "1", "--phases", "fuzzing")),
    ]


def document_of_single_events() -> str:
    """The document as JSON, with the schema of one event where OpenAPI 3.2 has it and schemathesis looks for it."""
    copy = json.loads(json.dumps(document()))
    for part in walk(copy):
        if "text/event-stream" in part:
            part["text/event-stream"] = {"itemSchema": event_schema(part["text/event-stream"]["schema"])}
    return json.dumps(copy)


def words(system: System, share: Share, folder: Path) -> list[str]:
    """Returns the words of schemathesis's command line."""
    config = folder / f"{share.name}.toml"
    credentials = "".join(f"{name} = {{ {value} }}\n" for name, value in share.credentials.items())
    config.write_text(CONFIG.read_text() + (f"\n[auth.openapi]\n{credentials}" if credentials else ""))
    words = ["--config-file", str(config), "run", str(folder / "openapi.json"), "--url", system.url]
    words += ["--checks", "all", "--no-color", *share.options]
    return [*words, "--report", "har", "--report-har-path", str(folder / f"{share.name}.har.json")]


def fuzz(system: System, folder: Path) -> None:
    """Sends all shares' requests, side by side."""
    runs = {share.name: words(system, share, folder) for share in shares(system)}
    # Without HOME, requests asks the system for the user's folder before each request, which takes a fifth of the time.
    environment = {"PATH": os.environ["PATH"], "HOME": str(folder), "PYTHONPATH": str(ROOT), "NO_PROXY": "*"}
    environment["HYPOTHESIS_STORAGE_DIRECTORY"] = str(storage_directory().path)
    command = [sys.executable, "-m", "tests.e2e.fuzzing.forks", "openapi.json", json.dumps(runs)]
    done = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    failed = [name for name, status in json.loads(done.stdout).items() if status != 0]
    assert not failed, "".join((folder / f"{name}.txt").read_text() for name in failed)


def answers(folder: Path) -> Iterator[tuple[str, int]]:
    """(operation, status) of each request; of one to no operation, its method."""
    patterns = [(one.name, one.method, re.compile(re.sub(r"{\w+}", "[^/]+", one.path))) for one in operations()]
    for report in folder.glob("*.har.json"):
        for entry in json.loads(report.read_text())["log"]["entries"]:
            method, path = entry["request"]["method"], urlsplit(entry["request"]["url"]).path
            found = [name for name, asked, pattern in patterns if asked == method and pattern.fullmatch(path)]
            yield found[0] if found else method, entry["response"]["status"]


def test_every_answer_to_made_up_requests_is_as_described(fuzzed: System, tmp_path: Path) -> None:
    (tmp_path / "openapi.json").write_text(document_of_single_events())
    fuzz(fuzzed, tmp_path)
    statuses: dict[str, Counter[int]] = defaultdict(Counter)
    for name, status in answers(tmp_path):
        statuses[name][status] += 1
    assert sum(counted.total() for counted in statuses.values()) >= MIN_REQUESTS
    assert not [(name, status) for name, counted in statuses.items() for status in counted if status >= 500]
    never = {operation.name for operation in operations() if not statuses[operation.name][200]}
    assert never <= NEED_WHAT_WAS_SENT, f"never done: {never}"
    assert not [line for line in fuzzed.log().splitlines() if json.loads(line)["severity"] == "ERROR"]
