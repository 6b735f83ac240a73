"""Makes each adapter and use case once, on first use, from one set of settings, and closes what it has made."""

from contextlib import ExitStack
from functools import cached_property
from typing import TYPE_CHECKING

from shared import tracing
from shared.adapters.cache.memory import MemoryResultCache
from shared.adapters.clock import SystemClock
from shared.adapters.directory_cache import CachedDirectory
from shared.domain.directory import LlmApi
from shared.domain.status import Lane
from shared.ports import CircuitBreakers, Clock, Directory, LlmProvider, ResultCache
from shared.services import Services
from shared.settings import Settings, secret
from shared.wiring.assembly import Backend, assemble
from shared.wiring.identity import Endpoints, assemble_authentication

if TYPE_CHECKING:
    from shared.adapters.gcp.backend import GoogleBackend
    from shared.adapters.gcp.clients import ClientsByLoop
    from shared.adapters.gcp.directory import FirestoreDirectory
    from shared.adapters.identity.access_tokens import AccessTokens
    from shared.adapters.identity.embedded import EmbeddedTokens
    from shared.adapters.llm.http import LlmHttpPools
    from shared.adapters.sqlite.backend import SqliteBackend
    from shared.adapters.sqlite.directory import SqliteDirectory
    from shared.adapters.webhooks.sender import HttpWebhookSender


