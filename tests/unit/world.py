"""The whole system in one event loop under a clock that only the test moves: real use cases, SQLite in memory, the
real broker; the LLM is a fake that obeys the same clock."""

import json
from collections import Counter
from collections.abc import Awaitable, Callable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager, nullcontext
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from itertools import count
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from uuid import UUID

from msgspec.structs import force_setattr

from infra.local.broker import ALL_QUEUES, Broker
from infra.local.fixtures import put_fixtures
from shared.adapters.cache.memory import MemoryResultCache
from shared.adapters.llm.breaker_states import BreakersOfPools
from shared.adapters.sqlite.backend import SqliteBackend
from shared.adapters.sqlite.delivery import DEAD_LETTERS, Message, Task
from shared.adapters.sqlite.webhook_scheduler import WEBHOOKS_QUEUE
from shared.domain import submission
from shared.domain.directory import LlmApi, Profile
from shared.domain.frozen import replace
from shared.domain.progress import Finished, JobCreated, OnText, Running
from shared.domain.result import Result
from shared.domain.run import Run
from shared.domain.webhook_delivery import Answer, DeliveryError, DeliveryTask
from shared.errors import CacheUnavailable, ServiceError, StoreUnavailable
from shared.ports import RunPage
from shared.settings import Settings
from shared.wiring.assembly import UseCases

EPOCH = datetime(2026, 1, 1, tzinfo=UTC)
DEMO = Profile(user_id="demo", organization_id="acme", groups=frozenset({"users"}))
OTHER = Profile(user_id="other", organization_id="globex", groups=frozenset({"users"}))
TRANSLATOR = Profile(user_id="translator", organization_id="initech", groups=frozenset({"users"}))
"""A user of an organization whose translations a chat model makes."""
FOREVER = timedelta(days=1000)


class TestClock:
    __test__ = False

    def __init__(self) -> None:
        self.time = EPOCH

    def now(self) -> datetime:
        return self.time

    async def sleep(self, duration: timedelta) -> None:
        self.time += duration

    def forward(self, seconds: float) -> None:
        self.time += timedelta(seconds=seconds)


@dataclass
class FakeLlm:
    """Finishes a job `takes` after its first submit; `troubles` are raised first, one a call."""

    clock: TestClock
    takes: timedelta = timedelta(seconds=5)
    says: str = "translated"
    busy_until: datetime = EPOCH
    within: timedelta = timedelta(0)
    reports_progress: bool = False
    troubles: list[ServiceError] = field(default_factory=list)
    check_troubles: list[ServiceError] = field(default_factory=list)
    chat_answers: list[str] = field(default_factory=list)
    """What chat models answer, one a call; further calls get "answered"."""
    submits: Counter[str] = field(default_factory=Counter)
    jobs: dict[str, datetime] = field(default_factory=dict)
    checks: int = 0
    cancelled: list[str] = field(default_factory=list)
    during_slot: Callable[[Run], None] | None = None
    during_start: Callable[[Run], Awaitable[None]] | None = None
    during_check: Callable[[Run], Awaitable[None]] | None = None

    def slot(self, run: Run) -> AbstractAsyncContextManager[bool]:
        if self.during_slot is not None:
            self.during_slot(run)
        return nullcontext(self.clock.now() >= self.busy_until)

    async def start(
        self, run: Run, content: Mapping[str, Any], *, within: timedelta, on_text: OnText | None = None
    ) -> JobCreated | Finished:
        self.submits[run.idempotency_key] += 1
        self.within = within
        if self.during_start is not None:
            await self.during_start(run)
        if self.troubles:
            raise self.troubles.pop(0)
        if run.api == LlmApi.OPENAI_CHAT:
            return Finished(result=Result(text=self.chat_answers.pop(0) if self.chat_answers else "answered"))
        self.jobs.setdefault(f"job-{run.idempotency_key}", self.clock.now() + self.takes)
        return JobCreated(provider_job_id=f"job-{run.idempotency_key}")

    async def check(self, run: Run) -> Running | Finished:
        self.checks += 1
        if self.during_check is not None:
            await self.during_check(run)
        if self.check_troubles:
            raise self.check_troubles.pop(0)
        ends = self.jobs[run.provider_job_id or ""]
        if self.clock.now() >= ends:
            return Finished(result=Result(text=self.says))
        left = (ends - self.clock.now()) / self.takes
        return Running(progress=round(1 - left, 2) if self.reports_progress else None)

    async def cancel(self, run: Run) -> None:
        self.cancelled.append(run.provider_job_id or "")


