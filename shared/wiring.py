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
from shared.adapters.cache.memory import MemoryResultCache
from shared.adapters.clock import SystemClock
from shared.adapters.directory_cache import CachedDirectory
from shared.domain.submission import RunPolicy
from shared.ports import (
    Clock,
    DeadLetters,
    Directory,
    LlmProvider,
    RecheckScheduler,
    ResultCache,
    RunQueue,
    RunStore,
    RunWatcher,
    TokenVerifier,
)
from shared.settings import Settings, from_environment, secret
from shared.usecases.advance import AdvanceRun, Leases
from shared.usecases.bury import BuryRun
from shared.usecases.cancel import CancelRun
from shared.usecases.delete import DeleteRun
from shared.usecases.read import ReadRuns
from shared.usecases.recover import RecoverRuns
from shared.usecases.save_final_run import SaveFinalRun
from shared.usecases.sessions import Sessions
from shared.usecases.submit import SubmitRun
from shared.usecases.sweep import SweepRuns
from shared.usecases.watch import WatchChannel, WatchRun
from shared.web.render import status_text
from shared.wiring_identity import assemble_authentication

if TYPE_CHECKING:
    from shared.adapters.gcp.backend import GoogleBackend
    from shared.adapters.gcp.clients import ClientsByLoop
    from shared.adapters.identity.embedded import EmbeddedTokens
    from shared.adapters.identity.verifiers import Endpoints
    from shared.adapters.sqlite.backend import SqliteBackend

LEASE_MARGIN = timedelta(seconds=5)


class Closable(Protocol):
    def close(self) -> None: ...


_given: list[Settings] = []
_endpoints: "list[Endpoints]" = []
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
    cache: ResultCache
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
    delete: DeleteRun
    read: ReadRuns
    watch: WatchRun
    watch_channel: WatchChannel
    recover: RecoverRuns
    sweep: SweepRuns
    bury: BuryRun


@cache
def settings() -> Settings:
    """Raises ConfigurationError."""
    current = _given.pop() if _given else from_environment()
    log.configure(minimum=current.log_level, project=current.project)
    return current


def use(settings_: Settings, *, endpoints: "Endpoints | None" = None) -> None:
    """Lets go of everything and goes on with these settings, and keys from there, instead of the environment's."""
    close()
    _given[:] = [settings_]
    _endpoints[:] = [endpoints] if endpoints else []


@cache
def services() -> Services:
    backend = _backend()
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
    _endpoints.clear()
    for factory in (settings, services, sqlite, embedded_tokens, google_clients):
        factory.cache_clear()


def _backend() -> Backend:
    clock, adapters = SystemClock(), _google() if settings().backend == "gcp" else sqlite()
    endpoints = _endpoints[0] if _endpoints else None
    authentication = assemble_authentication(settings(), adapters.ended_sessions, clock, endpoints=endpoints)
    _open.extend((authentication.pools.keys, authentication.pools.accounts))
    return Backend(
        store=adapters.store,
        queue=adapters.queue,
        scheduler=adapters.scheduler,
        watcher=adapters.watcher,
        directory=CachedDirectory(adapters.directory, clock),
        dead_letters=adapters.dead_letters,
        cache=_result_cache(clock),
        tokens=authentication.tokens,
        sessions=authentication.sessions,
        invoker=authentication.invoker,
        clock=clock,
    )


def _google() -> "GoogleBackend":
    """Google's clients are imported here and connect on their first call."""
    from shared.adapters.gcp.backend import GoogleBackend
    from shared.adapters.gcp.recheck_scheduler import TaskTarget

    current = settings()
    target = TaskTarget(
        queue=f"projects/{current.project}/locations/{current.tasks_location}/queues/{current.tasks_queue}",
        url=current.recheck_url or "",
        audience=current.internal_audience or current.recheck_url or "",
        service_account=current.invoker_service_account,
    )
    topic = f"projects/{current.project}/topics/{current.runs_topic}"
    return GoogleBackend(google_clients(), topic=topic, target=target)


def _result_cache(clock: Clock) -> ResultCache:
    url = settings().redis_url
    if url is None:
        return MemoryResultCache(clock)
    from shared.adapters.cache.redis import RedisResultCache

    return RedisResultCache(url)


@cache
def google_clients() -> "ClientsByLoop":
    """Also for those who set the emulators up."""
    from shared.adapters.gcp.clients import ClientsByLoop, GoogleEndpoints

    current = settings()
    return ClientsByLoop(
        GoogleEndpoints(
            project=current.project or "",
            database=current.firestore_database,
            firestore_emulator=current.firestore_emulator,
            pubsub_emulator=current.pubsub_emulator,
            tasks_emulator=current.tasks_emulator,
        )
    )


def assemble(settings: Settings, backend: Backend, provider: LlmProvider) -> Services:
    store, clock = backend.store, backend.clock
    read = ReadRuns(store=store, clock=clock)
    save_final = SaveFinalRun(
        store=store, cache=backend.cache, clock=clock, show=status_text, pause=settings.sweep_interval
    )
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
            policy=_policy(settings),
            limits=settings.limits,
            new_id=lambda: str(uuid4()),
        ),
        advance=AdvanceRun(
            store=store,
            provider=provider,
            scheduler=backend.scheduler,
            save_final=save_final,
            clock=clock,
            leases=_leases(settings),
        ),
        cancel=CancelRun(reader=read, provider=provider, save_final=save_final, clock=clock),
        delete=DeleteRun(reader=read, save_final=save_final, clock=clock),
        watch=WatchRun(watcher=backend.watcher),
        watch_channel=WatchChannel(watcher=backend.watcher, clock=clock),
        recover=RecoverRuns(store=store, queue=backend.queue, clock=clock),
        sweep=SweepRuns(
            store=store,
            queue=backend.queue,
            scheduler=backend.scheduler,
            save_final=save_final,
            clock=clock,
            interval=settings.sweep_interval,
        ),
        bury=BuryRun(store=store, dead_letters=backend.dead_letters, save_final=save_final, clock=clock),
    )


def _policy(settings: Settings) -> RunPolicy:
    return RunPolicy(deadlines=settings.deadlines, retention=settings.retention, pending_grace=settings.pending_grace)


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
