"""Makes the back end and the use cases of one process from one set of settings, and closes what it has made."""

from contextlib import ExitStack
from functools import cached_property
from typing import TYPE_CHECKING

from shared import tracing
from shared.adapters.clock import SystemClock
from shared.domain.status import Lane
from shared.services import Services
from shared.settings import Settings
from shared.wiring.adapters import Adapters
from shared.wiring.assembly import UseCases
from shared.wiring.identity import Endpoints

if TYPE_CHECKING:
    from shared.adapters.gcp.backend import GoogleBackend
    from shared.adapters.gcp.clients import ClientsByLoop
    from shared.adapters.gcp.directory import FirestoreDirectory
    from shared.adapters.identity.embedded import EmbeddedTokens
    from shared.adapters.sqlite.backend import SqliteBackend
    from shared.adapters.sqlite.directory import SqliteDirectory


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
        stores = self._google if self.settings.backend == "gcp" else self.sqlite
        return UseCases(self.settings, Adapters(self.settings, stores, self._endpoints, closing=self._closing))

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
        return self._google.directory if self.settings.backend == "gcp" else self.sqlite.directory

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

    @cached_property
    def _google(self) -> "GoogleBackend":
        from shared.adapters.gcp.backend import GoogleBackend
        from shared.adapters.gcp.task_targets import TaskTarget, WebhookTarget

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
