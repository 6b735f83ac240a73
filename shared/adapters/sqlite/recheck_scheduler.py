"""Schedules re-checks as rows of a table, with names as in Cloud Tasks.

A name stays reserved for 24 hours after the scheduled time, also when its task has been delivered.
"""

from collections.abc import Callable
from datetime import datetime, timedelta

from shared import tracing
from shared.adapters.sqlite.database import Database
from shared.adapters.storage.task_name import task_name
from shared.domain.json_text import to_text
from shared.domain.recheck_plan import Recheck
from shared.domain.status import Lane
from shared.errors import SchedulerUnavailable, StoreUnavailable

NAME_RESERVED_FOR = timedelta(hours=24)
NAME_RESERVED_SECONDS = NAME_RESERVED_FOR.total_seconds()
QUEUES = {Lane.SHORT: "rechecks", Lane.LONG: "rechecks-long"}


class SqliteRecheckScheduler:
    def __init__(self, database: Database, *, on_schedule: Callable[[float], None] = lambda due_at: None) -> None:
        self._database = database
        self._on_schedule = on_schedule

    async def schedule(self, recheck: Recheck, *, at: datetime, lane: Lane) -> None:
        """Returns before the row is on the disk, so that re-checks of about the same time share a commit.

        What is written after the row, such as the end of the delivery that scheduled it, is never on the disk without
        it. When the write fails, the sweeper schedules the re-check.
        """
        due_at = at.timestamp()
        content = {
            "run_id": recheck.run_id,
            "attempt": recheck.attempt,
            "sequence": recheck.sequence,
            "checks": recheck.checks,
            **tracing.headers(),
        }
        row = (task_name(recheck), QUEUES[lane], to_text(content), due_at, due_at + NAME_RESERVED_SECONDS)
        try:
            self._database.write_soon(
                lambda connection: connection.execute(
                    "INSERT INTO tasks (name, queue, body, deliver_at, forget_at) VALUES (?, ?, ?, ?, ?)"
                    " ON CONFLICT DO NOTHING",
                    row,
                )
            )
        except StoreUnavailable as error:
            raise SchedulerUnavailable from error
        self._on_schedule(due_at)
