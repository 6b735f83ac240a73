"""The queue of runs: a Pub/Sub topic, pushed to process_run."""

import json

from google.pubsub_v1 import PubsubMessage

from shared.adapters.gcp.bounds import bounded, calling
from shared.adapters.gcp.clients import ClientsByLoop
from shared.errors import QueueUnavailable

PUBLISH_SECONDS = 1.5
"""Not longer: a client waits, and the sweeper publishes what could not be published."""


class PubSubRunQueue:
    def __init__(self, clients: ClientsByLoop, *, topic: str) -> None:
        """`topic`: projects/{project}/topics/{topic}."""
        self._clients = clients
        self._topic = topic

    async def publish(self, run_id: str) -> None:
        message = PubsubMessage(data=json.dumps({"run_id": run_id}).encode())
        async with calling(QueueUnavailable):
            publisher = self._clients().publisher
            await publisher.publish(topic=self._topic, messages=[message], **bounded(seconds=PUBLISH_SECONDS))
