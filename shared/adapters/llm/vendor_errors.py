"""Reads vendors' error responses: one taxonomy for all of them, told in our own words.

A vendor's sentence may quote the user's text. It is searched for patterns and numbers here, and never logged, stored
or shown. The vendors' documentation:

- OpenAI: https://platform.openai.com/docs/guides/error-codes
- Azure: https://learn.microsoft.com/en-us/azure/ai-services/openai/concepts/content-filter
- Anthropic: https://docs.claude.com/en/api/errors
- Gemini: https://ai.google.dev/gemini-api/docs/troubleshooting; details of Google's errors: https://google.aip.dev/193

`tests/contract/vendor_errors.py` has real responses of each vendor with their sources.
"""

import re
from collections.abc import Iterator, Mapping
from datetime import timedelta
from typing import Any

from msgspec import Struct

from shared.error_codes import ErrorCode
from shared.errors import LlmRefused, LlmUnavailable

MAX_MESSAGE = 2000
"""So many characters of a vendor's sentence are searched."""

_CODES: Mapping[ErrorCode, frozenset[str]] = {
    ErrorCode.LLM_QUOTA_EXHAUSTED: frozenset(
        {
            "insufficient_quota",
            "credit_balance_exhausted",
            "organization_spend_limit_exceeded",
            "organization_usage_limit_exceeded",
            "project_spend_limit_exceeded",
            "enforced_spend_limit_reached",
            "billing_hard_limit_reached",
            "billing_not_active",
            "billing_error",
            "quota_exceeded",
        }
    ),
    ErrorCode.LLM_INPUT_TOO_LONG: frozenset(
        {"context_length_exceeded", "string_above_max_length", "exceed_context_size_error", "request_too_large"}
    ),
    ErrorCode.LLM_REFUSED: frozenset(
        {"content_filter", "content_policy_violation", "invalid_prompt", "responsibleaipolicyviolation", "refused"}
    ),
    ErrorCode.LLM_MODEL_GONE: frozenset({"model_not_found", "deploymentnotfound", "invalid_model", "not_found_error"}),
    ErrorCode.LLM_CREDENTIALS: frozenset(
        {
            "invalid_api_key",
            "api_key_invalid",
            "authentication_error",
            "permission_error",
            "permission_denied",
            "unauthenticated",
        }
    ),
    ErrorCode.LLM_OVERLOADED: frozenset(
        {"overloaded_error", "overloaded", "server_is_overloaded", "service_tier_capacity_exceeded"}
    ),
    ErrorCode.LLM_RATE_LIMITED: frozenset(
        {"rate_limit_exceeded", "rate_limit_error", "rate_limited", "resource_exhausted"}
    ),
}
"""The codes by which vendors name an error, in lower case. The first row that has one of a response's codes counts: a
quota error is also named a rate limit, and a model that the account may not use is also a matter of credentials."""

_QUOTA_SENTENCES = re.compile(
    r"^(?:Your credit balance is too low|You have reached your specified (?:workspace )?API usage limits)"
)
"""Anthropic names these errors invalid_request_error: https://docs.claude.com/en/api/rate-limits"""
_NO_QUOTA = re.compile(r"\blimit: 0\b")
"""Google's 429 for a model that the account's plan does not include."""

_LENGTHS = tuple(
    re.compile(pattern, re.DOTALL)
    for pattern in (
        # Anthropic: prompt is too long: 208310 tokens > 200000 maximum
        r"prompt is too long: (?P<tokens>\d{1,12}) tokens > (?P<most>\d{1,12}) maximum",
        # Anthropic: input length and `max_tokens` exceed context limit: 178959 + 64000 > 200000, decrease …
        r"exceed context limit: (?P<tokens>\d{1,12}) \+ (?P<more>\d{1,12}) > (?P<most>\d{1,12})",
        # OpenAI, Azure, vLLM: maximum context length is 16384 tokens. However, you requested 19591 tokens …
        r"maximum context length is (?P<most>\d{1,12}) tokens\. However, .{1,60}?(?P<tokens>\d{1,12})",
        # vLLM since 0.16: You passed 25 input tokens and requested 1000 output tokens. However, the model's …
        r"passed (?P<tokens>\d{1,12}) input tokens and requested (?P<more>\d{1,12}) output tokens"
        r".{1,60}?context length is only (?P<most>\d{1,12})",
        # Gemini: The input token count (134123) exceeds the maximum number of tokens allowed (131072).
        r"input token count \((?P<tokens>\d{1,12})\) exceeds the maximum number of tokens allowed \((?P<most>\d{1,12})",
        # Vertex AI: the input token count is 1069484 but model only supports up to 1048576
        r"input token count is (?P<tokens>\d{1,12}) but (?:the )?model only supports up to (?P<most>\d{1,12})",
        # Mistral: Prompt contains 65673 tokens and 0 draft tokens, too large for model with 32768 maximum …
        r"contains (?P<tokens>\d{1,12}) tokens.{0,40}? too large for model with (?P<most>\d{1,12})",
        # OpenAI: Request too large for … on tokens per min (TPM): Limit 30000, Requested 36278. No wait mends that.
        r"Request too large for .{1,200}?Limit:? (?P<most>\d{1,12}), Requested:? (?P<tokens>\d{1,12})",
    )
)

