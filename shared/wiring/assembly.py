"""Builds the use cases from one adapter per port. Tests pass adapters of their own."""

from dataclasses import dataclass
from datetime import timedelta
from uuid import uuid4

from shared.adapters.sharing.watcher import SharedRunWatcher
from shared.adapters.webhooks import signing
from shared.domain.submission import RunPolicy
from shared.ports import (
    CircuitBreakers,
    Clock,
    DeadLetters,
    Directory,
    DurationStore,
    LlmProvider,
    ModelCatalogue,
    RecheckScheduler,
    ResultCache,
    RunQueue,
    RunReports,
    RunStore,
    RunWatcher,
    TokenVerifier,
    UsageSums,
    UserRecords,
    WebhookScheduler,
    WebhookSender,
    WebhookStore,
)
from shared.services import Services
from shared.settings import Settings
from shared.usecases.advance import AdvanceRun
from shared.usecases.bury import BuryMessage
from shared.usecases.cancel import CancelRun
from shared.usecases.delete import DeleteRun
from shared.usecases.deliver_webhook import DeliverWebhook
from shared.usecases.forget import ForgetUser
from shared.usecases.known_durations import KnownDurations
from shared.usecases.operations import ReadOperations
from shared.usecases.overview import ReadOverview
from shared.usecases.read import ReadRuns
from shared.usecases.recover import RecoverRuns
from shared.usecases.rendered import RenderedUpdates
from shared.usecases.replay import ReplayDeadLetters
from shared.usecases.save_final_run import SaveFinalRun
from shared.usecases.sessions import Sessions
from shared.usecases.submit import SubmitRun
from shared.usecases.sweep import SweepRuns
from shared.usecases.sweep_webhooks import SweepWebhooks
from shared.usecases.time_budgets import TimeBudgets
from shared.usecases.usage import ReadUsage
from shared.usecases.watch import WatchChannel, WatchRun
from shared.usecases.webhook_targets import WebhookTargets
from shared.usecases.webhooks import Webhooks

