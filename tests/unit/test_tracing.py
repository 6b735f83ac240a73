"""Trace contexts: what is read of headers, and what passes from one span to the next."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shared import tracing
from shared.tracing import SpanKind, TraceContext

TRACE = "4bf92f3577b34da6a3ce929d0e0e4736"
SPAN = "00f067aa0ba902b7"


@pytest.mark.parametrize(
    ("headers", "context"),
    [
        ({}, None),
        ({"traceparent": f"00-{TRACE}-{SPAN}-01"}, TraceContext(trace_id=TRACE, span_id=SPAN, is_sampled=True)),
        ({"traceparent": f"00-{TRACE}-{SPAN}-00"}, TraceContext(trace_id=TRACE, span_id=SPAN)),
        ({"traceparent": f"cc-{TRACE}-{SPAN}-03-later"}, TraceContext(trace_id=TRACE, span_id=SPAN, is_sampled=True)),
        ({"traceparent": f"ff-{TRACE}-{SPAN}-01"}, None),
        ({"traceparent": f"00-{'0' * 32}-{SPAN}-01"}, None),
        ({"traceparent": f"00-{TRACE}-{'0' * 16}-01"}, None),
        ({"traceparent": f"00-{TRACE.upper()}-{SPAN}-01"}, None),
        ({"traceparent": "../../x"}, None),
        (
            {"x-cloud-trace-context": f"{TRACE}/74;o=1"},
            TraceContext(trace_id=TRACE, span_id=f"{74:016x}", is_sampled=True),
        ),
        ({"x-cloud-trace-context": f"{TRACE}/74"}, TraceContext(trace_id=TRACE, span_id=f"{74:016x}")),
        ({"x-cloud-trace-context": f"{TRACE}/0"}, None),
        ({"x-cloud-trace-context": "abc/1"}, None),
    ],
)
def test_a_context_is_read_from_either_header_if_it_is_valid(
    headers: dict[str, str], context: TraceContext | None
) -> None:
    assert tracing.context_of(headers) == context


@given(st.text())
def test_any_header_is_read_or_ignored(text: str) -> None:
    tracing.context_of({"traceparent": text, "x-cloud-trace-context": text})


def test_a_span_belongs_to_the_trace_of_its_parent_and_has_an_id_of_its_own() -> None:
    parent = tracing.parse(f"00-{TRACE}-{SPAN}-01")
    with tracing.span("outer", SpanKind.SERVER, parent=parent):
        outer = tracing.parse(tracing.current())
        with tracing.span("inner", SpanKind.CLIENT):
            inner = tracing.parse(tracing.headers()["traceparent"])
        assert tracing.parse(tracing.current()) == outer
    assert outer is not None and inner is not None
    assert {outer.trace_id, inner.trace_id} == {TRACE} and len({SPAN, outer.span_id, inner.span_id}) == 3
    assert inner.is_sampled


def test_outside_of_spans_nothing_is_sent() -> None:
    assert (tracing.current(), tracing.headers()) == (None, {})


def test_a_span_without_a_parent_begins_a_trace() -> None:
    with tracing.span("first", SpanKind.SERVER):
        first = tracing.parse(tracing.current())
    with tracing.span("second", SpanKind.SERVER):
        second = tracing.parse(tracing.current())
    assert first is not None and second is not None and first.trace_id != second.trace_id


def test_a_trace_is_continued_in_a_span_of_its_own_unless_it_is_already_the_one_around() -> None:
    with tracing.span("sweep", SpanKind.CONSUMER):
        around = tracing.current()
        with tracing.continued(f"00-{TRACE}-{SPAN}-01", "repair"):
            assert TRACE in str(tracing.current())
            own = tracing.current()
            with tracing.continued(f"00-{TRACE}-{SPAN}-01", "again"):
                assert tracing.current() == own
        with tracing.continued(None, "an old run"):
            assert tracing.current() == around
        assert tracing.current() == around
