"""Publishes runs to a Pub/Sub topic, whose push subscription calls process_run."""

import json
from collections.abc import Mapping

from shared import tracing
from shared.adapters.gcp.bounds import bounded, google_errors_as
from shared.adapters.gcp.clients import ClientsByLoop
from shared.domain.status import Lane
from shared.errors import QueueUnavailable

PUBLISH_TIMEOUT_SECONDS = 1.5
"""It is short because a client waits. The sweeper publishes a run again when this call fails."""


class PubSubRunQueue:
    def __init__(self, clients: ClientsByLoop, *, topics: Mapping[Lane, str]) -> None:
        """Each topic has the form projects/{project}/topics/{topic}."""
        self._clients = clients
        self._topics = topics

    async def publish(self, run_id: str, *, lane: Lane) -> None:
        """Imports the library with the first message: a sweep that finds nothing needs none."""
        from google.pubsub_v1 import PubsubMessage

        message = PubsubMessage(data=json.dumps({"run_id": run_id}).encode(), attributes=tracing.headers())
        async with google_errors_as(QueueUnavailable):
            publisher = self._clients().publisher
            bounds = bounded(seconds=PUBLISH_TIMEOUT_SECONDS)
            await publisher.publish(topic=self._topics[lane], messages=[message], **bounds)
