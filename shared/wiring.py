"""The only place that knows adapters: joins them to the use cases, once a process, on the first request.

Nothing here connects to anything by itself, and imports of adapters stand inside the factories: functions-framework
imports main.py in the parent process and forks afterwards. Those that know callers are joined in wiring_identity.py.
"""

from dataclasses import dataclass
from datetime import timedelta
from functools import cache
from typing import TYPE_CHECKING, Protocol
from uuid import uuid4

from shared import log
from shared.adapters.clock import SystemClock
from shared.adapters.directory_cache import CachedDirectory
from shared.domain.submission import Terms
from shared.ports import (
    Clock,
    DeadLetters,
    Directory,
    EndedSessions,
    LlmProvider,
    RecheckScheduler,
    RunQueue,
    RunStore,
    RunWatcher,
    TokenVerifier,
)
from shared.settings import Settings, from_environment, secret
from shared.usecases.advance import AdvanceRun, Leases
from shared.usecases.bury import BuryRun
from shared.usecases.cancel import CancelRun
from shared.usecases.read import ReadRuns
from shared.usecases.recover import RecoverRuns
from shared.usecases.sessions import Sessions
from shared.usecases.submit import SubmitRun
from shared.usecases.sweep import SweepRuns
from shared.usecases.watch import WatchRun
from shared.wiring_identity import Callers, assemble_callers

if TYPE_CHECKING:
    from shared.adapters.gcp.clients import ClientsByLoop
    from shared.adapters.gcp.recheck_scheduler import TaskTarget
    from shared.adapters.identity.doors import Addresses
    from shared.adapters.identity.embedded import EmbeddedTokens
    from shared.adapters.sqlite.backend import SqliteBackend

LEASE_MARGIN = timedelta(seconds=5)


class Closable(Protocol):
    def close(self) -> None: ...


_given: list[Settings] = []
_addresses: "list[Addresses]" = []
_open: list[Closable] = []


@dataclass(frozen=True, slots=True, kw_only=True)
class Backend:
    """One adapter for each port."""

    store: RunStore
    queue: RunQueue
    scheduler: RecheckScheduler
    watcher: RunWatcher
    directory: Directory
    dead_letters: DeadLetters
    tokens: TokenVerifier
    sessions: Sessions
    clock: Clock
    invoker: TokenVerifier | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Services:
    """What the functions call."""

    settings: Settings
    tokens: TokenVerifier
    sessions: Sessions
    invoker: TokenVerifier | None
    """Who may call the internal functions; None where anybody may."""
    directory: Directory
    dead_letters: DeadLetters
    submit: SubmitRun
    advance: AdvanceRun
    cancel: CancelRun
    read: ReadRuns
    watch: WatchRun
    recover: RecoverRuns
    sweep: SweepRuns
    bury: BuryRun


@cache
def settings() -> Settings:
    """Raises ConfigurationError."""
    current = _given.pop() if _given else from_environment()
    log.configure(least=current.log_level, project=current.project)
    return current


def use(settings_: Settings, *, addresses: "Addresses | None" = None) -> None:
    """Lets go of everything and goes on with these settings, and keys from there, instead of the environment's."""
    close()
    _given[:] = [settings_]
    _addresses[:] = [addresses] if addresses else []


@cache
def services() -> Services:
    backend = _google_backend() if settings().backend == "gcp" else _embedded_backend()
    return assemble(settings(), backend, _provider(settings(), backend.directory))


@cache
def sqlite() -> "SqliteBackend":
    """The embedded back end's file; the local host delivers from it."""
    from shared.adapters.sqlite.backend import SqliteBackend

    backend = SqliteBackend(settings().data_dir / "runs.db", SystemClock())
    _open.append(backend)
    return backend


@cache
def embedded_tokens() -> "EmbeddedTokens":
    from shared.adapters.identity.embedded import EmbeddedTokens

    return EmbeddedTokens(settings().data_dir)


def close() -> None:
    """Lets go of everything, so that the next call reads the settings anew."""
    while _open:
        _open.pop().close()
    _addresses.clear()
    for factory in (settings, services, sqlite, embedded_tokens, google_clients):
        factory.cache_clear()


def _embedded_backend() -> Backend:
    clock = SystemClock()
    callers = _callers(sqlite().ended_sessions, clock)
    return Backend(
        store=sqlite().store,
        queue=sqlite().queue,
        scheduler=sqlite().scheduler,
        watcher=sqlite().watcher,
        directory=CachedDirectory(sqlite().directory, clock),
        dead_letters=sqlite().dead_letters,
        tokens=callers.tokens,
        sessions=callers.sessions,
        invoker=callers.invoker,
        clock=clock,
    )


