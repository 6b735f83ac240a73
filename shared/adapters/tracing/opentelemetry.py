"""Exports spans with OpenTelemetry's SDK, to any OTLP server or to Cloud Trace. It is imported only when that is on."""

from typing import Any

import google.auth
from google.auth.transport.requests import AuthorizedSession
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor, SpanExporter
from opentelemetry.sdk.trace.sampling import ParentBased, TraceIdRatioBased
from opentelemetry.trace import (
    NonRecordingSpan,
    Span,
    SpanContext,
    Status,
    StatusCode,
    TraceFlags,
    set_span_in_context,
)
from opentelemetry.trace import (
    SpanKind as OpenTelemetryKind,
)

from shared.tracing import SpanKind, TraceContext

CLOUD_TRACE = "https://telemetry.googleapis.com/v1/traces"
"""https://cloud.google.com/stackdriver/docs/reference/telemetry/overview"""
SCOPES = ["https://www.googleapis.com/auth/trace.append", "https://www.googleapis.com/auth/cloud-platform"]
EXPORT_SECONDS = 3
BATCH_PAUSE_MILLISECONDS = 1000
_KINDS = {
    SpanKind.SERVER: OpenTelemetryKind.SERVER,
    SpanKind.CONSUMER: OpenTelemetryKind.CONSUMER,
    SpanKind.CLIENT: OpenTelemetryKind.CLIENT,
}


def otlp_exporter(endpoint: str) -> SpanExporter:
    """Returns an exporter to the OTLP server at the base URL `endpoint`."""
    return OTLPSpanExporter(endpoint=f"{endpoint.rstrip('/')}/v1/traces", timeout=EXPORT_SECONDS)


def cloud_trace_exporter(project: str) -> SpanExporter:
    """Returns an exporter to the project's Cloud Trace, with the function's own service account."""
    credentials, _ = google.auth.default(scopes=SCOPES, quota_project_id=project)
    return OTLPSpanExporter(endpoint=CLOUD_TRACE, session=AuthorizedSession(credentials), timeout=EXPORT_SECONDS)


class OpenTelemetryTracer:
    """A Tracer. Spans are sent once a second from a thread of the SDK, and when `flush` is called.

    A trace whose first span is made here is recorded with the probability `sample_ratio`; any other trace as the
    caller's header says.
    """

    def __init__(self, exporter: SpanExporter, *, service: str, project: str | None, sample_ratio: float) -> None:
        attributes = {"service.name": service, **({"gcp.project_id": project} if project else {})}
        self._provider = TracerProvider(
            sampler=ParentBased(TraceIdRatioBased(sample_ratio)), resource=Resource(attributes)
        )
        self._provider.add_span_processor(BatchSpanProcessor(exporter, schedule_delay_millis=BATCH_PAUSE_MILLISECONDS))
        self._tracer = self._provider.get_tracer("llm-runs")

    def start(self, name: str, kind: SpanKind, parent: TraceContext | None) -> "OpenTelemetrySpan":
        around = set_span_in_context(NonRecordingSpan(_remote(parent))) if parent else set_span_in_context(_NO_SPAN)
        return OpenTelemetrySpan(self._tracer.start_span(name, context=around, kind=_KINDS[kind]))

    def flush(self) -> None:
        self._provider.force_flush(EXPORT_SECONDS * 1000)

    def close(self) -> None:
        """Sends what is left and ends the thread."""
        self._provider.shutdown()


class OpenTelemetrySpan:
    def __init__(self, span: Span) -> None:
        self._span = span
        found = span.get_span_context()
        self.context = TraceContext(
            trace_id=f"{found.trace_id:032x}", span_id=f"{found.span_id:016x}", is_sampled=found.trace_flags.sampled
        )

    def rename(self, name: str) -> None:
        self._span.update_name(name)

    def end(self, error: BaseException | None) -> None:
        """Records the type of an error; its text may quote a user's text."""
        if error is not None:
            self._span.set_status(Status(StatusCode.ERROR, type(error).__name__))
        self._span.end()


_NO_SPAN: Any = NonRecordingSpan(SpanContext(0, 0, is_remote=False))


def _remote(parent: TraceContext) -> SpanContext:
    flags = TraceFlags(TraceFlags.SAMPLED if parent.is_sampled else TraceFlags.DEFAULT)
    return SpanContext(int(parent.trace_id, 16), int(parent.span_id, 16), is_remote=True, trace_flags=flags)
