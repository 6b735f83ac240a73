"""Answers the markers of a text with the vendors' own error responses: their statuses, headers and bodies.

`tests/contract/vendor_errors.py` has the sources of the bodies, and a test compares them. The job API is our own, so
its errors have the form {error: {code, message}}.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

from starlette.responses import JSONResponse, Response

TRIES = {"[[rate-limit]]": 2, "[[overloaded]]": 1}
"""{marker: how many tries it fails}; the other markers fail every try."""
WAIT_SECONDS = 1
RESET_AT = "RESET_AT"
"""Stands for the time at which a limit is full again."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SimulatedError:
    """Holds one error response of a vendor."""

    status: int
    body: Mapping[str, Any]
    headers: Mapping[str, str] = field(default_factory=dict)

    def response(self) -> Response:
        """Returns the response; a limit is full again WAIT_SECONDS from now."""
        reset = (datetime.now(UTC) + timedelta(seconds=WAIT_SECONDS)).isoformat(timespec="seconds")
        headers = {name: reset if value == RESET_AT else value for name, value in self.headers.items()}
        return JSONResponse(self.body, status_code=self.status, headers=headers)


def openai_error(
    status: int, message: str, kind: str = "invalid_request_error", code: str | None = None, param: str | None = None
) -> SimulatedError:
    """https://platform.openai.com/docs/guides/error-codes"""
    body = {"error": {"message": message, "type": kind, "param": param, "code": code}}
    return SimulatedError(status=status, body=body, headers={"x-request-id": "req_simulated"})


def anthropic_error(status: int, kind: str, message: str) -> SimulatedError:
    """https://docs.claude.com/en/api/errors"""
    body = {"type": "error", "error": {"type": kind, "message": message}, "request_id": "req_simulated"}
    return SimulatedError(status=status, body=body, headers={"request-id": "req_simulated"})


def job_error(status: int, code: str, message: str, **headers: str) -> SimulatedError:
    return SimulatedError(status=status, body={"error": {"code": code, "message": message}}, headers=headers)


