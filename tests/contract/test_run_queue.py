"""What every queue promises: what is published is delivered at least once, and again until it is acknowledged."""

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
from shared.errors import QueueUnavailable
from shared.ports import RunQueue
from tests.contract.test_recheck_scheduler import Receiver
from tests.google import endpoints


@pytest.fixture
def receiver() -> Any:
    receiver = Receiver()
    yield receiver
    receiver.close()


@pytest.fixture(params=["sqlite", "pubsub"])
async def queue(request: pytest.FixtureRequest, tmp_path: Path, receiver: Receiver) -> AsyncIterator[RunQueue]:
    if request.param == "pubsub":
        google = endpoints(request.getfixturevalue("google_emulators"))
        clients = ClientsByLoop(google)
        topic = f"projects/{google.project}/topics/llm-runs"
        await subscribe(clients, google, topic, receiver.url)
        yield PubSubRunQueue(clients, topic=topic)
        await clients().close()
        return
    sqlite = SqliteBackend(tmp_path / "runs.db", SystemClock())

    async def deliver(topic: str, message: Message) -> int:
        receiver.seen.append((time.time(), {}, json.loads(push_body(topic, message))))
        return receiver.answers.pop(0) if receiver.answers else 204

    async def no_task(task: Task) -> int:
        return 500

    broker = Broker(sqlite.deliveries, deliver_task=no_task, deliver_message=deliver)
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


def told(receiver: Receiver) -> list[str]:
    return [json.loads(b64decode(body["message"]["data"]))["run_id"] for _, _, body in receiver.seen]


async def test_what_is_published_is_pushed(queue: RunQueue, receiver: Receiver) -> None:
    await asyncio.gather(*[queue.publish(f"run-{number}") for number in range(20)])
    await receiver.until(20)
    assert set(told(receiver)) == {f"run-{number}" for number in range(20)}
    _, _, body = receiver.seen[0]
    assert {"data", "messageId", "publishTime"} <= set(body["message"]) and "/subscriptions/" in body["subscription"]


async def test_what_is_not_acknowledged_comes_again(queue: RunQueue, receiver: Receiver) -> None:
    receiver.answers = [500, 503]
    await queue.publish("run-1")
    await receiver.until(3, seconds=20)
    assert set(told(receiver)) == {"run-1"}


async def test_nobody_listening_is_said_soon() -> None:
    clients = ClientsByLoop(GoogleEndpoints(project="p", pubsub_emulator="127.0.0.1:1"))
    began = time.monotonic()
    with pytest.raises(QueueUnavailable):
        await PubSubRunQueue(clients, topic="projects/p/topics/llm-runs").publish("run-1")
    assert time.monotonic() - began < 4
    await clients().close()


async def test_a_topic_that_is_not_there_is_said(google_emulators: Any) -> None:
    clients = ClientsByLoop(endpoints(google_emulators))
    with pytest.raises(QueueUnavailable):
        await PubSubRunQueue(clients, topic="projects/p/topics/nothing").publish("run-1")
    await clients().close()
