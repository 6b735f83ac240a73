"""Topics, subscriptions, queue, rules and fixtures on the emulators; can run again at any time.

python -m infra.local.google_setup URL_OF_PROCESS_RUN URL_OF_BURY_RUN
"""

import asyncio
import json
import sys
import urllib.request
from dataclasses import dataclass
from pathlib import Path

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
from shared import wiring
from shared.adapters.gcp.bounds import bounded
from shared.adapters.gcp.clients import Clients, ClientsByLoop
from shared.adapters.gcp.directory import FirestoreDirectory
from shared.settings import Settings

RULES = Path(__file__).parents[1] / "firestore.rules"
DEAD_LETTERS = "llm-runs-dead-letters"


@dataclass(frozen=True, slots=True, kw_only=True)
class PushUrls:
    """Where the functions are."""

    process_run: str
    bury_run: str


async def set_up(settings: Settings, clients: ClientsByLoop, urls: PushUrls) -> None:
    await _set_up_pubsub(settings, clients().publisher, urls)
    await _set_up_queue(settings, clients())
    put_rules(settings)
    await put_fixtures(FirestoreDirectory(clients), settings)


async def _set_up_pubsub(settings: Settings, publisher: PublisherAsyncClient, urls: PushUrls) -> None:
    """The same retry policy and dead letters that Terraform gives the real ones."""
    project = f"projects/{settings.project}"
    topic, dead = f"{project}/topics/{settings.runs_topic}", f"{project}/topics/{DEAD_LETTERS}"
    for name in (topic, dead):
        try:
            await publisher.create_topic(request=Topic(name=name), **bounded())
        except AlreadyExists:
            continue
    channel = grpc.aio.insecure_channel(str(settings.pubsub_emulator))
    subscriber = SubscriberAsyncClient(transport=SubscriberGrpcAsyncIOTransport(channel=channel))
    letters = DeadLetterPolicy(dead_letter_topic=dead, max_delivery_attempts=MAX_DELIVERIES)
    for name, url, source, policy in (
        ("process-run", urls.process_run, topic, letters),
        ("bury-run", urls.bury_run, dead, None),
    ):
        subscription = Subscription(
            name=f"{project}/subscriptions/{name}",
            topic=source,
            push_config=PushConfig(push_endpoint=url),
            ack_deadline_seconds=int(ACK_DEADLINE_SECONDS),
            retry_policy=RetryPolicy(
                minimum_backoff=Duration(seconds=1), maximum_backoff=Duration(seconds=int(MAX_BACKOFF_SECONDS))
            ),
            expiration_policy=ExpirationPolicy(),
            dead_letter_policy=policy,
        )
        try:
            await subscriber.create_subscription(request=subscription, **bounded())
        except AlreadyExists:
            config = PushConfig(push_endpoint=url)
            await subscriber.modify_push_config(subscription=subscription.name, push_config=config, **bounded())
    await channel.close()


async def _set_up_queue(settings: Settings, clients: Clients) -> None:
    parent = f"projects/{settings.project}/locations/{settings.tasks_location}"
    queue = Queue(name=f"{parent}/queues/{settings.tasks_queue}")
    try:
        await clients.tasks.create_queue(parent=parent, queue=queue, **bounded())
    except AlreadyExists:
        return


def put_rules(settings: Settings) -> None:
    """The emulator's own way to load security rules."""
    rules = {"rules": {"files": [{"name": RULES.name, "content": RULES.read_text()}]}}
    request = urllib.request.Request(
        f"http://{settings.firestore_emulator}/emulator/v1/projects/{settings.project}:securityRules",
        data=json.dumps(rules).encode(),
        headers={"Content-Type": "application/json"},
        method="PUT",
    )
    with urllib.request.urlopen(request, timeout=10) as response:
        response.read()


if __name__ == "__main__":
    process_run, bury_run = sys.argv[1:]
    asyncio.run(
        set_up(wiring.settings(), wiring.google_clients(), PushUrls(process_run=process_run, bury_run=bury_run))
    )
