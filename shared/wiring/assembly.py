"""Makes the use cases from one adapter per port. Tests pass adapters of their own.

A use case is imported and made when it is first asked for, and with it the adapters that it needs. So the first answer
of a function waits for no module of the others.
"""

from datetime import timedelta
from functools import cached_property
from typing import TYPE_CHECKING
from uuid import uuid4

from shared.settings import Settings

if TYPE_CHECKING:
    from shared.adapters.sharing.watcher import SharedRunWatcher
    from shared.ports import DeadLetters, Directory, ModelCatalogue, TokenVerifier
    from shared.usecases.advance import AdvanceRun
    from shared.usecases.bury import BuryMessage
    from shared.usecases.cancel import CancelRun
    from shared.usecases.delete import DeleteRun
    from shared.usecases.deliver_webhook import DeliverWebhook
    from shared.usecases.forget import ForgetUser
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
    from shared.usecases.usage import ReadUsage
    from shared.usecases.watch import WatchChannel, WatchRun
    from shared.usecases.webhooks import Webhooks
    from shared.wiring.adapters import Adapters

SHORT_CALL = timedelta(seconds=10)
SAVING = timedelta(seconds=75)
"""A store was away for a minute; LLM_CALL_SECONDS and this fit into the 600 s of a Pub/Sub push together."""


