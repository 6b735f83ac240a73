"""Builds all SQLite adapters on one database file, and connects those that notify each other inside the process."""

from collections.abc import Callable
from pathlib import Path

from shared.adapters.sqlite.database import Database
from shared.adapters.sqlite.dead_letters import SqliteDeadLetters
from shared.adapters.sqlite.delivery import SqliteDeliveries
from shared.adapters.sqlite.directory import SqliteDirectory
from shared.adapters.sqlite.durations import SqliteDurationStore
from shared.adapters.sqlite.ended_sessions import SqliteEndedSessions
from shared.adapters.sqlite.recheck_scheduler import SqliteRecheckScheduler
from shared.adapters.sqlite.reports import SqliteRunReports
from shared.adapters.sqlite.run_queue import SqliteRunQueue
from shared.adapters.sqlite.run_store import SqliteRunStore
from shared.adapters.sqlite.run_watcher import SqliteRunWatcher
from shared.adapters.sqlite.usage import SqliteUsageSums
from shared.adapters.sqlite.webhook_scheduler import SqliteWebhookScheduler
from shared.adapters.sqlite.webhook_store import SqliteWebhookStore
from shared.adapters.storage.webhook_documents import announce
from shared.ports import Clock


class SqliteBackend:
    """The SQLite adapters by port. The file and its folder are created on first use."""

    def __init__(self, path: Path | str, clock: Clock) -> None:
        """`path` may be ":memory:"."""
        self.database = Database(path)
        self.webhooks = SqliteWebhookStore(self.database)
        self.webhook_scheduler = SqliteWebhookScheduler(self.database, on_schedule=lambda due_at: self.on_work(due_at))
        self.store = SqliteRunStore(
            self.database,
            on_change=lambda run: self.watcher.on_change(run),
            on_deliveries=lambda deliveries: announce(self.webhook_scheduler, deliveries),
        )
        self.watcher = SqliteRunWatcher(self.database, self.store)
        self.usage = SqliteUsageSums(self.database)
        self.reports = SqliteRunReports(self.database)
        self.queue = SqliteRunQueue(self.database, clock, on_publish=lambda due_at: self.on_work(due_at))
        self.scheduler = SqliteRecheckScheduler(self.database, on_schedule=lambda due_at: self.on_work(due_at))
        self.directory = SqliteDirectory(self.database)
        self.dead_letters = SqliteDeadLetters(self.database, clock)
        self.ended_sessions = SqliteEndedSessions(self.database, clock)
        self.durations = SqliteDurationStore(self.database)
        self.deliveries = SqliteDeliveries(self.database)
        self.on_work: Callable[[float], None] = lambda due_at: None
        """Called with the epoch seconds for which this process has added a message or a task."""

    def close(self) -> None:
        self.database.close()
