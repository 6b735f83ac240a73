"""The exporter of traces, with an OTLP server of the test."""

from collections.abc import Iterator

import pytest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.trace.v1.trace_pb2 import Span, Status
from pytest_httpserver import HTTPServer

from shared import tracing
from shared.adapters.tracing.opentelemetry import OpenTelemetryTracer, otlp_exporter
from shared.tracing import SpanKind

PARENT = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"
UNSAMPLED = PARENT.removesuffix("01") + "00"


@pytest.fixture
def collector(httpserver: HTTPServer) -> HTTPServer:
    httpserver.expect_request("/v1/traces", method="POST").respond_with_data(b"")
    return httpserver


@pytest.fixture
def tracer(collector: HTTPServer) -> Iterator[OpenTelemetryTracer]:
    exporter = otlp_exporter(collector.url_for("/"))
    tracer = OpenTelemetryTracer(exporter, service="process_run", project="p", sample_ratio=1.0)
    tracing.use(tracer)
    yield tracer
    tracing.use(None)
    tracer.close()


def exported(collector: HTTPServer) -> dict[str, Span]:
    spans: dict[str, Span] = {}
    for request, _ in collector.log:
        for resource in ExportTraceServiceRequest.FromString(request.data).resource_spans:
            names = {attribute.key: attribute.value.string_value for attribute in resource.resource.attributes}
            assert names == {"service.name": "process_run", "gcp.project_id": "p"}
            spans |= {span.name: span for scope in resource.scope_spans for span in scope.spans}
    return spans


async def test_spans_reach_the_server_with_their_parents_when_a_function_has_answered(
    tracer: OpenTelemetryTracer, collector: HTTPServer
) -> None:
    with tracing.span("POST", SpanKind.SERVER, parent=tracing.parse(PARENT)):
        tracing.rename("POST /llm_user_runs")
        with tracing.span("LLM POST", SpanKind.CLIENT):
            sent = tracing.headers()["traceparent"]
    await tracing.flush()
    spans = exported(collector)
    server, client = spans["POST /llm_user_runs"], spans["LLM POST"]
    assert server.parent_span_id.hex() == PARENT.split("-")[2] and client.parent_span_id == server.span_id
    assert sent == f"00-{PARENT.split('-')[1]}-{client.span_id.hex()}-01"
    assert {server.trace_id.hex(), client.trace_id.hex()} == {PARENT.split("-")[1]}
    assert (server.kind, client.kind) == (Span.SPAN_KIND_SERVER, Span.SPAN_KIND_CLIENT)


async def test_a_trace_that_its_caller_does_not_record_is_not_exported(
    tracer: OpenTelemetryTracer, collector: HTTPServer
) -> None:
    with tracing.span("GET", SpanKind.SERVER, parent=tracing.parse(UNSAMPLED)):
        assert tracing.headers()["traceparent"].endswith("-00")
    await tracing.flush()
    assert not collector.log


async def test_an_error_is_exported_by_its_type_without_its_text(
    tracer: OpenTelemetryTracer, collector: HTTPServer
) -> None:
    with pytest.raises(ValueError, match="secret"), tracing.span("POST", SpanKind.SERVER):
        raise ValueError("a secret of the user")
    await tracing.flush()
    span = exported(collector)["POST"]
    assert (span.status.code, span.status.message) == (Status.STATUS_CODE_ERROR, "ValueError")
    assert b"secret" not in b"".join(request.data for request, _ in collector.log)


async def test_a_server_that_is_away_does_no_harm() -> None:
    tracer = OpenTelemetryTracer(
        otlp_exporter("http://127.0.0.1:9"), service="process_run", project=None, sample_ratio=1.0
    )
    tracing.use(tracer)
    try:
        with tracing.span("POST", SpanKind.SERVER):
            pass
        await tracing.flush()
    finally:
        tracing.use(None)
        tracer.close()
