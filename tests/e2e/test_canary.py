"""What users write is found in the store alone: in no log line, message, task or error."""

from collections import defaultdict
from collections.abc import Iterable
from typing import Any

import httpx
from google.cloud.firestore_v1.types import CommitRequest

from tests.e2e.faulty import FaultySystem
from tests.e2e.system import until
from tests.grpc_proxy import COMMIT, Forward, Hook, Requests

CANARY = "canary7f3a"
ADMIN = "/llm_user_runs_admin"
JOBS = "/api/llm/jobs/submit/"
REFERENCES = {"style_guide": CANARY, "channel": CANARY}
NOTEBOOK = {
    "nbformat": 4,
    "nbformat_minor": 5,
    "metadata": {},
    "cells": [{"cell_type": "markdown", "id": "a", "metadata": {}, "source": CANARY}],
}
SCHEMA = {"type": "object", "title": CANARY}
ACCEPTED: list[tuple[str, dict[str, Any]]] = [
    *[
        (ADMIN, {"text": f"{CANARY} {marker}", "source_lang": "en", "target_lang": "de", **REFERENCES})
        for marker in ("", "[[fail]]", "[[refuse]]", "[[garbage]]", "[[rate-limit]]")
    ],
    ("/llm_user_runs", {"input_text": CANARY, "channel": CANARY}),
    (
        JOBS,
        {
            "job_type": "general_llm_request",
            "model_id": "demo-chat-model",
            "input_data": {"system_message": CANARY, "full_input": CANARY * 4000, "response_schema": SCHEMA},
            "question_id": CANARY,
            "channel": CANARY,
        },
    ),
    (
        JOBS,
        {
            "job_type": "review_colab",
            "model_id": "demo-model",
            "input_data": {"notebook": NOTEBOOK, "instructions": CANARY},
        },
    ),
    (
        "/api/llm/trainer-analysis/",
        {"model_id": "demo-model", "question_id": CANARY, "system_message": CANARY, "full_input": CANARY},
    ),
]
REFUSED: list[tuple[str, dict[str, Any]]] = [
    (ADMIN, {"text": CANARY * 200, "source_lang": "en", "target_lang": "de"}),
    (ADMIN, {"text": CANARY, "source_lang": CANARY + "-!", "target_lang": "de"}),
    (ADMIN, {"text": CANARY, "source_lang": "en", "target_lang": "de", "style_guide": [CANARY]}),
    (ADMIN, {"text": CANARY, "source_lang": "en", "target_lang": "de", "prior_run_uuid": CANARY}),
    (ADMIN, {"text": CANARY, "source_lang": "en", "target_lang": "de", "phrase_clients_id": CANARY}),
    (ADMIN, {"text": CANARY, "source_lang": "en", "target_lang": "de", "reference_file_ids": [CANARY]}),
    ("/llm_user_runs", {"input_text": CANARY, "end_client_id": CANARY}),
    ("/llm_user_runs", {"input_text": CANARY, "channel": f"user:{CANARY}"}),
    (JOBS, {"job_type": CANARY, "model_id": "demo-model", "input_data": {"full_input": CANARY}}),
    (JOBS, {"job_type": "general_llm_request", "model_id": CANARY, "input_data": {"full_input": CANARY}}),
    (JOBS, {"job_type": "review_colab", "model_id": "demo-model", "input_data": {"notebook": {"cells": [CANARY]}}}),
]


def keeping(what: list[tuple[str, bytes]]) -> Hook:
    def hook(method: str, requests: Requests, forward: Forward) -> Iterable[bytes]:
        what.extend((method, request) for request in requests)
        return forward()

    return hook


def test_no_text_of_the_user_leaves_the_store(faulty: FaultySystem) -> None:
    sent: dict[str, list[tuple[str, bytes]]] = defaultdict(list)
    for name in ("firestore", "pubsub", "tasks"):
        getattr(faulty, name).hook = keeping(sent[name])
    with faulty.client("submit_run") as client:
        accepted = [
            client.post(path, json=body, headers={"Idempotency-Key": f"{CANARY}-{number}"})
            for number, (path, body) in enumerate(ACCEPTED)
        ]
        refused = [client.post(path, json=body) for path, body in REFUSED]
    assert [answer.status_code for answer in accepted] == [200] * len(ACCEPTED), [answer.text for answer in accepted]
    assert {answer.status_code for answer in refused} <= {400, 403, 404}
    job_ids = [answer.json()["job_id"] for answer in accepted]
    with faulty.client("read_runs") as client:
        runs = [ended(client, job_id) for job_id in job_ids]
        refused.append(client.get(f"/llm_user_runs/{CANARY}"))
        refused.append(client.get("/api/llm/jobs/", params={"cursor": CANARY, "status": CANARY}))
    errors = [str(run.get("error_message")) for run in runs] + [answer.text for answer in refused]
    assert not [error for error in errors if CANARY in error]
    assert len(sent["pubsub"]) >= len(ACCEPTED) and len(sent["tasks"]) >= 1
    assert not [method for name in ("pubsub", "tasks") for method, request in sent[name] if CANARY.encode() in request]
    assert stored_with_canary(sent["firestore"]) == {"llm_runs", "parts"}
    assert job_ids[0] in faulty.log() and CANARY not in faulty.log()


def ended(client: httpx.Client, job_id: str) -> dict[str, Any]:
    run: dict[str, Any] = {}

    def is_complete() -> bool:
        run.update(client.get(f"/api/llm/jobs/{job_id}/status/").json())
        return bool(run["is_complete"])

    until(is_complete)
    return run


def stored_with_canary(requests: list[tuple[str, bytes]]) -> set[str]:
    """The collections, by the last that is named in a document's path."""
    return {
        write.update.name.split("/")[-2]
        for method, request in requests
        if method == COMMIT
        for write in CommitRequest.deserialize(request).writes
        if CANARY in str(write) or CANARY.encode() in type(write).serialize(write)
    }
