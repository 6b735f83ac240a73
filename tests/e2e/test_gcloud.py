"""People with gcloud are users too: the real command line tool against the emulators."""

import subprocess
from typing import Any

from tests.e2e.system import Cloud, until


def gcloud(cloud: Cloud, *words: str) -> str:
    """Without credentials, against the Pub/Sub emulator's REST side."""
    settings = {
        "CLOUDSDK_CORE_PROJECT": cloud.printed["GOOGLE_CLOUD_PROJECT"],
        "CLOUDSDK_AUTH_DISABLE_CREDENTIALS": "true",
        "CLOUDSDK_API_ENDPOINT_OVERRIDES_PUBSUB": f"http://{cloud.printed['PUBSUB_EMULATOR_HOST']}/",
        "CLOUDSDK_CORE_DISABLE_PROMPTS": "1",
    }
    given = [f"{name}={value}" for name, value in settings.items()]
    return subprocess.check_output(["env", *given, "gcloud", *words], text=True, stderr=subprocess.STDOUT)


def test_publishing_a_run_id_by_hand_starts_that_run(cloud: Cloud) -> None:
    with cloud.client() as client:
        run_id = client.post("/llm_user_runs", json={"input_text": "hello"}).json()["run_uuid"]
        for message in (run_id, f'{{"run_id": "{run_id}"}}', "rubbish"):
            gcloud(cloud, "pubsub", "topics", "publish", "llm-runs", f"--message={message}")

        def run() -> Any:
            found = client.get(f"/llm_user_runs/{run_id}").json()
            return found if found["is_complete"] else None

        assert until(run)["status"] == "completed"


def test_the_subscriptions_are_as_terraform_makes_them(cloud: Cloud) -> None:
    listed = gcloud(
        cloud,
        "pubsub",
        "subscriptions",
        "describe",
        "process-run",
        "--format=value(deadLetterPolicy.maxDeliveryAttempts,retryPolicy.maximumBackoff)",
    )
    assert listed.split()[-2:] == ["20", "30s"]
