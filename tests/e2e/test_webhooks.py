"""Webhooks over real processes: verified as receivers verify them, and kept through kill -9."""

from collections import Counter
from pathlib import Path
from typing import Any
from uuid import uuid4

import httpx
import pytest
from standardwebhooks.webhooks import WebhookVerificationError

from tests.e2e.receiver import Delivered, Receiver, receiving
from tests.e2e.system import System, until

RUNS = 60


def post(client: httpx.Client, path: str, body: Any = None) -> Any:
    answer = client.post(path, json=body)
    assert answer.status_code == 200, answer.text
    return answer.json()


def test_every_event_arrives_signed_and_in_order_and_the_list_tells_of_it(system: System, receiver: Receiver) -> None:
    path = f"/{uuid4()}"
    events = ["run.queued", "run.started", "run.completed"]
    with system.client("admin") as admin, system.client() as client:
        made = post(admin, "/api/webhooks/", {"url": f"http://{receiver.host}{path}", "events": events})
        own_secret = post(admin, "/api/webhooks/secret/")["secret"]
        webhook = {"url": f"http://{receiver.host}{path}/own"}
        run_id = post(client, "/llm_user_runs", {"input_text": "hello", "webhook": webhook})["run_uuid"]
        until(lambda: len(receiver.at(path)) == 3 and receiver.at(f"{path}/own"))
        bodies = [delivered.verified(made["secret"]) for delivered in receiver.at(path)]
        assert [body["type"] for body in bodies] == events
        [own] = receiver.at(f"{path}/own")
        shown = client.get(f"/llm_user_runs/{run_id}").json()
        del shown["success"]
        assert bodies[-1]["data"] == own.verified(own_secret)["data"] == shown
        with pytest.raises(WebhookVerificationError):
            own.verified(made["secret"])
        base = f"/api/webhooks/{made['webhook']['id']}"
        listed = until(lambda: delivered_list(admin, base, 3))
        assert [(one["type"], one["last_code"], one["tries"]) for one in reversed(listed)] == [
            (event, 204, 1) for event in events
        ]
        post(admin, f"{base}/test/")
        until(lambda: len(receiver.at(path)) == 4)
        assert receiver.at(path)[-1].verified(made["secret"])["type"] == "webhook.test"
        receiver.answer = lambda delivered: 410 if delivered.path == path else 204
        post(admin, f"{base}/deliveries/{listed[0]['id']}/redeliver/")
        disabled = until(lambda: disabled_webhook(admin, base))
        assert disabled["disabled_reason"] == "gone" and receiver.at(path)[-1].id == listed[0]["id"]
        assert admin.delete(f"{base}/").status_code == 200
        receiver.answer = lambda delivered: 204
    written = "".join(path.read_text(errors="replace") for path in system.folder.glob("*.log"))
    assert made["secret"] not in written and own_secret not in written


def delivered_list(admin: httpx.Client, base: str, count: int) -> list[Any]:
    """Returns the deliveries once so many have been received."""
    listed: list[Any] = admin.get(f"{base}/deliveries/").json()["deliveries"]
    return listed if [one["status"] for one in listed] == ["delivered"] * count else []


def disabled_webhook(admin: httpx.Client, base: str) -> Any:
    webhook = admin.get(f"{base}/").json()["webhook"]
    return None if webhook["enabled"] else webhook


def test_no_event_is_lost_when_the_system_is_killed_amid_deliveries(data_dir: Path) -> None:
    with receiving() as receiver:
        refused: Counter[str] = Counter()

        def answer(delivered: Delivered) -> int:
            """Refuses some first tries, so that deliveries wait for others when the system is killed."""
            refused[delivered.id] += 1
            return 500 if refused[delivered.id] == 1 and hash(delivered.id) % 5 == 0 else 204

        receiver.answer = answer
        system = System(
            data_dir,
            WEBHOOK_ALLOWED_HOSTS=receiver.host,
            LLM_SIM_SECONDS="0.5",
            SWEEP_SECONDS="0.5",
            PENDING_GRACE_SECONDS="1",
        )
        with system.client("admin") as admin:
            body = {"url": f"http://{receiver.host}/", "events": ["run.started", "run.completed"]}
            secret = post(admin, "/api/webhooks/", body)["secret"]
        accepted: list[str] = []
        for kill_at in (RUNS // 3, 2 * RUNS // 3):
            submit_until(system, accepted, kill_at)
            until(lambda: len(receiver.got) > 10)
            system.kill()
            system.start()
        submit_until(system, accepted, RUNS)
        wanted = {(run_id, event) for run_id in accepted for event in ("run.started", "run.completed")}
        until(
            lambda: wanted <= {(got["data"]["run_uuid"], got["type"]) for got in bodies(receiver, secret)}, seconds=90
        )
        first: dict[str, list[str]] = {}
        for got in bodies(receiver, secret):
            first.setdefault(got["data"]["run_uuid"], []).append(got["type"])
        assert all(types[0] == "run.started" for types in first.values())
        assert system.stop() == 0


def bodies(receiver: Receiver, secret: str) -> list[Any]:
    return [delivered.verified(secret) for delivered in list(receiver.got)]


def events(receiver: Receiver, secret: str) -> set[tuple[str, str]]:
    return {(got["data"]["run_uuid"], got["type"]) for got in bodies(receiver, secret)}


def submit_until(system: System, accepted: list[str], count: int) -> None:
    with system.client() as client:
        while len(accepted) < count:
            accepted.append(post(client, "/llm_user_runs", {"input_text": "hello world"})["run_uuid"])
