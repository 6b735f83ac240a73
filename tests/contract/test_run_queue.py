"""Tests the RunQueue port: a published run is delivered at least once, and again until it is acknowledged."""

import asyncio
import json
import time
from base64 import b64decode
from collections.abc import AsyncIterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import grpc
import pytest
from google.protobuf.duration_pb2 import Duration
from google.pubsub_v1 import PushConfig, RetryPolicy, SubscriberAsyncClient, Subscription, Topic
from google.pubsub_v1.services.subscriber.transports import SubscriberGrpcAsyncIOTransport

from infra.local.broker import Broker
from infra.local.requests_of_google import push_body
from shared.adapters.clock import SystemClock
from shared.adapters.gcp.bounds import bounded
from shared.adapters.gcp.clients import ClientsByLoop, GoogleEndpoints
from shared.adapters.gcp.run_queue import PubSubRunQueue
from shared.adapters.sqlite.backend import SqliteBackend
from shared.adapters.sqlite.delivery import Message, Task
from shared.domain.status import Lane
from shared.errors import QueueUnavailable
from shared.ports import RunQueue
from tests.contract.test_recheck_scheduler import Receiver
from tests.google import endpoints


@pytest.fixture
def receiver() -> Any:
    receiver = Receiver()
    yield receiver
    receiver.close()


@pytest.fixture(params=["sqlite", pytest.param("pubsub", marks=pytest.mark.emulators)])
async def queue(request: pytest.FixtureRequest, tmp_path: Path, receiver: Receiver) -> AsyncIterator[RunQueue]:
    if request.param == "pubsub":
        google = endpoints(request.getfixturevalue("google_emulators"))
        clients = ClientsByLoop(google)
        topic = f"projects/{google.project}/topics/llm-runs"
        await subscribe(clients, google, topic, receiver.url)
        yield PubSubRunQueue(clients, topics={Lane.SHORT: topic})
        await clients().close()
        return
    sqlite = SqliteBackend(tmp_path / "runs.db", SystemClock())

    async def deliver(topic: str, message: Message) -> int:
        receiver.requests.append((time.time(), {}, json.loads(push_body(topic, message))))
        return receiver.answers.pop(0) if receiver.answers else 204

    async def refuse_task(task: Task) -> int:
        return 500

    broker = Broker(sqlite.deliveries, deliver_task=refuse_task, deliver_message=deliver)
    sqlite.on_work = broker.wake
    serving = asyncio.create_task(broker.serve(tmp_path / "lock"))
    yield sqlite.queue
    serving.cancel()
    with suppress(asyncio.CancelledError):
        await serving
    sqlite.close()


async def subscribe(clients: ClientsByLoop, google: GoogleEndpoints, topic: str, url: str) -> None:
    await clients().publisher.create_topic(request=Topic(name=topic), **bounded())
    async with grpc.aio.insecure_channel(google.pubsub_emulator) as channel:
        subscription = Subscription(
            name=f"projects/{google.project}/subscriptions/process-run",
            topic=topic,
            push_config=PushConfig(push_endpoint=url),
            retry_policy=RetryPolicy(minimum_backoff=Duration(seconds=1), maximum_backoff=Duration(seconds=2)),
        )
        subscriber = SubscriberAsyncClient(transport=SubscriberGrpcAsyncIOTransport(channel=channel))
        await subscriber.create_subscription(request=subscription, **bounded())


def received_run_ids(receiver: Receiver) -> list[str]:
    return [json.loads(b64decode(body["message"]["data"]))["run_id"] for _, _, body in receiver.requests]


async def test_published_runs_are_pushed(queue: RunQueue, receiver: Receiver) -> None:
    await asyncio.gather(*[queue.publish(f"run-{number}", lane=Lane.SHORT) for number in range(20)])
    await receiver.wait_for(20)
    assert set(received_run_ids(receiver)) == {f"run-{number}" for number in range(20)}
    _, _, body = receiver.requests[0]
    assert {"data", "messageId", "publishTime"} <= set(body["message"]) and "/subscriptions/" in body["subscription"]


@pytest.mark.slow
async def test_a_message_that_is_not_acknowledged_is_delivered_again(queue: RunQueue, receiver: Receiver) -> None:
    receiver.answers = [500, 503]
    await queue.publish("run-1", lane=Lane.SHORT)
    await receiver.wait_for(3)
    assert set(received_run_ids(receiver)) == {"run-1"}


async def test_an_unreachable_queue_raises_queue_unavailable_within_seconds() -> None:
    clients = ClientsByLoop(GoogleEndpoints(project="p", pubsub_emulator="127.0.0.1:1"))
    started_at = time.monotonic()
    with pytest.raises(QueueUnavailable):
        await PubSubRunQueue(clients, topics={Lane.SHORT: "projects/p/topics/llm-runs"}).publish(
            "run-1", lane=Lane.SHORT
        )
    assert time.monotonic() - started_at < 4
    await clients().close()


async def test_a_missing_topic_raises_queue_unavailable(google_emulators: Any) -> None:
    clients = ClientsByLoop(endpoints(google_emulators))
    with pytest.raises(QueueUnavailable):
        await PubSubRunQueue(clients, topics={Lane.SHORT: "projects/p/topics/nothing"}).publish(
            "run-1", lane=Lane.SHORT
        )
    await clients().close()
