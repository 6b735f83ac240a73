"""Timers as rows of a table, named like Cloud Tasks: a name is taken for 24 hours, whether its task is done or not."""

import json
from collections.abc import Callable
from dataclasses import asdict
from datetime import datetime, timedelta

from shared.adapters.sqlite.database import Database
from shared.adapters.storage.task_name import task_name
from shared.errors import SchedulerUnavailable, StoreUnavailable
from shared.ports import Recheck

NAME_TAKEN_FOR = timedelta(hours=24)


class SqliteRecheckScheduler:
    def __init__(self, database: Database, *, on_schedule: Callable[[], None] = lambda: None) -> None:
        self._database = database
        self._on_schedule = on_schedule

    async def schedule(self, recheck: Recheck, *, at: datetime) -> None:
        row = (task_name(recheck), json.dumps(asdict(recheck)), at.timestamp(), (at + NAME_TAKEN_FOR).timestamp())
        try:
            await self._database.write(
                lambda connection: connection.execute(
                    "INSERT INTO tasks (name, body, deliver_at, forget_at) VALUES (?, ?, ?, ?) ON CONFLICT DO NOTHING",
                    row,
                )
            )
        except StoreUnavailable as error:
            raise SchedulerUnavailable from error
        self._on_schedule()
