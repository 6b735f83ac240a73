"""Makes the Google adapters on one set of clients, each when it is first asked for.

Their modules import Google's libraries, which take longer than all else in a function's first answer. So a function
loads those of the services that it calls.
"""

from collections.abc import Mapping
from functools import cached_property
from typing import TYPE_CHECKING

from shared.adapters.gcp.clients import ClientsByLoop
from shared.adapters.gcp.task_targets import TaskTarget, WebhookTarget
from shared.domain.status import Lane

if TYPE_CHECKING:
    from shared.adapters.gcp.dead_letters import FirestoreDeadLetters
    from shared.adapters.gcp.directory import FirestoreDirectory
    from shared.adapters.gcp.durations import FirestoreDurationStore
    from shared.adapters.gcp.ended_sessions import FirestoreEndedSessions
    from shared.adapters.gcp.recheck_scheduler import CloudTasksRecheckScheduler
    from shared.adapters.gcp.reports import FirestoreRunReports
    from shared.adapters.gcp.run_queue import PubSubRunQueue
    from shared.adapters.gcp.run_store import FirestoreRunStore
    from shared.adapters.gcp.run_watcher import FirestoreRunWatcher
    from shared.adapters.gcp.usage import FirestoreUsageSums
    from shared.adapters.gcp.webhook_scheduler import CloudTasksWebhookScheduler
    from shared.adapters.gcp.webhook_store import FirestoreWebhookStore


class GoogleBackend:
    """The Google adapters by port. None of them opens a connection before its first call."""

    def __init__(
        self, clients: ClientsByLoop, *, topics: Mapping[Lane, str], target: TaskTarget, webhooks: WebhookTarget
    ) -> None:
        """Each topic has the form projects/{project}/topics/{topic}."""
        self._clients = clients
        self._topics = topics
        self._recheck_target = target
        self._webhook_target = webhooks

    @cached_property
    def store(self) -> "FirestoreRunStore":
        from shared.adapters.gcp.run_store import FirestoreRunStore
        from shared.adapters.storage.webhook_documents import announce

        return FirestoreRunStore(
            self._clients, on_deliveries=lambda deliveries: announce(self.webhook_scheduler, deliveries)
        )

    @cached_property
    def webhooks(self) -> "FirestoreWebhookStore":
        from shared.adapters.gcp.webhook_store import FirestoreWebhookStore

        return FirestoreWebhookStore(self._clients)

    @cached_property
    def webhook_scheduler(self) -> "CloudTasksWebhookScheduler":
        from shared.adapters.gcp.webhook_scheduler import CloudTasksWebhookScheduler

        return CloudTasksWebhookScheduler(self._clients, self._webhook_target)

    @cached_property
    def watcher(self) -> "FirestoreRunWatcher":
        from shared.adapters.gcp.run_watcher import FirestoreRunWatcher

        return FirestoreRunWatcher(self._clients, self.store)

    @cached_property
    def usage(self) -> "FirestoreUsageSums":
        from shared.adapters.gcp.usage import FirestoreUsageSums

        return FirestoreUsageSums(self._clients)

    @cached_property
    def reports(self) -> "FirestoreRunReports":
        from shared.adapters.gcp.reports import FirestoreRunReports

        return FirestoreRunReports(self._clients)

    @cached_property
    def queue(self) -> "PubSubRunQueue":
        from shared.adapters.gcp.run_queue import PubSubRunQueue

        return PubSubRunQueue(self._clients, topics=self._topics)

    @cached_property
    def scheduler(self) -> "CloudTasksRecheckScheduler":
        from shared.adapters.gcp.recheck_scheduler import CloudTasksRecheckScheduler

        return CloudTasksRecheckScheduler(self._clients, self._recheck_target)

    @cached_property
    def directory(self) -> "FirestoreDirectory":
        from shared.adapters.gcp.directory import FirestoreDirectory

        return FirestoreDirectory(self._clients)

    @cached_property
    def dead_letters(self) -> "FirestoreDeadLetters":
        from shared.adapters.gcp.dead_letters import FirestoreDeadLetters

        return FirestoreDeadLetters(self._clients)

    @cached_property
    def ended_sessions(self) -> "FirestoreEndedSessions":
        from shared.adapters.gcp.ended_sessions import FirestoreEndedSessions

        return FirestoreEndedSessions(self._clients)

    @cached_property
    def durations(self) -> "FirestoreDurationStore":
        from shared.adapters.gcp.durations import FirestoreDurationStore

        return FirestoreDurationStore(self._clients)