def _google_backend() -> Backend:
    """Google's clients are imported here and connect on their first call."""
    from shared.adapters.gcp.dead_letters import FirestoreDeadLetters
    from shared.adapters.gcp.directory import FirestoreDirectory
    from shared.adapters.gcp.ended_sessions import FirestoreEndedSessions
    from shared.adapters.gcp.recheck_scheduler import CloudTasksRecheckScheduler
    from shared.adapters.gcp.run_queue import PubSubRunQueue
    from shared.adapters.gcp.run_store import FirestoreRunStore
    from shared.adapters.gcp.run_watcher import FirestoreRunWatcher

    clock, clients = SystemClock(), google_clients()
    store = FirestoreRunStore(clients)
    callers = _callers(FirestoreEndedSessions(clients), clock)
    return Backend(
        store=store,
        queue=PubSubRunQueue(clients, topic=f"projects/{settings().project}/topics/{settings().runs_topic}"),
        scheduler=CloudTasksRecheckScheduler(clients, _task_target(settings())),
        watcher=FirestoreRunWatcher(clients, store),
        directory=CachedDirectory(FirestoreDirectory(clients), clock),
        dead_letters=FirestoreDeadLetters(clients),
        tokens=callers.tokens,
        sessions=callers.sessions,
        invoker=callers.invoker,
        clock=clock,
    )


@cache
def google_clients() -> "ClientsByLoop":
    """Also for those who set the emulators up."""
    from shared.adapters.gcp.clients import ClientsByLoop, GoogleAddresses

    current = settings()
    return ClientsByLoop(
        GoogleAddresses(
            project=current.project or "",
            database=current.firestore_database,
            firestore_emulator=current.firestore_emulator,
            pubsub_emulator=current.pubsub_emulator,
            tasks_emulator=current.tasks_emulator,
        )
    )


def _callers(ended: EndedSessions, clock: Clock) -> Callers:
    return assemble_callers(settings(), ended, clock, addresses=_addresses[0] if _addresses else None)


def _task_target(settings: Settings) -> "TaskTarget":
    from shared.adapters.gcp.recheck_scheduler import TaskTarget

    return TaskTarget(
        queue=f"projects/{settings.project}/locations/{settings.tasks_location}/queues/{settings.tasks_queue}",
        url=settings.recheck_url or "",
        audience=settings.internal_audience or settings.recheck_url or "",
        service_account=settings.invoker_service_account,
    )


def assemble(settings: Settings, backend: Backend, provider: LlmProvider) -> Services:
    store, clock = backend.store, backend.clock
    read = ReadRuns(store=store, clock=clock)
    return Services(
        settings=settings,
        tokens=backend.tokens,
        sessions=backend.sessions,
        invoker=backend.invoker,
        directory=backend.directory,
        dead_letters=backend.dead_letters,
        read=read,
        submit=SubmitRun(
            store=store,
            queue=backend.queue,
            directory=backend.directory,
            clock=clock,
            terms=_terms(settings),
            new_id=lambda: str(uuid4()),
        ),
        advance=AdvanceRun(
            store=store, provider=provider, scheduler=backend.scheduler, clock=clock, leases=_leases(settings)
        ),
        cancel=CancelRun(store=store, reader=read, provider=provider, clock=clock),
        watch=WatchRun(watcher=backend.watcher),
        recover=RecoverRuns(store=store, queue=backend.queue, clock=clock),
        sweep=SweepRuns(
            store=store,
            queue=backend.queue,
            scheduler=backend.scheduler,
            clock=clock,
            interval=settings.sweep_interval,
        ),
        bury=BuryRun(store=store, dead_letters=backend.dead_letters, clock=clock),
    )


def _terms(settings: Settings) -> Terms:
    return Terms(deadlines=settings.deadlines, retention=settings.retention, pending_grace=settings.pending_grace)


def _leases(settings: Settings) -> Leases:
    from shared.adapters.llm.jobs import SUBMIT_SECONDS

    return Leases(
        jobs=timedelta(seconds=SUBMIT_SECONDS) + LEASE_MARGIN,
        chat=timedelta(seconds=settings.chat_seconds) + LEASE_MARGIN,
    )


def _provider(settings: Settings, directory: Directory) -> LlmProvider:
    """Two thread pools, so that long synchronous calls do not hold up the short ones."""
    from shared.adapters.llm.chat import ChatProtocol
    from shared.adapters.llm.http import LlmHttp
    from shared.adapters.llm.jobs import JobsProtocol
    from shared.adapters.llm.provider import DirectoryLlmProvider

    jobs_http = LlmHttp(threads=settings.llm_threads, name="llm-jobs")
    chat_http = LlmHttp(threads=settings.llm_threads, name="llm-chat")
    _open.extend((jobs_http, chat_http))
    return DirectoryLlmProvider(
        directory,
        deployments=settings.deployments,
        jobs=JobsProtocol(jobs_http),
        chat=ChatProtocol(chat_http, seconds=settings.chat_seconds, secret=secret),
    )