class UseCases:
    """Implements Services with these adapters and settings."""

    def __init__(self, settings: Settings, backend: "Adapters") -> None:
        self._settings = settings
        self._backend = backend
        self.allowed_origins = settings.allowed_origins
        self.streams_url = settings.streams_url
        self.max_input_bytes = settings.max_input_bytes

    @cached_property
    def tokens(self) -> "TokenVerifier":
        return self._backend.tokens

    @cached_property
    def sessions(self) -> "Sessions":
        return self._backend.sessions

    @cached_property
    def invoker(self) -> "TokenVerifier | None":
        return self._backend.invoker

    @cached_property
    def directory(self) -> "Directory":
        return self._backend.directory

    @cached_property
    def catalogue(self) -> "ModelCatalogue":
        return self._backend.catalogue

    @cached_property
    def dead_letters(self) -> "DeadLetters":
        return self._backend.dead_letters

    @cached_property
    def submit(self) -> "SubmitRun":
        from shared.domain.submission import RunPolicy
        from shared.usecases.submit import SubmitRun
        from shared.usecases.webhook_targets import WebhookTargets

        settings, backend = self._settings, self._backend
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

    @cached_property
    def advance(self) -> "AdvanceRun":
        from shared.usecases.advance import AdvanceRun
        from shared.usecases.known_durations import KnownDurations
        from shared.usecases.time_budgets import TimeBudgets

        backend, long_call = self._backend, timedelta(seconds=self._settings.chat_seconds)
        return AdvanceRun(
            store=backend.store,
            provider=backend.provider,
            scheduler=backend.scheduler,
            save_final=self._save_final,
            durations=KnownDurations(store=backend.durations, clock=backend.clock),
            clock=backend.clock,
            budgets=TimeBudgets(short_call=SHORT_CALL, long_call=long_call, saving=SAVING),
        )

    @cached_property
    def read(self) -> "ReadRuns":
        from shared.usecases.read import ReadRuns

        return ReadRuns(store=self._backend.store, clock=self._backend.clock)

    @cached_property
    def cancel(self) -> "CancelRun":
        from shared.usecases.cancel import CancelRun

        backend = self._backend
        return CancelRun(reader=self.read, provider=backend.provider, save_final=self._save_final, clock=backend.clock)

    @cached_property
    def delete(self) -> "DeleteRun":
        from shared.usecases.delete import DeleteRun

        return DeleteRun(reader=self.read, save_final=self._save_final, clock=self._backend.clock)

    @cached_property
    def forget(self) -> "ForgetUser":
        from shared.usecases.forget import ForgetUser

        backend = self._backend
        return ForgetUser(
            store=backend.store,
            directory=backend.directory,
            users=backend.users,
            usage=backend.usage,
            cache=backend.cache,
            webhooks=backend.webhooks,
            cancel=self.cancel,
        )

    @cached_property
    def usage(self) -> "ReadUsage":
        from shared.usecases.usage import ReadUsage

        return ReadUsage(usage=self._backend.usage, clock=self._backend.clock)

    @cached_property
    def overview(self) -> "ReadOverview":
        from shared.usecases.overview import ReadOverview

        backend = self._backend
        return ReadOverview(reports=backend.reports, usage=backend.usage, clock=backend.clock)

    @cached_property
    def operations(self) -> "ReadOperations":
        from shared.usecases.operations import ReadOperations

        backend = self._backend
        return ReadOperations(
            store=backend.store,
            reports=backend.reports,
            dead_letters=backend.dead_letters,
            replaying=self.replay,
            breakers=backend.breakers,
            directory=backend.directory,
            catalogue=backend.catalogue,
            limits=self._settings.limits,
            clock=backend.clock,
        )

    @cached_property
    def watch(self) -> "WatchRun":
        from shared.usecases.watch import WatchRun

        return WatchRun(watcher=self._watcher)

    @cached_property
    def watch_channel(self) -> "WatchChannel":
        from shared.usecases.watch import WatchChannel

        return WatchChannel(watcher=self._watcher, clock=self._backend.clock, retention=self._settings.retention)

    @cached_property
    def rendered(self) -> "RenderedUpdates":
        from shared.usecases.rendered import RenderedUpdates

        return RenderedUpdates()

    @cached_property
    def recover(self) -> "RecoverRuns":
        from shared.usecases.recover import RecoverRuns

        backend = self._backend
        return RecoverRuns(store=backend.store, queue=backend.queue, webhooks=self._sweep_webhooks, clock=backend.clock)

    @cached_property
    def sweep(self) -> "SweepRuns":
        from shared.usecases.sweep import SweepRuns

        backend = self._backend
        return SweepRuns(
            store=backend.store,
            queue=backend.queue,
            scheduler=backend.scheduler,
            save_final=self._save_final,
            clock=backend.clock,
            interval=self._settings.sweep_interval,
            webhooks=self._sweep_webhooks,
        )

    @cached_property
    def bury(self) -> "BuryMessage":
        from shared.usecases.bury import BuryMessage

        return BuryMessage(dead_letters=self._backend.dead_letters)

    @cached_property
    def replay(self) -> "ReplayDeadLetters":
        from shared.usecases.replay import ReplayDeadLetters

        backend = self._backend
        return ReplayDeadLetters(dead_letters=backend.dead_letters, store=backend.store, queue=backend.queue)

    @cached_property
    def webhooks(self) -> "Webhooks":
        from shared.adapters.webhooks import signing
        from shared.usecases.webhooks import Webhooks

        backend = self._backend
        return Webhooks(
            store=backend.webhooks,
            scheduler=backend.webhook_scheduler,
            clock=backend.clock,
            allowed_hosts=self._settings.webhook_allowed_hosts,
            new_id=lambda: uuid4().hex,
            new_secret=signing.new_secret,
        )

    @cached_property
    def deliver_webhook(self) -> "DeliverWebhook":
        from shared.adapters.webhooks import signing
        from shared.usecases.deliver_webhook import DeliverWebhook

        backend = self._backend
        return DeliverWebhook(
            webhooks=backend.webhooks,
            runs=backend.store,
            sender=backend.webhook_sender,
            sign=signing.sign,
            scheduler=backend.webhook_scheduler,
            clock=backend.clock,
        )

    @cached_property
    def _watcher(self) -> "SharedRunWatcher":
        from shared.adapters.sharing.watcher import SharedRunWatcher

        return SharedRunWatcher(self._backend.watcher, self._backend.store)

    @cached_property
    def _save_final(self) -> "SaveFinalRun":
        from shared.usecases.save_final_run import SaveFinalRun

        backend = self._backend
        return SaveFinalRun(
            store=backend.store, cache=backend.cache, clock=backend.clock, retry_pause=self._settings.sweep_interval
        )

    @cached_property
    def _sweep_webhooks(self) -> "SweepWebhooks":
        from shared.usecases.sweep_webhooks import SweepWebhooks

        backend = self._backend
        return SweepWebhooks(
            store=backend.webhooks,
            scheduler=backend.webhook_scheduler,
            clock=backend.clock,
            overdue_after=self._settings.pending_grace,
        )