SENTENCES: Mapping[ErrorCode, str] = {
    ErrorCode.LLM_QUOTA_EXHAUSTED: "The account at the LLM's vendor has no quota left; ask your administrator.",
    ErrorCode.LLM_INPUT_TOO_LONG: "The text is longer than the model takes; shorten it.",
    ErrorCode.LLM_REFUSED: "The LLM refused this input.",
    ErrorCode.LLM_MODEL_GONE: "The LLM's vendor does not offer this model any more; choose another one.",
    ErrorCode.LLM_CREDENTIALS: "The LLM does not accept our credentials; ask your administrator.",
    ErrorCode.LLM_OVERLOADED: "The LLM is overloaded at the moment; try again later.",
    ErrorCode.LLM_RATE_LIMITED: "The LLM is asked for too much at the moment; try again later.",
    ErrorCode.LLM_TIMEOUT: "The LLM did not answer in time; try again later.",
    ErrorCode.LLM_UNAVAILABLE: LlmUnavailable.default_message,
    ErrorCode.LLM_JOB_UNKNOWN: "The LLM does not know this job.",
}
"""What people are told of each code that a response can mean."""
_TRANSIENT = frozenset(
    {ErrorCode.LLM_OVERLOADED, ErrorCode.LLM_RATE_LIMITED, ErrorCode.LLM_TIMEOUT, ErrorCode.LLM_UNAVAILABLE}
)
_GATEWAY_TIMEOUTS = (408, 504)
"""Statuses of a server that had the request when time was up, so it may have done the work."""


class VendorError(Struct, frozen=True, kw_only=True):
    """Holds what an error body says, wherever its vendor puts it. `message` may quote the user's text."""

    codes: frozenset[str] = frozenset()
    """In lower case."""
    message: str = ""
    details: tuple[Mapping[str, Any], ...] = ()
    tokens: tuple[int, int] | None = None
    """(tokens of the input, maximum), when they are fields of the error."""


def read_vendor_error(body: Any) -> VendorError:
    """Reads the error of a body in any vendor's form; every part that is missing or of another type is left empty."""
    body = body[0] if isinstance(body, list) and body else body  # Gemini's endpoint for OpenAI's protocol sends a list
    if not isinstance(body, dict):
        return VendorError()
    error = body.get("error") or body  # vLLM and Mistral put the fields at the top
    if isinstance(error, str):
        return VendorError(message=error[:MAX_MESSAGE])
    if not isinstance(error, dict):
        return VendorError()
    details = error.get("details")
    listed = [details] if isinstance(details, dict) else details if isinstance(details, list) else []
    objects = tuple(detail for detail in listed if isinstance(detail, dict))
    message = error.get("message")
    return VendorError(
        codes=frozenset(code.lower() for code in _codes(error, objects) if isinstance(code, str)),
        message=message[:MAX_MESSAGE] if isinstance(message, str) else "",
        details=objects,
        tokens=_token_fields(error),
    )


def error_of(
    status: int, body: Any, *, is_check: bool, retry_after: timedelta | None
) -> LlmUnavailable | LlmRefused | None:
    """Returns the error that a response means for a run, None for a status below 400.

    `is_check` is True for a question about a provider job. The job may still be at work then, so no status fails the
    run at once: the LLM is asked again. Nothing that is refused before the model has begun is billed.
    """
    if status < 400:
        return None
    error = read_vendor_error(body)
    code = _code_of(status, error)
    if is_check:
        code = ErrorCode.LLM_JOB_UNKNOWN if status == 404 else code if code in _TRANSIENT else ErrorCode.LLM_UNAVAILABLE
    if code not in _TRANSIENT and not is_check:
        return LlmRefused(_sentence(code, error), code=code)
    is_billed = status in _GATEWAY_TIMEOUTS
    return LlmUnavailable(_sentence(code, error), code=code, retry_after=retry_after, may_be_billed=is_billed)


