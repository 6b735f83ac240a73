"""Publishes runs as rows of a table, which the local broker delivers to process_run."""

from collections.abc import Callable

from shared import tracing
from shared.adapters.sqlite.database import Database
from shared.domain.json_text import to_text
from shared.domain.status import Lane
from shared.errors import QueueUnavailable, StoreUnavailable
from shared.ports import Clock

TOPICS = {Lane.SHORT: "llm-runs", Lane.LONG: "llm-runs-long"}


class SqliteRunQueue:
    def __init__(
        self, database: Database, clock: Clock, *, on_publish: Callable[[float], None] = lambda due_at: None
    ) -> None:
        self._database = database
        self._clock = clock
        self._on_publish = on_publish

    async def publish(self, run_id: str, *, lane: Lane) -> None:
        """Returns before the row is on the disk, so that a client does not wait for a second commit.

        When the process dies first, the sweeper publishes the run, whose own commit was earlier. What is written after
        the message, such as the end of the delivery that published it, is never on the disk without it.
        """
        now = self._clock.now().timestamp()
        row = (TOPICS[lane], to_text({"run_id": run_id}), to_text(tracing.headers()), now, now)
        try:
            self._database.write_soon(
                lambda connection: connection.execute(
                    "INSERT INTO messages (topic, data, attributes, published_at, deliver_at) VALUES (?, ?, ?, ?, ?)",
                    row,
                )
            )
        except StoreUnavailable as error:
            raise QueueUnavailable from error
        self._on_publish(now)
