"""Creates topics, subscriptions, queue, security rules and fixtures on the emulators; may run many times.

python -m infra.local.emulators.google_setup URL_OF_PROCESS_RUN URL_OF_BURY_RUN
"""

import asyncio
import json
import sys
import urllib.request
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

import grpc
from google.api_core.exceptions import AlreadyExists
from google.cloud.tasks_v2 import Queue
from google.protobuf.duration_pb2 import Duration
from google.pubsub_v1 import (
    DeadLetterPolicy,
    ExpirationPolicy,
    PublisherAsyncClient,
    PushConfig,
    RetryPolicy,
    SubscriberAsyncClient,
    Subscription,
    Topic,
)
from google.pubsub_v1.services.subscriber.transports import SubscriberGrpcAsyncIOTransport

from infra.local.broker import ACK_DEADLINE_SECONDS, MAX_BACKOFF_SECONDS, MAX_DELIVERIES
from infra.local.fixtures import put_fixtures
from infra.local.routing import ROOT
from shared import wiring
from shared.adapters.gcp.bounds import bounded
from shared.adapters.gcp.clients import Clients, ClientsByLoop
from shared.adapters.gcp.directory import FirestoreDirectory
from shared.settings import Settings

RULES = ROOT / "infra" / "firestore.rules"
DEAD_LETTER_TOPIC = "llm-runs-dead-letters"
MAX_CALL_SECONDS = 30.0
"""An emulator listens before it is warm: on a busy machine its first answer takes seconds."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PushUrls:
    """The URLs of the functions that Pub/Sub calls."""

    process_run: str
    bury_run: str


async def set_up(settings: Settings, clients: ClientsByLoop, urls: PushUrls) -> None:
    await _set_up_pubsub(settings, clients().publisher, urls)
    await _set_up_queues(settings, clients())
    put_rules(settings)
    await put_fixtures(FirestoreDirectory(clients), settings)


async def _set_up_pubsub(settings: Settings, publisher: PublisherAsyncClient, urls: PushUrls) -> None:
    """Creates the topics and push subscriptions, with the same retry policy and dead letters as Terraform does."""
    project = f"projects/{settings.project}"
    runs_topic, long_runs_topic, dead_letter_topic = topics = [
        f"{project}/topics/{name}" for name in (settings.runs_topic, settings.long_runs_topic, DEAD_LETTER_TOPIC)
    ]
    for name in topics:
        with suppress(AlreadyExists):
            await publisher.create_topic(request=Topic(name=name), **_patient())
    dead_letters = DeadLetterPolicy(dead_letter_topic=dead_letter_topic, max_delivery_attempts=MAX_DELIVERIES)
    process_run = _subscription(f"{project}/subscriptions/process-run", runs_topic, urls.process_run)
    process_long_run = _subscription(f"{project}/subscriptions/process-long-run", long_runs_topic, urls.process_run)
    process_run.dead_letter_policy = process_long_run.dead_letter_policy = dead_letters
    bury_run = _subscription(f"{project}/subscriptions/bury-run", dead_letter_topic, urls.bury_run)
    async with grpc.aio.insecure_channel(str(settings.pubsub_emulator)) as channel:
        subscriber = SubscriberAsyncClient(transport=SubscriberGrpcAsyncIOTransport(channel=channel))
        for subscription in (process_run, process_long_run, bury_run):
            await _create_or_redirect(subscriber, subscription)


def _subscription(name: str, topic: str, url: str) -> Subscription:
    return Subscription(
        name=name,
        topic=topic,
        push_config=PushConfig(push_endpoint=url),
        ack_deadline_seconds=int(ACK_DEADLINE_SECONDS),
        retry_policy=RetryPolicy(
            minimum_backoff=Duration(seconds=1), maximum_backoff=Duration(seconds=int(MAX_BACKOFF_SECONDS))
        ),
        expiration_policy=ExpirationPolicy(),  # empty: the subscription never expires
    )


async def _create_or_redirect(subscriber: SubscriberAsyncClient, subscription: Subscription) -> None:
    """Creates the subscription; an existing one only gets the new URL, because ports change with each start."""
    try:
        await subscriber.create_subscription(request=subscription, **_patient())
    except AlreadyExists:
        await subscriber.modify_push_config(
            subscription=subscription.name, push_config=subscription.push_config, **_patient()
        )


async def _set_up_queues(settings: Settings, clients: Clients) -> None:
    parent = f"projects/{settings.project}/locations/{settings.tasks_location}"
    for name in (settings.tasks_queue, settings.long_tasks_queue):
        queue = Queue(name=f"{parent}/queues/{name}")
        with suppress(AlreadyExists):
            await clients.tasks.create_queue(parent=parent, queue=queue, **_patient())


def _patient() -> dict[str, Any]:
    """Returns the time limits of calls to emulators that have just started: Java takes seconds to warm up."""
    return {**bounded(seconds=MAX_CALL_SECONDS), "timeout": MAX_CALL_SECONDS}


def put_rules(settings: Settings) -> None:
    """Loads infra/firestore.rules into the Firestore emulator, over an HTTP route that only the emulator has."""
    rules = {"rules": {"files": [{"name": RULES.name, "content": RULES.read_text()}]}}
    request = urllib.request.Request(
        f"http://{settings.firestore_emulator}/emulator/v1/projects/{settings.project}:securityRules",
        data=json.dumps(rules).encode(),
        headers={"Content-Type": "application/json"},
        method="PUT",
    )
    with urllib.request.urlopen(request, timeout=MAX_CALL_SECONDS) as response:
        response.read()


if __name__ == "__main__":
    process_run, bury_run = sys.argv[1:]
    asyncio.run(
        set_up(wiring.settings(), wiring.google_clients(), PushUrls(process_run=process_run, bury_run=bury_run))
    )
