"""Makes each adapter when it is first asked for, from one set of settings and the stores of a back end."""

from contextlib import ExitStack
from functools import cached_property
from typing import TYPE_CHECKING

from shared.adapters.clock import SystemClock
from shared.settings import Settings, secret
from shared.wiring.identity import Authentication, Endpoints

if TYPE_CHECKING:
    from shared.adapters.gcp.backend import GoogleBackend
    from shared.adapters.identity.access_tokens import AccessTokens
    from shared.adapters.llm.http import LlmHttpPools
    from shared.adapters.sqlite.backend import SqliteBackend
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
    from shared.usecases.sessions import Sessions


class Adapters:
    """One adapter per port."""

    def __init__(
        self,
        settings: Settings,
        stores: "GoogleBackend | SqliteBackend",
        endpoints: Endpoints,
        *,
        closing: ExitStack,
    ) -> None:
        """`closing` closes what is made here."""
        self._settings = settings
        self._stores = stores
        self._endpoints = endpoints
        self._closing = closing
        self.clock: Clock = SystemClock()

    @cached_property
    def store(self) -> "RunStore":
        return self._stores.store

    @cached_property
    def queue(self) -> "RunQueue":
        return self._stores.queue

    @cached_property
    def scheduler(self) -> "RecheckScheduler":
        return self._stores.scheduler

    @cached_property
    def watcher(self) -> "RunWatcher":
        return self._stores.watcher

    @cached_property
    def directory(self) -> "Directory":
        from shared.adapters.directory_cache import CachedDirectory

        return CachedDirectory(self._stores.directory, self.clock)

    @cached_property
    def catalogue(self) -> "ModelCatalogue":
        return self._stores.directory

    @cached_property
    def users(self) -> "UserRecords":
        return self._stores.directory

    @cached_property
    def usage(self) -> "UsageSums":
        return self._stores.usage

    @cached_property
    def reports(self) -> "RunReports":
        return self._stores.reports

    @cached_property
    def dead_letters(self) -> "DeadLetters":
        return self._stores.dead_letters

    @cached_property
    def durations(self) -> "DurationStore":
        return self._stores.durations

    @cached_property
    def webhooks(self) -> "WebhookStore":
        return self._stores.webhooks

    @cached_property
    def webhook_scheduler(self) -> "WebhookScheduler":
        return self._stores.webhook_scheduler

    @cached_property
    def webhook_sender(self) -> "WebhookSender":
        from shared.adapters.webhooks.sender import HttpWebhookSender

        sender = HttpWebhookSender(allowed_hosts=self._settings.webhook_allowed_hosts)
        self._closing.callback(sender.close)
        return sender

    @cached_property
    def cache(self) -> "ResultCache":
        if self._settings.redis_url is None:
            from shared.adapters.cache.memory import MemoryResultCache

            return MemoryResultCache(self.clock)
        from shared.adapters.cache.redis import RedisResultCache

        return RedisResultCache(self._settings.redis_url)

    @cached_property
    def tokens(self) -> "TokenVerifier":
        return self._authentication.tokens

    @cached_property
    def sessions(self) -> "Sessions":
        return self._authentication.sessions

    @cached_property
    def invoker(self) -> "TokenVerifier | None":
        return self._authentication.invoker

    @cached_property
    def _authentication(self) -> Authentication:
        return Authentication(
            self._settings,
            lambda: self._stores.ended_sessions,
            self.clock,
            endpoints=self._endpoints,
            closing=self._closing,
        )

    @cached_property
    def breakers(self) -> "CircuitBreakers":
        from shared.adapters.llm.breaker_states import BreakersOfPools

        return BreakersOfPools(deployments=self._settings.deployments, pools=self._llm_pools)

    @cached_property
    def provider(self) -> "LlmProvider":
        """Makes thread pools by lane and server, so that long or hanging calls delay no others."""
        from shared.adapters.llm.anthropic_batch import AnthropicBatchProtocol
        from shared.adapters.llm.chat import ChatProtocol
        from shared.adapters.llm.jobs import JobsProtocol
        from shared.adapters.llm.messages import MessagesProtocol
        from shared.adapters.llm.openai_batch import OpenAiBatchProtocol
        from shared.adapters.llm.provider import DirectoryLlmProvider
        from shared.adapters.llm.responses import ResponsesProtocol
        from shared.domain.directory import LlmApi

        settings, (short_pools, long_pools) = self._settings, self._llm_pools
        return DirectoryLlmProvider(
            self.directory,
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

    @cached_property
    def _llm_pools(self) -> "tuple[LlmHttpPools, LlmHttpPools]":
        """Makes the thread pools of (short calls, long calls)."""
        from shared.adapters.llm.http import LlmHttpPools

        threads = self._settings.llm_threads
        short, long = LlmHttpPools(threads=threads, name="llm-short"), LlmHttpPools(threads=threads, name="llm-long")
        for pools in (short, long):
            self._closing.callback(pools.close)
        return short, long

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