class CountingStore:
    """Passes everything on and counts what is written."""

    def __init__(self, store: Any) -> None:
        self._store = store
        self.writes: Counter[str] = Counter()
        self._failures = 0
        self.is_down: Callable[[], bool] = lambda: False
        """Whether the store refuses to save now."""
        self.clock_offset = timedelta(0)
        """How far the store's clock is ahead of the sweeper's."""
        self.after_get: Callable[[], Awaitable[None]] | None = None
        """Happens once, when a run has been read and before its reader has it."""

    def fail_reads(self, times: int) -> None:
        self._failures = times

    async def get(self, run_id: str, **more: Any) -> Run:
        if self._failures > 0:
            self._failures -= 1
            raise StoreUnavailable
        found: Run = await self._store.get(run_id, **more)
        if (after_get := self.after_get) is not None:
            self.after_get = None
            await after_get()
        return found

    async def due_runs(self, shards: Sequence[int], **more: Any) -> RunPage:
        page: RunPage = await self._store.due_runs(shards, **more)
        return replace(page, runs=[replace(run, clock_offset=self.clock_offset) for run in page.runs])

    async def create(self, run: Run, **more: Any) -> Any:
        self.writes[run.id] += 1
        return await self._store.create(run, **more)

    async def save(self, run: Run) -> Run:
        if self.is_down():
            raise StoreUnavailable
        saved: Run = await self._store.save(run)
        self.writes[run.id] += 1
        return saved

    def __getattr__(self, name: str) -> Any:
        return getattr(self._store, name)


class FailingCache(MemoryResultCache):
    """Counts the calls; `is_down` refuses them all, `during_put` happens before each put, `after_delete` after one."""

    is_down = False
    during_put: Callable[[], Awaitable[None]] | None = None
    after_delete: Callable[[], Awaitable[None]] | None = None
    calls = 0

    async def put(self, key: str, text: str, *, keep_for: timedelta) -> None:
        self._called()
        if self.during_put is not None:
            await self.during_put()
        await super().put(key, text, keep_for=keep_for)

    async def delete(self, key: str) -> None:
        self._called()
        await super().delete(key)
        if (after_delete := self.after_delete) is not None:
            self.after_delete = None
            await after_delete()

    def _called(self) -> None:
        self.calls += 1
        if self.is_down:
            raise CacheUnavailable


@dataclass(frozen=True, kw_only=True)
class Received:
    """A delivery as a receiver sees it."""

    at: datetime
    url: str
    headers: Mapping[str, str]
    text: str

    @property
    def body(self) -> Any:
        return json.loads(self.text)


@dataclass
class FakeReceiver:
    """Stands for the sender and all receivers: answers each delivery with a code, or with none at all."""

    clock: TestClock
    code: Callable[[str], int | None] = lambda url: 204
    received: list[Received] = field(default_factory=list)
    takes: timedelta = timedelta(seconds=0.2)

    async def send(self, url: str, *, headers: Mapping[str, str], body: str) -> Answer:
        self.received.append(Received(at=self.clock.now(), url=url, headers=headers, text=body))
        code = self.code(url)
        if code is None:
            return Answer(code=None, duration=self.takes, error=DeliveryError.TIMEOUT)
        error = None if code < 300 else DeliveryError.GONE if code == 410 else DeliveryError.STATUS
        return Answer(code=code, duration=self.takes, error=error)

    @property
    def types(self) -> list[str]:
        return [one.body["type"] for one in self.received]