SHORT_CALL = timedelta(seconds=10)
SAVING = timedelta(seconds=75)
"""A store was away for a minute; LLM_CALL_SECONDS and this fit into the 600 s of a Pub/Sub push together."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Backend:
    """One adapter per port, except LlmProvider."""

    store: RunStore
    queue: RunQueue
    scheduler: RecheckScheduler
    watcher: RunWatcher
    directory: Directory
    catalogue: ModelCatalogue
    users: UserRecords
    usage: UsageSums
    reports: RunReports
    dead_letters: DeadLetters
    durations: DurationStore
    webhooks: WebhookStore
    webhook_scheduler: WebhookScheduler
    webhook_sender: WebhookSender
    cache: ResultCache
    tokens: TokenVerifier
    sessions: Sessions
    clock: Clock
    invoker: TokenVerifier | None = None


def assemble(settings: Settings, backend: Backend, provider: LlmProvider, *, breakers: CircuitBreakers) -> Services:
    """Returns the use cases, which use these adapters and settings."""
    store, clock = backend.store, backend.clock
    watcher = SharedRunWatcher(backend.watcher, store)
    read = ReadRuns(store=store, clock=clock)
    save_final = SaveFinalRun(store=store, cache=backend.cache, clock=clock, retry_pause=settings.sweep_interval)
    sweep_webhooks = _sweep_webhooks(settings, backend)
    cancel = CancelRun(reader=read, provider=provider, save_final=save_final, clock=clock)
    replay = ReplayDeadLetters(dead_letters=backend.dead_letters, store=store, queue=backend.queue)
    return Services(
        tokens=backend.tokens,
        sessions=backend.sessions,
        invoker=backend.invoker,
        directory=backend.directory,
        catalogue=backend.catalogue,
        dead_letters=backend.dead_letters,
        allowed_origins=settings.allowed_origins,
        streams_url=settings.streams_url,
        max_input_bytes=settings.max_input_bytes,
        read=read,
        submit=_submit(settings, backend),
        advance=_advance(settings, backend, provider, save_final),
        cancel=cancel,
        forget=_forget(backend, cancel),
        delete=DeleteRun(reader=read, save_final=save_final, clock=clock),
        usage=ReadUsage(usage=backend.usage, clock=clock),
        overview=ReadOverview(reports=backend.reports, usage=backend.usage, clock=clock),
        operations=_operations(settings, backend, replay, breakers),
        watch=WatchRun(watcher=watcher),
        watch_channel=WatchChannel(watcher=watcher, clock=clock, retention=settings.retention),
        rendered=RenderedUpdates(),
        recover=RecoverRuns(store=store, queue=backend.queue, webhooks=sweep_webhooks, clock=clock),
        sweep=SweepRuns(
            store=store,
            queue=backend.queue,
            scheduler=backend.scheduler,
            save_final=save_final,
            clock=clock,
            interval=settings.sweep_interval,
            webhooks=sweep_webhooks,
        ),
        bury=BuryMessage(dead_letters=backend.dead_letters),
        replay=replay,
        webhooks=_webhooks(settings, backend),
        deliver_webhook=_deliver_webhook(backend),
    )


def _submit(settings: Settings, backend: Backend) -> SubmitRun:
    policy = RunPolicy(
        deadlines=settings.deadlines,
        retention=settings.retention,
        pending_grace=settings.pending_grace,
        max_attempts=settings.max_attempts,
        repairs=settings.translation_repairs,
    )
    return SubmitRun(
        store=backend.store,
        queue=backend.queue,
        directory=backend.directory,
        clock=backend.clock,
        policy=policy,
        limits=settings.limits,
        webhooks=WebhookTargets(store=backend.webhooks, allowed_hosts=settings.webhook_allowed_hosts),
        new_id=lambda: str(uuid4()),
    )


def _forget(backend: Backend, cancel: CancelRun) -> ForgetUser:
    return ForgetUser(
        store=backend.store,
        directory=backend.directory,
        users=backend.users,
        usage=backend.usage,
        cache=backend.cache,
        webhooks=backend.webhooks,
        cancel=cancel,
    )


def _advance(settings: Settings, backend: Backend, provider: LlmProvider, save_final: SaveFinalRun) -> AdvanceRun:
    return AdvanceRun(
        store=backend.store,
        provider=provider,
        scheduler=backend.scheduler,
        save_final=save_final,
        durations=KnownDurations(store=backend.durations, clock=backend.clock),
        clock=backend.clock,
        budgets=TimeBudgets(short_call=SHORT_CALL, long_call=timedelta(seconds=settings.chat_seconds), saving=SAVING),
    )


def _operations(
    settings: Settings, backend: Backend, replay: ReplayDeadLetters, breakers: CircuitBreakers
) -> ReadOperations:
    return ReadOperations(
        store=backend.store,
        reports=backend.reports,
        dead_letters=backend.dead_letters,
        replaying=replay,
        breakers=breakers,
        directory=backend.directory,
        catalogue=backend.catalogue,
        limits=settings.limits,
        clock=backend.clock,
    )


def _webhooks(settings: Settings, backend: Backend) -> Webhooks:
    return Webhooks(
        store=backend.webhooks,
        scheduler=backend.webhook_scheduler,
        clock=backend.clock,
        allowed_hosts=settings.webhook_allowed_hosts,
        new_id=lambda: uuid4().hex,
        new_secret=signing.new_secret,
    )


def _deliver_webhook(backend: Backend) -> DeliverWebhook:
    return DeliverWebhook(
        webhooks=backend.webhooks,
        runs=backend.store,
        sender=backend.webhook_sender,
        sign=signing.sign,
        scheduler=backend.webhook_scheduler,
        clock=backend.clock,
    )


def _sweep_webhooks(settings: Settings, backend: Backend) -> SweepWebhooks:
    return SweepWebhooks(
        store=backend.webhooks,
        scheduler=backend.webhook_scheduler,
        clock=backend.clock,
        overdue_after=settings.pending_grace,
    )
