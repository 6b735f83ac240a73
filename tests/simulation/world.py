"""One simulation: instances of all functions over simulated parts, the clients of a plan and its faults."""

import asyncio
from collections.abc import Coroutine
from datetime import datetime, timedelta
from random import Random
from types import SimpleNamespace
from typing import Any
from uuid import UUID

from shared.adapters.directory_cache import CachedDirectory
from shared.adapters.llm.breaker_states import BreakersOfPools
from shared.adapters.llm.chat import ChatProtocol
from shared.adapters.llm.jobs import JobsProtocol
from shared.adapters.llm.provider import DirectoryLlmProvider
from shared.domain import views
from shared.domain.directory import LlmApi
from shared.domain.durations import Durations
from shared.domain.frozen import replace
from shared.domain.limits import Limits
from shared.domain.status import Lane
from shared.services import Services
from shared.settings import Settings
from shared.usecases.sessions import Sessions
from shared.wiring.assembly import UseCases
from tests.simulation.calls import CallFaults, Calls, Outages
from tests.simulation.deliveries import DeliveryFaults, FunctionCaller
from tests.simulation.faults import AtCall, Outage, Rollout, Skew
from tests.simulation.history import FaultKind, History, MetFault
from tests.simulation.instance import Instance
from tests.simulation.llm import Llm, SimulatedLlmPools
from tests.simulation.loop import VirtualLoop
from tests.simulation.make_plan import FAULTS_END
from tests.simulation.parts import (
    NoReports,
    NoTokens,
    SimulatedDeadLetters,
    SimulatedDirectory,
    SimulatedDurationStore,
    SimulatedResultCache,
)
from tests.simulation.plan import Plan
from tests.simulation.queue import SimulatedRunQueue, Subscription
from tests.simulation.scheduled_faults import ScheduledFaults
from tests.simulation.start import start_clients
from tests.simulation.store import SimulatedRunStore
from tests.simulation.tables import Tables
from tests.simulation.timers import SimulatedRecheckScheduler, TaskQueue
from tests.simulation.watcher import ChangeNotifier, SimulatedRunWatcher
from tests.simulation.webhooks import (
    SimulatedReceivers,
    SimulatedWebhookScheduler,
    SimulatedWebhookStore,
    of_plan,
)

PLACES = 2
"""How many instances each function has."""
DEPLOYMENTS = {name: f"sim://{name}" for name in ("europe", "tokyo", "default")}
WEBHOOK_SECONDS = 10_000.0
"""Four tries of a delivery; a plan's receivers work again before the third."""
MARGIN = 90.0
"""Beyond deadlines and sweeps: how long the last deliveries may take."""