class Container:
    """The adapters and use cases of one process. They connect at their first call, not when they are made."""

    def __init__(self, settings: Settings, *, endpoints: Endpoints | None = None) -> None:
        self.settings = settings
        self._endpoints = endpoints or Endpoints()
        self._closing = ExitStack()

    @cached_property
    def services(self) -> Services:
        """Makes the use cases for the back end that the settings name."""
        self._export_traces()
        backend = self._backend()
        return assemble(self.settings, backend, self._provider(backend.directory), breakers=self._breakers())

    @cached_property
    def sqlite(self) -> "SqliteBackend":
        """Makes the embedded back end in the file `runs.db` of DATA_DIR."""
        from shared.adapters.sqlite.backend import SqliteBackend

        backend = SqliteBackend(self.settings.data_dir / "runs.db", SystemClock())
        self._closing.callback(backend.close)
        return backend

    @property
    def directory(self) -> "FirestoreDirectory | SqliteDirectory":
        """Returns the directory without a cache."""
        return self._google().directory if self.settings.backend == "gcp" else self.sqlite.directory

    @cached_property
    def embedded_tokens(self) -> "EmbeddedTokens":
        """Makes the adapter of the tokens of `make token`, whose key is in DATA_DIR."""
        from shared.adapters.identity.embedded import EmbeddedTokens

        return EmbeddedTokens(self.settings.data_dir)

    @cached_property
    def google_clients(self) -> "ClientsByLoop":
        """Makes Google's clients, which connect at their first call."""
        from shared.adapters.gcp.clients import ClientsByLoop, GoogleEndpoints

        settings = self.settings
        return ClientsByLoop(
            GoogleEndpoints(
                project=settings.project or "",
                database=settings.firestore_database,
                firestore_emulator=settings.firestore_emulator,
                pubsub_emulator=settings.pubsub_emulator,
                tasks_emulator=settings.tasks_emulator,
            )
        )

    def close(self) -> None:
        """Closes everything that has been made: databases and thread pools."""
        self._closing.close()

    def _backend(self) -> Backend:
        clock, adapters = SystemClock(), self._google() if self.settings.backend == "gcp" else self.sqlite
        authentication = assemble_authentication(
            self.settings, adapters.ended_sessions, clock, endpoints=self._endpoints
        )
        self._closing.callback(authentication.pools.close)
        return Backend(
            store=adapters.store,
            queue=adapters.queue,
            scheduler=adapters.scheduler,
            watcher=adapters.watcher,
            directory=CachedDirectory(adapters.directory, clock),
            catalogue=adapters.directory,
            users=adapters.directory,
            usage=adapters.usage,
            reports=adapters.reports,
            dead_letters=adapters.dead_letters,
            durations=adapters.durations,
            webhooks=adapters.webhooks,
            webhook_scheduler=adapters.webhook_scheduler,
            webhook_sender=self._webhook_sender(),
            cache=self._result_cache(clock),
            tokens=authentication.tokens,
            sessions=authentication.sessions,
            invoker=authentication.invoker,
            clock=clock,
        )

    def _export_traces(self) -> None:
        settings = self.settings
        if settings.trace_export == "none":
            return
        from shared.adapters.tracing import opentelemetry

        if settings.trace_export == "cloud_trace":
            exporter = opentelemetry.cloud_trace_exporter(settings.project or "")
        else:
            exporter = opentelemetry.otlp_exporter(settings.trace_endpoint)
        tracer = opentelemetry.OpenTelemetryTracer(
            exporter, service=settings.service, project=settings.project, sample_ratio=settings.trace_sample_ratio
        )
        tracing.use(tracer)
        self._closing.callback(tracing.use, None)
        self._closing.callback(tracer.close)

    def _google(self) -> "GoogleBackend":
        from shared.adapters.gcp.backend import GoogleBackend
        from shared.adapters.gcp.recheck_scheduler import TaskTarget
        from shared.adapters.gcp.webhook_scheduler import WebhookTarget

        settings = self.settings
        topics = f"projects/{settings.project}/topics"
        queues = f"projects/{settings.project}/locations/{settings.tasks_location}/queues"
        target = TaskTarget(
            queues={Lane.SHORT: f"{queues}/{settings.tasks_queue}", Lane.LONG: f"{queues}/{settings.long_tasks_queue}"},
            url=settings.recheck_url or "",
            audience=settings.internal_audience or settings.recheck_url or "",
            service_account=settings.invoker_service_account,
        )
        webhooks = WebhookTarget(
            queue=f"{queues}/{settings.webhooks_queue}",
            url=settings.deliver_webhook_url or "",
            audience=settings.internal_audience or settings.deliver_webhook_url or "",
            service_account=settings.invoker_service_account,
        )
        by_lane = {Lane.SHORT: f"{topics}/{settings.runs_topic}", Lane.LONG: f"{topics}/{settings.long_runs_topic}"}
        return GoogleBackend(self.google_clients, topics=by_lane, target=target, webhooks=webhooks)

    def _webhook_sender(self) -> "HttpWebhookSender":
        from shared.adapters.webhooks.sender import HttpWebhookSender

        sender = HttpWebhookSender(allowed_hosts=self.settings.webhook_allowed_hosts)
        self._closing.callback(sender.close)
        return sender

    def _result_cache(self, clock: Clock) -> ResultCache:
        if self.settings.redis_url is None:
            return MemoryResultCache(clock)
        from shared.adapters.cache.redis import RedisResultCache

        return RedisResultCache(self.settings.redis_url)

    async def _google_token(self) -> str:
        """Returns an access token for models with `auth: google`. The first call loads Google's library."""
        return await self._access_tokens()

    @cached_property
    def _access_tokens(self) -> "AccessTokens":
        from shared.adapters.identity.access_tokens import CLOUD_PLATFORM, AccessTokens
        from shared.adapters.identity.http import IdentityHttp

        http = IdentityHttp(threads=2, name="llm-tokens")
        self._closing.callback(http.close)
        return AccessTokens(http, scopes=CLOUD_PLATFORM)

    @cached_property
    def _llm_pools(self) -> "tuple[LlmHttpPools, LlmHttpPools]":
        """Makes the thread pools of (short calls, long calls)."""
        from shared.adapters.llm.http import LlmHttpPools

        threads = self.settings.llm_threads
        short, long = LlmHttpPools(threads=threads, name="llm-short"), LlmHttpPools(threads=threads, name="llm-long")
        for pools in (short, long):
            self._closing.callback(pools.close)
        return short, long

    def _breakers(self) -> CircuitBreakers:
        from shared.adapters.llm.breaker_states import BreakersOfPools

        return BreakersOfPools(deployments=self.settings.deployments, pools=self._llm_pools)

    def _provider(self, directory: Directory) -> LlmProvider:
        """Makes thread pools by lane and server, so that long or hanging calls delay no others."""
        from shared.adapters.llm.anthropic_batch import AnthropicBatchProtocol
        from shared.adapters.llm.chat import ChatProtocol
        from shared.adapters.llm.jobs import JobsProtocol
        from shared.adapters.llm.messages import MessagesProtocol
        from shared.adapters.llm.openai_batch import OpenAiBatchProtocol
        from shared.adapters.llm.provider import DirectoryLlmProvider
        from shared.adapters.llm.responses import ResponsesProtocol

        settings, (short_pools, long_pools) = self.settings, self._llm_pools
        return DirectoryLlmProvider(
            directory,
            deployments=settings.deployments,
            asynchronous={
                LlmApi.LLM_JOBS: JobsProtocol(short_pools),
                LlmApi.OPENAI_RESPONSES: ResponsesProtocol(short_pools, secrets=secret),
                LlmApi.OPENAI_BATCH: OpenAiBatchProtocol(short_pools, secrets=secret),
                LlmApi.ANTHROPIC_BATCH: AnthropicBatchProtocol(short_pools, secrets=secret),
            },
            google_token=self._google_token,
            synchronous={
                LlmApi.OPENAI_CHAT: ChatProtocol(long_pools, seconds=settings.chat_seconds, secrets=secret),
                LlmApi.ANTHROPIC_MESSAGES: MessagesProtocol(long_pools, seconds=settings.chat_seconds, secrets=secret),
            },
        )