class World:
    """`deliver` is what Pub/Sub and Cloud Tasks do; a test may lose, repeat or reorder by other means."""

    def __init__(self, *, settings: Settings | None = None, path: Path | str = ":memory:") -> None:
        self.clock = TestClock()
        self.llm = FakeLlm(self.clock)
        self.sqlite = SqliteBackend(path, self.clock)
        self.store = CountingStore(self.sqlite.store)
        self.cache = FailingCache(self.clock)
        self.receiver = FakeReceiver(self.clock)
        self.settings = settings or Settings(sweep_interval=timedelta(seconds=60), pending_grace=timedelta(seconds=60))
        self.services = UseCases(self.settings, self.backend())
        self.save_final = self.services.cancel.save_final
        self.paused_queues: set[str] = set()
        numbers = count(1)
        force_setattr(self.services.submit, "new_id", lambda: str(UUID(int=next(numbers), version=4)))
        self.broker = Broker(
            self.sqlite.deliveries,
            deliver_task=self._deliver_task,
            deliver_message=self._deliver_message,
            queues=lambda: [queue for queue in ALL_QUEUES if queue not in self.paused_queues],
            now=lambda: self.clock.now().timestamp(),
        )
        self.answers: list[tuple[str, int]] = []

    def backend(self, **others: Any) -> Any:
        """Returns the adapters of this world, with others for the ports that are named."""
        lite = self.sqlite
        adapters: dict[str, Any] = {
            "store": self.store,
            "queue": lite.queue,
            "scheduler": lite.scheduler,
            "watcher": lite.watcher,
            "directory": lite.directory,
            "catalogue": lite.directory,
            "users": lite.directory,
            "usage": lite.usage,
            "reports": lite.reports,
            "dead_letters": lite.dead_letters,
            "durations": lite.durations,
            "webhooks": lite.webhooks,
            "webhook_scheduler": lite.webhook_scheduler,
            "webhook_sender": self.receiver,
            "cache": self.cache,
            "tokens": None,
            "sessions": None,
            "invoker": None,
            "provider": self.llm,
            "breakers": BreakersOfPools(deployments={}, pools=()),
            "clock": self.clock,
        }
        return SimpleNamespace(**{**adapters, **others})

    async def __aenter__(self) -> "World":
        await put_fixtures(self.sqlite.directory, self.settings)
        return self

    async def __aexit__(self, *_: object) -> None:
        self.sqlite.close()

    async def _deliver_task(self, task: Task) -> int:
        told = json.loads(task.body)
        if task.queue == WEBHOOKS_QUEUE:
            delivery = DeliveryTask(**{name: told[name] for name in ("delivery_id", "turn", "reason")})
            return await self._answer("deliver_webhook", self.services.deliver_webhook(delivery))
        return await self._answer("recheck_run", self.services.advance(told["run_id"], checks=told["checks"]))

    async def _deliver_message(self, topic: str, message: Message) -> int:
        run_id = json.loads(message.data)["run_id"]
        if topic == DEAD_LETTERS:
            burying = self.services.bury(
                run_id=run_id, message_id=str(message.id), source=topic, data=message.data, attributes={}
            )
            return await self._answer("bury_run", burying)
        return await self._answer("process_run", self.services.advance(run_id))

    async def _answer(self, function: str, work: Awaitable[None]) -> int:
        """What the functions do, without HTTP."""
        try:
            await work
            status = 204
        except ServiceError:
            status = 500
        self.answers.append((function, status))
        return status

    async def submit(self, caller: Profile = DEMO, **body: Any) -> Run:
        run, _ = await self.services.submit(caller, submission.user_run({"input_text": "hello", **body}))
        return run

    async def submit_job(self, **body: Any) -> Run:
        whole = {
            "job_type": "general_llm_request",
            "model_id": "demo-model",
            "input_data": {"full_input": "hi"},
            **body,
        }
        run, _ = await self.services.submit(DEMO, submission.job(whole, max_input_bytes=1 << 20))
        return run

    async def deliver(self) -> None:
        """Everything that is due now, and what becomes due by it."""
        while await self.broker.deliver_due():
            await self.broker.wait_for_deliveries()

    async def run_for(self, seconds: float, *, sweeping: bool = False) -> None:
        """Moves the clock from one due delivery (or sweep) to the next."""
        ends = self.clock.now() + timedelta(seconds=seconds)
        while True:
            await self.deliver()
            due = self.broker.next_due()
            moments = [ends] if due is None else [ends, datetime.fromtimestamp(due, UTC)]
            if sweeping:
                interval = self.settings.sweep_interval
                passed = (self.clock.now() - EPOCH) // interval
                moments.append(EPOCH + (passed + 1) * interval)
            self.clock.time = max(min(moments), self.clock.time + timedelta(milliseconds=1))
            if sweeping and (self.clock.now() - EPOCH) % self.settings.sweep_interval == timedelta(0):
                await self.services.sweep()
            if self.clock.now() >= ends:
                await self.deliver()
                return

    async def get(self, run: Run) -> Run:
        return await self.sqlite.store.get(run.id)

    async def bury(self, run: Run, message_id: str = "1") -> None:
        await self.services.bury(run_id=run.id, message_id=message_id, source="s", data="{}", attributes={})

    async def dead_letters(self) -> list[str]:
        """The ids of the messages that were kept."""
        rows = await self.sqlite.database.read(
            lambda connection: connection.execute("SELECT message_id FROM dead_letters ORDER BY message_id").fetchall()
        )
        return [message_id for (message_id,) in rows]

    async def lose_everything_under_way(self) -> None:
        await self.sqlite.database.write(lambda connection: connection.execute("DELETE FROM messages"))
        await self.sqlite.database.write(lambda connection: connection.execute("DELETE FROM tasks"))
