"""Schedules re-checks as rows of a table, with names as in Cloud Tasks.

A name stays reserved for 24 hours after the scheduled time, also when its task has been delivered.
"""

import json
from collections.abc import Callable
from dataclasses import asdict
from datetime import datetime, timedelta

from shared import tracing
from shared.adapters.sqlite.database import Database
from shared.adapters.storage.task_name import task_name
from shared.domain.recheck_plan import Recheck
from shared.domain.status import Lane
from shared.errors import SchedulerUnavailable, StoreUnavailable

NAME_RESERVED_FOR = timedelta(hours=24)
QUEUES = {Lane.SHORT: "rechecks", Lane.LONG: "rechecks-long"}


class SqliteRecheckScheduler:
    def __init__(self, database: Database, *, on_schedule: Callable[[], None] = lambda: None) -> None:
        self._database = database
        self._on_schedule = on_schedule

    async def schedule(self, recheck: Recheck, *, at: datetime, lane: Lane) -> None:
        body, forget_at = json.dumps(asdict(recheck) | tracing.headers()), (at + NAME_RESERVED_FOR).timestamp()
        row = (task_name(recheck), QUEUES[lane], body, at.timestamp(), forget_at)
        try:
            await self._database.write(
                lambda connection: connection.execute(
                    "INSERT INTO tasks (name, queue, body, deliver_at, forget_at) VALUES (?, ?, ?, ?, ?)"
                    " ON CONFLICT DO NOTHING",
                    row,
                )
            )
        except StoreUnavailable as error:
            raise SchedulerUnavailable from error
        self._on_schedule()
