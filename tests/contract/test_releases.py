"""Runs of the release before this one are read and continued by this one, and the other way round.

`python -m tests.bench.rolling` shows the same of both releases' functions on Google's emulators.
"""

import json
import subprocess
import sys
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from shared.adapters.storage.run_document import from_document, to_document
from shared.domain import fallback
from shared.domain.directory import ModelRef
from shared.domain.failure import Failure
from shared.domain.frozen import replace
from shared.domain.result import Result, Usage
from shared.domain.run import Run
from shared.domain.target import Target
from shared.errors import LlmRefused
from tests.contract.runs import NOW, a_run
from tests.e2e.rolling import RELEASE_0_2_0, unpacked
from tests.needs import need

STATES = ("pending", "claimed", "sent", "progressed", "retrying", "completed", "failed", "cancelled")
OPEN = STATES[:5]
TURNED = "turned to a fallback"
"""A state that the earlier release does not know: it goes on with the model that it finds."""
IN_THE_EARLIER_RELEASE = """
import json, sys
from datetime import datetime, timedelta
from shared.adapters.storage.run_document import from_document, to_document
from shared.domain.result import Result, Usage
from shared.domain.run import Failure

given = {state: from_document(document, revision=None) for state, document in json.load(sys.stdin).items()}
now, hour, result = given["pending"].created_at, timedelta(hours=1), Result(text="done")

pending = given["pending"]
claimed = pending.claimed(now, lease=hour)
sent = claimed.with_provider_job(now, provider_job_id="job-1")
written = {
    "pending": pending, "claimed": claimed, "sent": sent, "progressed": sent.progressed(now, progress=0.5),
    "retrying": claimed.with_fault(now, reason="llm_unavailable", delay=hour),
    "completed": sent.completed(now, result=result, usage=Usage(input_tokens=7), checks=3),
    "failed": sent.failed(now, error=Failure(code="deadline_exceeded", message="m", retryable=True)),
    "cancelled": sent.cancelled(now),
}
continued = {
    state: run.claimed(now, lease=hour).completed(now, result=result, usage=Usage(), checks=1)
    for state, run in given.items() if not run.is_terminal
}
keys = {
    state: [run.status, run.idempotency_key, run.provider_job_id, run.api, run.deployment, run.model and run.model.id]
    for state, run in given.items()
}
shown = {
    "keys": keys,
    "written": {state: to_document(run) for state, run in written.items()},
    "continued": {state: to_document(run) for state, run in continued.items()},
}
print(json.dumps(shown, default=datetime.isoformat))
"""


def runs_in_each_state() -> dict[str, Run]:
    """Returns {state: a run of this release}."""
    pending = a_run()
    claimed = pending.claimed(NOW, lease=timedelta(hours=1))
    sent = claimed.with_provider_job(NOW, provider_job_id="job-1")
    hour = timedelta(hours=1)
    spare = Target(api="openai_chat", model=ModelRef(id="spare", name="Spare", provider="p"), deployment="default")
    gone = LlmRefused(code="llm_model_gone")
    turned = fallback.after_call(replace(claimed, fallbacks=(spare, spare)), gone, NOW, delay=timedelta(0))
    assert turned is not None
    return {
        TURNED: turned,
        "pending": pending,
        "claimed": claimed,
        "sent": sent,
        "progressed": sent.progressed(NOW, progress=0.5),
        "retrying": claimed.with_fault(NOW, reason="llm_unavailable", delay=hour, may_be_billed=False),
        "completed": sent.completed(NOW, result=Result(text="done"), usage=Usage(input_tokens=7), checks=3),
        "failed": sent.failed(NOW, error=Failure(code="deadline_exceeded", message="m", retryable=True)),
        "cancelled": sent.cancelled(NOW),
    }


def keys(run: Run) -> list[Any]:
    model = run.model.id if run.model else None
    return [run.status, run.idempotency_key, run.provider_job_id, run.api, run.deployment, model]


@pytest.fixture(scope="module")
def earlier(tmp_path_factory: pytest.TempPathFactory) -> Any:
    """What the earlier release reads of this one's runs, what it makes of them, and what it writes itself."""
    source = unpacked(RELEASE_0_2_0, tmp_path_factory.mktemp("earlier") / "source")
    has_history = source is not None
    need(None if has_history else "This clone has no release 0.2.0; fetch its history: git fetch --unshallow")
    assert source is not None
    return asked(source)


def asked(source: Path) -> Any:
    documents = {state: to_document(run) for state, run in runs_in_each_state().items()}
    command = [sys.executable, "-c", IN_THE_EARLIER_RELEASE]
    given = json.dumps(documents, default=lambda value: value.isoformat())
    done = subprocess.run(command, cwd=source, input=given, capture_output=True, text=True, env={})
    assert done.returncode == 0, done.stderr
    return {**json.loads(done.stdout), "given": {s: from_document(d, revision=None) for s, d in documents.items()}}


@pytest.mark.parametrize("state", STATES)
def test_a_run_of_the_earlier_release_is_read_with_its_state_its_key_and_its_job(earlier: Any, state: str) -> None:
    run, same = from_document(earlier["written"][state], revision=None), runs_in_each_state()[state]
    assert [run.status, run.attempt, run.provider_job_id, run.result, run.error, run.usage, run.due_at] == [
        same.status, same.attempt, same.provider_job_id, same.result, same.error, same.usage, same.due_at
    ]  # fmt: skip
    assert [event.type for event in run.events] == [event.type for event in same.events]


@pytest.mark.parametrize("state", OPEN)
def test_an_open_run_of_the_earlier_release_is_continued_under_its_key(earlier: Any, state: str) -> None:
    run = from_document(earlier["written"][state], revision=None)
    ended = run.claimed(NOW, lease=timedelta(hours=1)).completed(
        NOW, result=Result(text="done"), usage=Usage(), checks=1
    )
    assert ended.status == "completed" and ended.idempotency_key == f"{run.id}-1"


@pytest.mark.parametrize("state", [*STATES, TURNED])
def test_the_earlier_release_reads_a_run_of_this_one_with_its_state_its_key_and_its_job(
    earlier: Any, state: str
) -> None:
    assert earlier["keys"][state] == keys(earlier["given"][state])


@pytest.mark.parametrize("state", [*OPEN, TURNED])
def test_a_run_that_the_earlier_release_has_ended_after_a_roll_back_is_read_again(earlier: Any, state: str) -> None:
    run, given = from_document(earlier["continued"][state], revision=None), earlier["given"][state]
    assert (run.status, run.id, run.result) == ("completed", given.id, Result(text="done"))
    assert run.idempotency_key == f"{given.id}-{max(given.attempt, 1)}" and run.model == given.model
    assert [event.type for event in run.events].count("run.completed") == 1
