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

from infra.local.fixtures import put_fixtures
from infra.local.routing import ROOT
from shared import wiring
from shared.adapters.gcp.bounds import bounded
from shared.adapters.gcp.clients import Clients, ClientsByLoop
from shared.adapters.gcp.directory import FirestoreDirectory
from shared.settings import Settings

CLOUD = json.loads((ROOT / "infra" / "cloud.json").read_text())
RULES = ROOT / "infra" / "firestore.rules"
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
    """Creates the topics and push subscriptions of infra/cloud.json, as Terraform does."""
    topics = {name: _topic_path(settings, name) for name in CLOUD["topics"]}
    for path in topics.values():
        with suppress(AlreadyExists):
            await publisher.create_topic(request=Topic(name=path), **_patient())
    by_function = {"process_run": urls.process_run, "bury_run": urls.bury_run}
    async with grpc.aio.insecure_channel(str(settings.pubsub_emulator)) as channel:
        subscriber = SubscriberAsyncClient(transport=SubscriberGrpcAsyncIOTransport(channel=channel))
        for name, given in CLOUD["subscriptions"].items():
            path = f"projects/{settings.project}/subscriptions/{name}"
            subscription = _subscription(path, topics[given["topic"]], by_function[given["function"]])
            if given["dead_letter_topic"]:
                subscription.dead_letter_policy = DeadLetterPolicy(
                    dead_letter_topic=topics[given["dead_letter_topic"]],
                    max_delivery_attempts=CLOUD["delivery"]["max_deliveries"],
                )
            await _create_or_redirect(subscriber, subscription)


def _topic_path(settings: Settings, name: str) -> str:
    """Returns the path of a topic of infra/cloud.json, under the name that its setting gives it here."""
    renamed = {"RUNS_TOPIC": settings.runs_topic, "LONG_RUNS_TOPIC": settings.long_runs_topic}
    return f"projects/{settings.project}/topics/{renamed.get(CLOUD['topics'][name]['setting'], name)}"


def _subscription(path: str, topic: str, url: str) -> Subscription:
    delivery = CLOUD["delivery"]
    return Subscription(
        name=path,
        topic=topic,
        push_config=PushConfig(push_endpoint=url),
        ack_deadline_seconds=delivery["ack_deadline_seconds"],
        retry_policy=RetryPolicy(
            minimum_backoff=Duration(seconds=delivery["min_backoff_seconds"]),
            maximum_backoff=Duration(seconds=delivery["max_backoff_seconds"]),
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
    for name in (settings.tasks_queue, settings.long_tasks_queue, settings.webhooks_queue):
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
