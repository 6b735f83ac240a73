"""A message that no worker could handle, on Google's emulators: it is kept, and its run goes on."""

import json
from base64 import b64encode
from typing import Any

import httpx

from tests.e2e.system import Cloud, until


def publish_dead_letter(cloud: Cloud, run_id: str) -> str:
    """Publishes what Pub/Sub does after the last delivery of the run's message. Returns the message's id."""
    project, host = cloud.printed["GOOGLE_CLOUD_PROJECT"], cloud.printed["PUBSUB_EMULATOR_HOST"]
    attributes = {"CloudPubSubDeadLetterSourceSubscription": "process-run"}
    message = {"data": b64encode(json.dumps({"run_id": run_id}).encode()).decode(), "attributes": attributes}
    url = f"http://{host}/v1/projects/{project}/topics/llm-runs-dead-letters:publish"
    answer = httpx.post(url, json={"messages": [message]}, trust_env=False)
    return str(answer.json()["messageIds"][0])


def kept(cloud: Cloud, message_id: str) -> Any:
    owner = {"Authorization": "Bearer owner"}
    answer = httpx.get(f"{cloud.documents}/dead_letters?pageSize=300", headers=owner, trust_env=False).json()
    found = [document["fields"] for document in answer.get("documents", []) if message_id in json.dumps(document)]
    return found[0] if found else None


def test_a_dead_letter_is_kept_and_is_no_verdict_on_its_run(cloud: Cloud) -> None:
    with cloud.client() as client:
        run_id = client.post("/llm_user_runs", json={"input_text": "[[slow 3]]"}).json()["run_uuid"]
        message_id = publish_dead_letter(cloud, run_id)
        letter = until(lambda: kept(cloud, message_id))
        assert letter["reason"]["stringValue"] == "undeliverable" and run_id in json.dumps(letter)
        until(lambda: client.get(f"/llm_user_runs/{run_id}").json()["status"] == "completed")
