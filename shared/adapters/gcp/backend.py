"""Builds all Google adapters on one set of clients."""

from collections.abc import Mapping

from shared.adapters.gcp.clients import ClientsByLoop
from shared.adapters.gcp.dead_letters import FirestoreDeadLetters
from shared.adapters.gcp.directory import FirestoreDirectory
from shared.adapters.gcp.durations import FirestoreDurationStore
from shared.adapters.gcp.ended_sessions import FirestoreEndedSessions
from shared.adapters.gcp.recheck_scheduler import CloudTasksRecheckScheduler, TaskTarget
from shared.adapters.gcp.reports import FirestoreRunReports
from shared.adapters.gcp.run_queue import PubSubRunQueue
from shared.adapters.gcp.run_store import FirestoreRunStore
from shared.adapters.gcp.run_watcher import FirestoreRunWatcher
from shared.adapters.gcp.usage import FirestoreUsageSums
from shared.adapters.gcp.webhook_scheduler import CloudTasksWebhookScheduler, WebhookTarget
from shared.adapters.gcp.webhook_store import FirestoreWebhookStore
from shared.adapters.storage.webhook_documents import announce
from shared.domain.status import Lane


class GoogleBackend:
    """The Google adapters by port. None of them opens a connection before its first call."""

    def __init__(
        self, clients: ClientsByLoop, *, topics: Mapping[Lane, str], target: TaskTarget, webhooks: WebhookTarget
    ) -> None:
        """Each topic has the form projects/{project}/topics/{topic}."""
        self.webhooks = FirestoreWebhookStore(clients)
        self.webhook_scheduler = CloudTasksWebhookScheduler(clients, webhooks)
        self.store = FirestoreRunStore(
            clients, on_deliveries=lambda deliveries: announce(self.webhook_scheduler, deliveries)
        )
        self.watcher = FirestoreRunWatcher(clients, self.store)
        self.usage = FirestoreUsageSums(clients)
        self.reports = FirestoreRunReports(clients)
        self.queue = PubSubRunQueue(clients, topics=topics)
        self.scheduler = CloudTasksRecheckScheduler(clients, target)
        self.directory = FirestoreDirectory(clients)
        self.dead_letters = FirestoreDeadLetters(clients)
        self.ended_sessions = FirestoreEndedSessions(clients)
        self.durations = FirestoreDurationStore(clients)
