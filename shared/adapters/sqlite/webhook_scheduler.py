"""Schedules deliveries of webhooks as rows of the table of tasks, in a queue of their own."""

import json
from collections.abc import Callable
from datetime import datetime

from msgspec.structs import asdict

from shared import tracing
from shared.adapters.sqlite.database import Database
from shared.adapters.sqlite.recheck_scheduler import NAME_RESERVED_FOR
from shared.adapters.storage.webhook_documents import delivery_task_name
from shared.domain.webhook_delivery import DeliveryTask
from shared.errors import SchedulerUnavailable, StoreUnavailable

WEBHOOKS_QUEUE = "webhooks"


class SqliteWebhookScheduler:
    def __init__(self, database: Database, *, on_schedule: Callable[[float], None] = lambda due_at: None) -> None:
        self._database = database
        self._on_schedule = on_schedule

    async def schedule(self, task: DeliveryTask, *, at: datetime) -> None:
        body, forget_at = json.dumps(asdict(task) | tracing.headers()), (at + NAME_RESERVED_FOR).timestamp()
        row = (delivery_task_name(task), WEBHOOKS_QUEUE, body, at.timestamp(), forget_at)
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
        self._on_schedule(at.timestamp())
