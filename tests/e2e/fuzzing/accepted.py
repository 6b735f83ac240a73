"""What schemathesis takes for a failure and is none, each with its reason; and how often it asks for a stream."""

import itertools
from typing import Any, TypeAlias

import schemathesis
from schemathesis.core.failures import AcceptedNegativeData, Failure
from schemathesis.openapi.checks import RejectedPositiveData, UseAfterFree

BEYOND_SCHEMAS = {
    ("invalid_request", "cursor"): "only a cursor that was given, for the filters that it was given with, is one",
    ("invalid_request", "starting_after"): "on a channel only an id that was given is one",
    ("invalid_request", "model_id"): "the directory says which models there are",
    ("invalid_request", "source_lang"): "the IANA registry says which languages, scripts and regions there are",
    ("invalid_request", "target_lang"): "so it does of this one, which must differ from source_lang as well",
    ("invalid_request", "notebook"): "its metadata and outputs are read too, and something must be in its cells",
    ("invalid_request", "instructions"): "only a review has instructions beside its text",
    ("invalid_request", "service"): "a model may have no batch service",
    ("invalid_request", "temperature"): "a model may not take it, or less of it",
    ("invalid_request", "top_p"): "a model may not take it",
    ("invalid_request", "max_output_tokens"): "a model may not take it, or write less",
    ("invalid_request", "response_schema"): "a model may not take it",
    ("invalid_request", "from"): "the range begins in 2000 at the earliest, and not behind its end",
    ("invalid_request", "to"): "the range ends in 2000 at the earliest",
    ("invalid_request", "webhook"): "only a public address is one, and the organization needs a secret first",
    ("invalid_request", "url"): "only a public address is one",
    ("run_open", None): "an open run is not deleted",
    ("run_not_finished", None): "an open run has no result",
    ("run_cancelled", None): "a cancelled run has no result",
    ("run_failed", None): "a failed run has no result",
    ("idempotency_conflict", None): "the same key is drawn again, with another body",
}
"""(code, field) of what is refused although the schema allows it."""
Case: TypeAlias = schemathesis.Case[Any]
STREAM_EVERY = 8
_submits = itertools.count(1)


@schemathesis.hook
def filter_failure(
    context: schemathesis.HookContext, failure: Failure, case: Case, response: schemathesis.Response
) -> bool:
    """Whether it is one."""
    if isinstance(failure, UseAfterFree):
        return not _is_tombstone(case, response)
    if isinstance(failure, AcceptedNegativeData):
        return bool(case.operation.label != "POST /api/auth/session/")  # its body is read only without a bearer token
    if isinstance(failure, RejectedPositiveData):
        error: dict[str, Any] = response.json()
        return (error["code"], error.get("field")) not in BEYOND_SCHEMAS
    return True


def _is_tombstone(case: Case, response: schemathesis.Response) -> bool:
    """Of a deleted run its id, times, status, metrics and history stay; a 304 says that the client has them."""
    return response.status_code == 304 or "/stream" in case.path or "deleted_at" in response.json()


@schemathesis.hook
def before_call(context: schemathesis.HookContext, case: Case, kwargs: dict[str, Any]) -> None:
    """The stream of a submit lasts as long as its run, a second or more: most ask for JSON."""
    if case.operation.label in ("POST /llm_user_runs_admin", "POST /llm_user_runs"):
        case.headers["Accept"] = "text/event-stream" if next(_submits) % STREAM_EVERY == 0 else "application/json"