_OPENAI_LIMIT = openai_error(429, "Rate limit reached for requests", "requests", "rate_limit_exceeded")
_ANTHROPIC_LIMIT = anthropic_error(429, "rate_limit_error", "This request would exceed your organization's rate limit.")
OPENAI: Mapping[str, SimulatedError] = {
    "[[rate-limit]]": SimulatedError(
        status=429,
        body=_OPENAI_LIMIT.body,
        headers={
            "retry-after-ms": f"{WAIT_SECONDS}000",
            "retry-after": str(WAIT_SECONDS),
            "x-ratelimit-limit-requests": "60",
            "x-ratelimit-remaining-requests": "0",
            "x-ratelimit-reset-requests": f"{WAIT_SECONDS}s",
            **_OPENAI_LIMIT.headers,
        },
    ),
    "[[overloaded]]": openai_error(
        503,
        "The engine is currently overloaded, please try again later",
        "service_unavailable_error",
        "server_is_overloaded",
    ),
    "[[quota]]": openai_error(
        429,
        "You exceeded your current quota, please check your plan and billing details.",
        "insufficient_quota",
        "insufficient_quota",
    ),
    "[[bad-key]]": openai_error(401, "Incorrect API key provided: sk-12**34.", code="invalid_api_key"),
}
"""The errors with which each of OpenAI's routes answers a request, also those of the batch API."""
_OPENAI_MODEL_GONE = openai_error(
    404, "The model `gpt-4o-2024-08-06` does not exist or you do not have access to it.", code="model_not_found"
)
RESPONSES: Mapping[str, SimulatedError] = {
    **OPENAI,
    "[[model-gone]]": _OPENAI_MODEL_GONE,
    "[[too-long]]": openai_error(
        400,
        "Your input exceeds the context window of this model. Please adjust your input and try again.",
        code="context_length_exceeded",
        param="input",
    ),
}
CHAT: Mapping[str, SimulatedError] = {
    **OPENAI,
    "[[model-gone]]": _OPENAI_MODEL_GONE,
    "[[too-long]]": openai_error(
        400,
        "This model's maximum context length is 4097 tokens. However, your messages resulted in 4294 tokens. Please "
        "reduce the length of the messages.",
        code="context_length_exceeded",
        param="messages",
    ),
    "[[refuse]]": openai_error(
        400,
        "Invalid prompt: your prompt was flagged as potentially violating our usage policy. Please try again with a "
        "different prompt: https://platform.openai.com/docs/guides/reasoning#advice-on-prompting",
        code="invalid_prompt",
    ),
    "[[fail]]": openai_error(
        400, "Invalid value for 'content': expected a string, got null.", param="messages.[0].content"
    ),
}
OPENAI_BATCH_ERRORS: Mapping[str, Mapping[str, Any]] = {
    "[[model-gone]]": {
        "code": "model_not_found",
        "message": "The provided model 'gpt-4o-2024-08-06' is not supported by the Batch API.",
        "param": "body.model",
        "line": 1,
    },
    "[[fail]]": {
        "code": "invalid_json_line",
        "message": "This line is not parseable as valid JSON.",
        "param": None,
        "line": 1,
    },
}
"""The errors that OpenAI finds when it validates the file of a batch, which fails then."""
OPENAI_JOB_ERROR = {
    "code": "server_error",
    "message": "An error occurred while processing your request. You can retry your request, or contact us through our "
    "help center at help.openai.com if the error persists. Please include the request ID req_simulated in your "
    "message.",
}
"""The `error` of a response in the background that failed."""
ANTHROPIC: Mapping[str, SimulatedError] = {
    "[[rate-limit]]": SimulatedError(
        status=429,
        body=_ANTHROPIC_LIMIT.body,
        headers={
            "retry-after": str(WAIT_SECONDS),
            "anthropic-ratelimit-requests-limit": "50",
            "anthropic-ratelimit-requests-remaining": "0",
            "anthropic-ratelimit-requests-reset": RESET_AT,
            **_ANTHROPIC_LIMIT.headers,
        },
    ),
    "[[overloaded]]": anthropic_error(529, "overloaded_error", "Overloaded"),
    "[[quota]]": anthropic_error(
        400,
        "invalid_request_error",
        "Your credit balance is too low to access the Anthropic API. Please go to Plans & Billing to upgrade or "
        "purchase credits.",
    ),
    "[[bad-key]]": anthropic_error(401, "authentication_error", "invalid x-api-key"),
}
"""The errors with which each of Anthropic's routes answers a request, also those of the batch API."""
ANTHROPIC_REQUEST: Mapping[str, SimulatedError] = {
    "[[model-gone]]": anthropic_error(404, "not_found_error", "model: claude-3-opus-20240229"),
    "[[too-long]]": anthropic_error(400, "invalid_request_error", "prompt is too long: 208310 tokens > 200000 maximum"),
    "[[fail]]": anthropic_error(400, "invalid_request_error", "messages: text content blocks must be non-empty"),
}
"""What is wrong with the request itself: the answer of a call, and the result of a batch."""
MESSAGES: Mapping[str, SimulatedError] = {**ANTHROPIC, **ANTHROPIC_REQUEST}
JOBS: Mapping[str, SimulatedError] = {
    "[[refuse]]": job_error(422, "refused", "this text is not translated here"),
    "[[rate-limit]]": job_error(429, "rate_limited", "too many requests", **{"retry-after": str(WAIT_SECONDS)}),
    "[[overloaded]]": job_error(503, "overloaded", "too much to do", **{"retry-after": str(WAIT_SECONDS)}),
    "[[quota]]": job_error(402, "quota_exceeded", "no quota is left"),
    "[[too-long]]": job_error(
        413, "context_length_exceeded", "This model's maximum context length is 4097 tokens. However, it got 4294."
    ),
    "[[bad-key]]": job_error(401, "unauthenticated", "no valid credentials"),
    "[[model-gone]]": job_error(404, "model_not_found", "there is no such model"),
}


def error_for(text: str, errors: Mapping[str, SimulatedError], *, earlier_tries: int) -> SimulatedError | None:
    """Returns the error of the first marker in the text that fails this try, None when there is none."""
    found = (error for marker, error in errors.items() if marker in text and _fails(marker, earlier_tries))
    return next(found, None)


def _fails(marker: str, earlier_tries: int) -> bool:
    return marker not in TRIES or earlier_tries < TRIES[marker]


def is_bad_request(text: str) -> bool:
    """Returns whether a batch with this text ends with an error in place of an answer."""
    return error_for(text, ANTHROPIC_REQUEST, earlier_tries=0) is not None