def error_of_failed_job(body: Any, *, retryable: frozenset[str]) -> LlmUnavailable | LlmRefused:
    """Returns the error of a provider job that failed; its body names the error as responses do.

    `retryable` are further codes of failures that a new job may not meet.
    """
    error = read_vendor_error(body)
    code = _named_code(error)
    if error.codes & retryable or code in _TRANSIENT:
        return LlmUnavailable("The LLM could not finish the job.", code=ErrorCode.LLM_JOB_FAILED)
    if code is None:
        code = ErrorCode.LLM_FAILED
        return LlmRefused("The LLM failed to process this input.", code=code, may_be_billed=True)
    return LlmRefused(_sentence(code, error), code=code, may_be_billed=True)


def is_content_filter(finish_reason: Any) -> bool:
    """Returns whether a completion ended because of its content; Gemini appends why, as in content_filter: OTHER."""
    return isinstance(finish_reason, str) and finish_reason.startswith("content_filter")


def _codes(error: Mapping[str, Any], details: tuple[Mapping[str, Any], ...]) -> Iterator[Any]:
    """Yields what an error calls itself: OpenAI's code and type, Google's status and reasons, Azure's inner code."""
    yield from (error.get("code"), error.get("type"), error.get("status"))
    inner = error.get("innererror")
    yield inner.get("code") if isinstance(inner, dict) else None
    for detail in details:
        yield from (detail.get("reason"), detail.get("error_code"))
        metadata, violations = detail.get("metadata"), detail.get("violations")
        yield metadata.get("quota_limit") if isinstance(metadata, dict) else None
        for violation in violations if isinstance(violations, list) else ():
            yield violation.get("quotaId") if isinstance(violation, dict) else None


def _token_fields(error: Mapping[str, Any]) -> tuple[int, int] | None:
    """Reads llama.cpp's {n_prompt_tokens, n_ctx}: https://github.com/ggml-org/llama.cpp/pull/15780"""
    tokens, maximum = error.get("n_prompt_tokens"), error.get("n_ctx")
    return (tokens, maximum) if isinstance(tokens, int) and isinstance(maximum, int) else None


def _code_of(status: int, error: VendorError) -> ErrorCode:
    """Returns what the error is, by what it says of itself and otherwise by the status."""
    named = _named_code(error)
    if named is ErrorCode.LLM_RATE_LIMITED and status == 503:
        return ErrorCode.LLM_OVERLOADED
    return named or _by_status(status)


def _named_code(error: VendorError) -> ErrorCode | None:
    if _QUOTA_SENTENCES.match(error.message) or any("perday" in code for code in error.codes):
        return ErrorCode.LLM_QUOTA_EXHAUSTED
    if "resource_exhausted" in error.codes and _NO_QUOTA.search(error.message):
        return ErrorCode.LLM_QUOTA_EXHAUSTED
    if _read_lengths(error) is not None:
        return ErrorCode.LLM_INPUT_TOO_LONG
    return next((code for code, names in _CODES.items() if error.codes & names), None)


def _by_status(status: int) -> ErrorCode:
    match status:
        case 402:
            return ErrorCode.LLM_QUOTA_EXHAUSTED
        case 401 | 403:
            return ErrorCode.LLM_CREDENTIALS
        case 404 | 410:
            return ErrorCode.LLM_MODEL_GONE
        case 413:
            return ErrorCode.LLM_INPUT_TOO_LONG
        case 429:
            return ErrorCode.LLM_RATE_LIMITED
        case 503 | 529:  # 529 is Anthropic's own
            return ErrorCode.LLM_OVERLOADED
        case _ if status in _GATEWAY_TIMEOUTS:
            return ErrorCode.LLM_TIMEOUT
        case 409 | 425:
            return ErrorCode.LLM_UNAVAILABLE
    return ErrorCode.LLM_UNAVAILABLE if status >= 500 else ErrorCode.LLM_REFUSED


def _read_lengths(error: VendorError) -> tuple[int, int] | None:
    """Returns (tokens of the input, maximum) when the error tells both."""
    if error.tokens is not None:
        return error.tokens
    for pattern in _LENGTHS:
        if found := pattern.search(error.message):
            return int(found["tokens"]) + int(found.groupdict().get("more") or 0), int(found["most"])
    return None


def _sentence(code: ErrorCode, error: VendorError) -> str:
    lengths = _read_lengths(error) if code is ErrorCode.LLM_INPUT_TOO_LONG else None
    if lengths is None:
        return SENTENCES[code]
    return f"The text is longer than the model takes: {lengths[0]:,} tokens, at most {lengths[1]:,}; shorten it."