class World:
    def __init__(self, plan: Plan, *, is_logged: bool = False) -> None:
        """`is_logged`: keeps a log for people."""
        self.plan = plan
        loop = asyncio.get_running_loop()
        assert isinstance(loop, VirtualLoop)
        self.loop = loop
        self.random = Random(f"{plan.seed} world")
        self.history = History()
        self._is_logged = is_logged
        self.instances_made = 0
        self.outages = Outages([fault for fault in plan.faults if isinstance(fault, Outage)])
        self.call_faults = CallFaults([fault for fault in plan.faults if isinstance(fault, AtCall)])
        self.notifier = ChangeNotifier(self)
        self.webhooks = of_plan(plan.settings.webhooks)
        self.tables = Tables(self.random, on_change=self.notifier.on_change, on_deliveries=self.webhooks.put)
        self.cache: dict[str, tuple[datetime, str]] = {}
        self.dead_letters: dict[str, tuple[str, str, str]] = {}
        self.durations: dict[str, Durations] = {}
        self.llm = Llm(self, {submit.script_id: submit.llm for submit in plan.submits})
        self.caller = FunctionCaller(self)
        self.delivery_faults = {part: DeliveryFaults(plan.faults, part) for part in ("queue", "timers")}
        burials = Subscription(self, self.caller, function="bury_run")
        self.queues = {
            lane: Subscription(self, self.caller, function="process_run", dead_letters=burials) for lane in Lane
        }
        self.webhook_queue = TaskQueue(self, self.caller, function="deliver_webhook")
        self.task_queues = {lane: TaskQueue(self, self.caller) for lane in Lane}
        self._instances: dict[tuple[str, int], Instance] = {}
        skews = [fault for fault in plan.faults if isinstance(fault, Skew)] if plan.settings.firestore else []
        self._skews = {(skew.function, skew.place): skew.seconds for skew in skews}
        self._background: set[asyncio.Task[Any]] = set()
        self.is_rolled_out = False
        self.stalled_until = 0.0
        """Until then at least one client of a stream does not read."""

    @property
    def now(self) -> float:
        return self.loop.time()

    @property
    def max_skew(self) -> float:
        return max([abs(seconds) for seconds in self._skews.values()], default=0.0)

    async def run(self) -> History:
        """Plays the plan to its end, waits until every deadline is over, and records what is left."""
        scheduled, clients = ScheduledFaults(self), start_clients(self)
        scheduled.start()
        await asyncio.sleep(self._faults_end())
        self.history.faults_ended_at = self.now
        horizon = self.now + self._longest_deadline() + 4 * self.plan.settings.sweep + 2 * self.max_skew + MARGIN
        horizon += WEBHOOK_SECONDS if self.plan.settings.webhooks else 0.0
        while self.now < horizon and not (self._is_settled() and all(task.done() for task in clients)):
            await asyncio.sleep(5)
        await asyncio.sleep(self.plan.settings.sweep + MARGIN / 3)
        await self._until_all_move()
        await self._record_final_state()
        return self.history

    async def _until_all_move(self) -> None:
        """Waits until no process stands still and every client reads, and a little longer for what follows."""
        while (until := max([self.stalled_until, *(one.frozen_until for one in self._instances.values())])) > self.now:
            await asyncio.sleep(until - self.now + MARGIN / 3)

    def instance_of(self, function: str) -> Instance:
        """Returns any instance of the function; it is started when there is none in its place."""
        place = self.random.randrange(PLACES)
        if (function, place) not in self._instances:
            self._instances[function, place] = self._start(function, place)
        return self._instances[function, place]

    def replace(self, instance: Instance) -> None:
        """Takes an instance that has died out of its place; the next request starts another one."""
        self._instances.pop((instance.function, instance.place), None)

    def kill(self, function: str, why: str, *, place: int | None = None) -> None:
        for number in range(PLACES) if place is None else (place,):
            instance = self._instances.get((function, number))
            if instance is not None:
                instance.die(why)
                return

    def background(self, work: Coroutine[Any, Any, Any]) -> asyncio.Task[Any]:
        task = self.loop.create_task(work)
        self._background.add(task)
        task.add_done_callback(self._background.discard)
        return task

    def record_fault(self, run_id: str | None, text: str, *, kind: FaultKind, part: str) -> None:
        """Records that the run met a fault; None when it met no run in particular."""
        self.history.faults[run_id].append(MetFault(at=self.now, kind=kind, part=part, text=text))

    def record_unexpected_error(self, who: str, error: BaseException) -> None:
        """Records an exception that no code foresaw."""
        if isinstance(error, ExceptionGroup):
            for part in error.exceptions:
                self.record_unexpected_error(who, part)
            return
        frames, traceback = [], error.__traceback__
        while traceback is not None:
            frames.append(f"{traceback.tb_frame.f_code.co_qualname}:{traceback.tb_lineno}")
            traceback = traceback.tb_next
        what = f"{type(error).__name__}: {error} at {' > '.join(frames[-3:])}"
        self.history.unexpected_errors.append(f"{who}: {what}")
        self.log(who, f"meets {what}")

    def log(self, who: str, what: str) -> None:
        if self._is_logged:
            self.history.log.append(f"{self.now:9.3f}  {who:<18} {what}")

    def new_run_id(self) -> str:
        return str(UUID(int=self.random.getrandbits(128), version=4))

    def settings(self, *, second: bool) -> Settings:
        settings = self.plan.settings
        return Settings(
            deployments=DEPLOYMENTS,
            chat_seconds=settings.second_chat if second else settings.chat,
            llm_threads=settings.llm_threads,
            deadlines={"default": timedelta(seconds=settings.deadline)},
            limits=Limits(submits_a_minute=settings.submits_a_minute, open_runs=settings.open_runs),
            pending_grace=timedelta(seconds=settings.second_grace if second else settings.grace),
            sweep_interval=timedelta(seconds=settings.sweep),
        )

    def _start(self, function: str, place: int) -> Instance:
        instance = Instance(self, function=function, place=place, skew=self._skews.get((function, place), 0.0))
        is_second = self.is_rolled_out and place % 2 == 0
        instance.services = self._services(instance, self.settings(second=is_second))
        return instance

    def _services(self, instance: Instance, settings: Settings) -> Services:
        calls = Calls(instance)
        is_firestore = self.plan.settings.firestore
        webhook_scheduler = SimulatedWebhookScheduler(self.webhook_queue, calls)
        store = SimulatedRunStore(self, calls, instance, firestore=is_firestore, announce=webhook_scheduler.announce)
        records = SimulatedDirectory(calls, day_usd=self.plan.settings.day_usd)
        directory = CachedDirectory(records, instance.clock)
        no_tokens: Any = NoTokens()
        sessions = Sessions(
            tokens=no_tokens, issuer=no_tokens, ended=no_tokens, verifier=no_tokens, clock=instance.clock
        )
        backend: Any = SimpleNamespace(
            store=store,
            queue=SimulatedRunQueue(self.queues, calls),
            scheduler=SimulatedRecheckScheduler(self.task_queues, calls),
            watcher=SimulatedRunWatcher(self, instance, store, firestore=is_firestore),
            directory=directory,
            catalogue=records,
            users=records,
            usage=NoReports(),
            reports=NoReports(),
            dead_letters=SimulatedDeadLetters(self, calls),
            durations=SimulatedDurationStore(self, calls),
            webhooks=SimulatedWebhookStore(self, calls),
            webhook_scheduler=webhook_scheduler,
            webhook_sender=SimulatedReceivers(self, calls),
            cache=SimulatedResultCache(self, calls),
            tokens=no_tokens,
            sessions=sessions,
            invoker=None,
            clock=instance.clock,
            provider=self._provider(instance, calls, settings, directory),
            breakers=BreakersOfPools(deployments={}, pools=()),
        )
        services = UseCases(settings, backend)
        services.submit = replace(services.submit, new_id=self.new_run_id)
        return services

    def _provider(
        self, instance: Instance, calls: Calls, settings: Settings, directory: CachedDirectory
    ) -> DirectoryLlmProvider:
        def pools() -> SimulatedLlmPools:
            return SimulatedLlmPools(self.llm, calls, instance, threads=settings.llm_threads)

        return DirectoryLlmProvider(
            directory,
            deployments=settings.deployments,
            asynchronous={LlmApi.LLM_JOBS: JobsProtocol(pools())},
            synchronous={
                LlmApi.OPENAI_CHAT: ChatProtocol(pools(), seconds=settings.chat_seconds, secrets=lambda name: "key")
            },
        )

    def _faults_end(self) -> float:
        """Returns when the last fault and the last new client are over."""
        starts = [client.at for client in self.plan.clients]
        ends = [getattr(one, "start", 0.0) + getattr(one, "seconds", 0.0) for one in self.plan.faults]
        late = [FAULTS_END] if any(isinstance(one, Rollout) for one in self.plan.faults) else []
        return max([*starts, *ends, *late, 0.0]) + 1.0

    def _longest_deadline(self) -> float:
        return max([self.plan.settings.deadline, *(submit.deadline or 0.0 for submit in self.plan.submits)])

    def _is_settled(self) -> bool:
        runs = (row.run for row in self.tables.rows.values() if row.run is not None)
        return not self.webhooks.has_pending and all(run.is_terminal and run.due_at is None for run in runs)

    async def _record_final_state(self) -> None:
        """Records what is left, without a fault in the way."""
        history = self.history
        history.ended_at = self.now
        self.call_faults = CallFaults([])
        for run_id, row in self.tables.rows.items():
            if row.run is None:
                history.foreign_runs.add(run_id)
            else:
                history.final[run_id] = self.tables.get(run_id)
        services = self._start("api", PLACES).services
        try:
            overdue = await services.read.overdue()
        except Exception as error:  # noqa: BLE001 - the history records whatever was not expected
            self.record_unexpected_error("overdue", error)
        else:
            history.overdue, history.unreadable = [run.id for run in overdue.runs], list(overdue.unreadable)
        history.unexpected_errors += [repr(error) for error in self.loop.unhandled]
        history.permits_left = {tenant: list(held.values()) for tenant, held in self.tables.permits.items() if held}
        history.balances, history.usage = dict(self.tables.balances), dict(self.tables.usage)
        history.durations = dict(self.durations)
        ended = [run for run in history.final.values() if run.is_terminal and run.deleted_at is None]
        history.expected_cache = {run.id: views.status_content(run).decode() for run in ended}
        history.inputs_left = {run_id for run_id, row in self.tables.rows.items() if row.input is not None}
        history.cache = {key: text for key, (_, text) in self.cache.items()}
        history.deliveries = self.webhooks.deliveries
        history.dead_letters = self.dead_letters
        history.jobs = self.llm.jobs
