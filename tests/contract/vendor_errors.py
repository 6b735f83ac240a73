"""Real error responses of vendors, from their documentation or as users have reported them, with their sources.

Ids of accounts and requests are replaced. Times in headers are relative to NOW.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

NOW = datetime(2026, 11, 21, 12, 0, tzinfo=UTC)
OPENAI_CODES = "https://platform.openai.com/docs/guides/error-codes"
OPENAI_LIMITS = "https://platform.openai.com/docs/guides/rate-limits"
OPENAI_BILLING = "https://help.openai.com/en/articles/6614457-troubleshooting-api-usage-and-spend-limits"
AZURE_FILTER = "https://learn.microsoft.com/en-us/azure/ai-services/openai/concepts/content-filter"
ANTHROPIC_ERRORS = "https://docs.claude.com/en/api/errors"
ANTHROPIC_LIMITS = "https://docs.claude.com/en/api/rate-limits"
GEMINI_CODES = "https://ai.google.dev/gemini-api/docs/troubleshooting"


@dataclass(frozen=True, slots=True, kw_only=True)
class VendorResponse:
    """`code` is the ErrorCode that the response means. `seconds` is the wait that it asks for."""

    vendor: str
    name: str
    source: str
    status: int
    body: Any
    code: str
    headers: Mapping[str, str] = field(default_factory=dict)
    seconds: float | None = None
    says: str | None = None
    """A part of our sentence."""

    def __str__(self) -> str:
        return f"{self.vendor}: {self.name}"


def _openai(message: str, kind: str | None, code: Any, param: str | None = None) -> dict[str, Any]:
    return {"error": {"message": message, "type": kind, "param": param, "code": code}}


def _anthropic(kind: str, message: str, **more: Any) -> dict[str, Any]:
    error = {"type": kind, "message": message, **more}
    return {"type": "error", "error": error, "request_id": "req_011CSHoEeqs5C35K2UUqR7Fy"}


def _google(code: int, status: str, message: str, *details: dict[str, Any]) -> dict[str, Any]:
    error: dict[str, Any] = {"code": code, "message": message, "status": status}
    return {"error": {**error, "details": list(details)} if details else error}


def _mistral(message: str, kind: str, code: str | None) -> dict[str, Any]:
    return {"object": "error", "message": message, "type": kind, "param": None, "code": code}


def _google_quota(quota_id: str) -> dict[str, Any]:
    metric = "generativelanguage.googleapis.com/generate_content_free_tier_requests"
    violation = {"quotaMetric": metric, "quotaId": quota_id, "quotaDimensions": {"model": "gemini-2.5-flash"}}
    return {"@type": "type.googleapis.com/google.rpc.QuotaFailure", "violations": [violation]}


_HELP = {
    "@type": "type.googleapis.com/google.rpc.Help",
    "links": [
        {
            "description": "Learn more about Gemini API quotas",
            "url": "https://ai.google.dev/gemini-api/docs/rate-limits",
        }
    ],
}
_RETRY_INFO = {"@type": "type.googleapis.com/google.rpc.RetryInfo", "retryDelay": "26s"}
_GOOGLE_QUOTA = "You exceeded your current quota, please check your plan and billing details."

OPENAI = (
    VendorResponse(
        vendor="OpenAI",
        name="quota exhausted",
        source=OPENAI_CODES,
        status=429,
        body=_openai(
            "You exceeded your current quota, please check your plan and billing details.",
            "insufficient_quota",
            "insufficient_quota",
        ),
        headers={"retry-after": "1"},
        code="llm_quota_exhausted",
        says="ask your administrator",
    ),
    VendorResponse(
        vendor="OpenAI",
        name="project's spend limit",
        source=OPENAI_BILLING,
        status=429,
        body=_openai("You exceeded your current quota.", "insufficient_quota", "project_spend_limit_exceeded"),
        code="llm_quota_exhausted",
    ),
    VendorResponse(
        vendor="OpenAI",
        name="no credits",
        source=OPENAI_BILLING,
        status=429,
        body=_openai("Your organization has no prepaid credits remaining.", "billing", "credit_balance_exhausted"),
        code="llm_quota_exhausted",
    ),
    VendorResponse(
        vendor="OpenAI",
        name="rate limit of tokens",
        source="https://github.com/continuedev/continue/issues/10502",
        status=429,
        body=_openai(
            "Rate limit reached for gpt-4.1 in organization org-1 on tokens per min (TPM): Limit 30000, Used 28039, "
            "Requested 3906. Please try again in 3.89s. Visit https://platform.openai.com/account/rate-limits to "
            "learn more.",
            "tokens",
            "rate_limit_exceeded",
        ),
        headers={"x-ratelimit-remaining-tokens": "1961", "x-ratelimit-reset-tokens": "56.078s"},
        code="llm_rate_limited",
        seconds=3.89,
    ),
    VendorResponse(
        vendor="OpenAI",
        name="rate limit with a wait in milliseconds",
        source="https://github.com/openai/openai-python/blob/main/src/openai/_base_client.py",
        status=429,
        body=_openai("Rate limit reached for requests", "requests", "rate_limit_exceeded"),
        headers={"retry-after-ms": "1500", "retry-after": "2", "x-ratelimit-reset-requests": "6m0s"},
        code="llm_rate_limited",
        seconds=1.5,
    ),
    VendorResponse(
        vendor="OpenAI",
        name="rate limit with reset headers alone",
        source=OPENAI_LIMITS,
        status=429,
        body=_openai("Rate limit reached for requests", "requests", "rate_limit_exceeded"),
        headers={
            "x-ratelimit-limit-requests": "60",
            "x-ratelimit-limit-tokens": "150000",
            "x-ratelimit-remaining-requests": "0",
            "x-ratelimit-remaining-tokens": "149984",
            "x-ratelimit-reset-requests": "1s",
            "x-ratelimit-reset-tokens": "6m0s",
        },
        code="llm_rate_limited",
        seconds=1,
    ),
    VendorResponse(
        vendor="OpenAI",
        name="slow down",
        source=OPENAI_CODES,
        status=503,
        body=_openai("Slow down", "rate_limit_error", "rate_limit_exceeded"),
        code="llm_overloaded",
    ),
    VendorResponse(
        vendor="OpenAI",
        name="overloaded",
        source=OPENAI_CODES,
        status=503,
        body=_openai(
            "The engine is currently overloaded, please try again later",
            "service_unavailable_error",
            "server_is_overloaded",
        ),
        code="llm_overloaded",
    ),
    VendorResponse(
        vendor="OpenAI",
        name="server error, whose reset headers are no wait",
        source=OPENAI_CODES,
        status=500,
        body=_openai("The server had an error while processing your request", "server_error", None),
        headers={"x-ratelimit-remaining-tokens": "149984", "x-ratelimit-reset-tokens": "6m0s"},
        code="llm_unavailable",
    ),
    VendorResponse(
        vendor="OpenAI",
        name="request larger than the limit of a minute",
        source="https://github.com/Aider-AI/aider/issues/1880",
        status=429,
        body=_openai(
            "Request too large for gpt-4o in organization org-1 on tokens per min (TPM): Limit 30000, Requested "
            "36278. The input or output tokens must be reduced in order to run successfully. Visit "
            "https://platform.openai.com/account/rate-limits to learn more.",
            "tokens",
            "rate_limit_exceeded",
        ),
        code="llm_input_too_long",
        says="36,278 tokens, at most 30,000",
    ),
    VendorResponse(
        vendor="OpenAI",
        name="context too long in a chat",
        source="https://github.com/chathub-dev/chathub/issues/126",
        status=400,
        body=_openai(
            "This model's maximum context length is 4097 tokens. However, your messages resulted in 4294 tokens. "
            "Please reduce the length of the messages.",
            "invalid_request_error",
            "context_length_exceeded",
            "messages",
        ),
        code="llm_input_too_long",
        says="The text is longer than the model takes: 4,294 tokens, at most 4,097",
    ),
    VendorResponse(
        vendor="OpenAI",
        name="context too long in a response",
        source="https://github.com/dyad-sh/dyad/issues/1672",
        status=400,
        body=_openai(
            "Your input exceeds the context window of this model. Please adjust your input and try again.",
            "invalid_request_error",
            "context_length_exceeded",
            "input",
        ),
        code="llm_input_too_long",
        says="The text is longer than the model takes; shorten it.",
    ),
    VendorResponse(
        vendor="OpenAI",
        name="refused content",
        source="https://github.com/BeehiveInnovations/pal-mcp-server/issues/178",
        status=400,
        body=_openai(
            "Invalid prompt: your prompt was flagged as potentially violating our usage policy. Please try again "
            "with a different prompt: https://platform.openai.com/docs/guides/reasoning#advice-on-prompting",
            "invalid_request_error",
            "invalid_prompt",
        ),
        code="llm_refused",
    ),
    VendorResponse(
        vendor="OpenAI",
        name="bad key",
        source=OPENAI_CODES,
        status=401,
        body=_openai("Incorrect API key provided: sk-12**34.", "invalid_request_error", "invalid_api_key"),
        code="llm_credentials",
        says="ask your administrator",
    ),
    VendorResponse(
        vendor="OpenAI",
        name="model gone",
        source="https://github.com/Aider-AI/aider/issues/2030",
        status=404,
        body=_openai(
            "The model `gpt-4o-2024-08-06` does not exist or you do not have access to it.",
            "invalid_request_error",
            "model_not_found",
        ),
        code="llm_model_gone",
        says="choose another one",
    ),
    VendorResponse(
        vendor="OpenAI",
        name="model not for this project",
        source=OPENAI_CODES,
        status=403,
        body=_openai(
            "Project `proj_1` does not have access to model `gpt-4o`", "invalid_request_error", "model_not_found"
        ),
        code="llm_model_gone",
    ),
    VendorResponse(
        vendor="OpenAI",
        name="invalid value",
        source="https://github.com/langchain-ai/langchainjs/issues/4153",
        status=400,
        body=_openai(
            "Invalid value for 'content': expected a string, got null.",
            "invalid_request_error",
            None,
            "messages.[0].content",
        ),
        code="llm_refused",
    ),
    VendorResponse(
        vendor="OpenAI",
        name="unknown parameter",
        source=OPENAI_CODES,
        status=400,
        body=_openai("Unknown parameter: 'x'.", "invalid_request_error", "unknown_parameter", "x"),
        code="llm_refused",
    ),
)

AZURE = (
    VendorResponse(
        vendor="Azure",
        name="content filter",
        source=AZURE_FILTER,
        status=400,
        body={
            "error": {
                "message": "The response was filtered due to the prompt triggering Azure OpenAI's content management "
                "policy. Please modify your prompt and retry.",
                "type": None,
                "param": "prompt",
                "code": "content_filter",
                "status": 400,
                "innererror": {
                    "code": "ResponsibleAIPolicyViolation",
                    "content_filter_result": {"hate": {"filtered": True, "severity": "high"}},
                },
            }
        },
        code="llm_refused",
    ),
    VendorResponse(
        vendor="Azure",
        name="rate limit, with a wait of a day that is cut to an hour",
        source="https://github.com/jasonacox/TinyLLM/issues/17",
        status=429,
        body={
            "error": {
                "code": "429",
                "message": "Requests to the ChatCompletions_Create Operation under Azure OpenAI API version "
                "2023-05-15 have exceeded token rate limit of your current AIServices S0 pricing tier. Please retry "
                "after 86400 seconds. Please contact Azure support service if you would like to further increase the "
                "default rate limit.",
            }
        },
        code="llm_rate_limited",
        seconds=3600,
    ),
    VendorResponse(
        vendor="Azure",
        name="rate limit with a reset in whole seconds",
        source="https://github.com/openai/openai-dotnet/issues/838",
        status=429,
        body={"error": {"code": "429", "message": "Rate limit is exceeded."}},
        headers={"x-ratelimit-remaining-tokens": "0", "x-ratelimit-reset-tokens": "26"},
        code="llm_rate_limited",
        seconds=26,
    ),
    VendorResponse(
        vendor="Azure",
        name="deployment gone",
        source="https://learn.microsoft.com/en-us/azure/ai-services/openai/reference",
        status=404,
        body={
            "error": {
                "code": "DeploymentNotFound",
                "message": "The API deployment for this resource does not exist. If you created the deployment within "
                "the last 5 minutes, please wait a moment and try again.",
            }
        },
        code="llm_model_gone",
    ),
)

ANTHROPIC = (
    VendorResponse(
        vendor="Anthropic",
        name="overloaded",
        source=ANTHROPIC_ERRORS,
        status=529,
        body=_anthropic("overloaded_error", "Overloaded"),
        code="llm_overloaded",
    ),
    VendorResponse(
        vendor="Anthropic",
        name="rate limit",
        source=ANTHROPIC_LIMITS,
        status=429,
        body=_anthropic("rate_limit_error", "This request would exceed your organization's rate limit."),
        headers={"retry-after": "12", "anthropic-ratelimit-requests-reset": "2026-11-21T12:05:00Z"},
        code="llm_rate_limited",
        seconds=12,
    ),
    VendorResponse(
        vendor="Anthropic",
        name="rate limit with reset times alone",
        source=ANTHROPIC_LIMITS,
        status=429,
        body=_anthropic("rate_limit_error", "This request would exceed your organization's rate limit."),
        headers={
            "anthropic-ratelimit-requests-remaining": "49",
            "anthropic-ratelimit-requests-reset": "2026-11-21T12:00:02Z",
            "anthropic-ratelimit-input-tokens-remaining": "0",
            "anthropic-ratelimit-input-tokens-reset": "2026-11-21T12:00:37Z",
            "anthropic-ratelimit-output-tokens-remaining": "0",
            "anthropic-ratelimit-output-tokens-reset": "2026-11-21T12:00:21Z",
        },
        code="llm_rate_limited",
        seconds=37,
    ),
    VendorResponse(
        vendor="Anthropic",
        name="tier's monthly spend limit",
        source=ANTHROPIC_LIMITS,
        status=429,
        body=_anthropic(
            "rate_limit_error",
            "Your organization has reached its monthly spend limit.",
            details={"error_code": "enforced_spend_limit_reached"},
        ),
        code="llm_quota_exhausted",
    ),
    VendorResponse(
        vendor="Anthropic",
        name="own spend limit",
        source=ANTHROPIC_LIMITS,
        status=400,
        body=_anthropic(
            "invalid_request_error",
            "You have reached your specified API usage limits. You will regain access on 2026-12-01 at 00:00 UTC.",
        ),
        code="llm_quota_exhausted",
    ),
    VendorResponse(
        vendor="Anthropic",
        name="no credits",
        source="https://github.com/anthropics/claude-code/issues/66314",
        status=400,
        body=_anthropic(
            "invalid_request_error",
            "Your credit balance is too low to access the Anthropic API. Please go to Plans & Billing to upgrade or "
            "purchase credits.",
        ),
        code="llm_quota_exhausted",
    ),
    VendorResponse(
        vendor="Anthropic",
        name="billing",
        source=ANTHROPIC_ERRORS,
        status=402,
        body=_anthropic("billing_error", "There's an issue with your billing or payment information."),
        code="llm_quota_exhausted",
    ),
    VendorResponse(
        vendor="Anthropic",
        name="prompt too long",
        source="https://github.com/anthropics/claude-code/issues/12186",
        status=400,
        body=_anthropic("invalid_request_error", "prompt is too long: 208310 tokens > 200000 maximum"),
        code="llm_input_too_long",
        says="208,310 tokens, at most 200,000",
    ),
    VendorResponse(
        vendor="Anthropic",
        name="prompt and answer too long",
        source="https://github.com/docker/docker-agent/issues/569",
        status=400,
        body=_anthropic(
            "invalid_request_error",
            "input length and `max_tokens` exceed context limit: 178959 + 64000 > 200000, decrease input length or "
            "`max_tokens` and try again",
        ),
        code="llm_input_too_long",
        says="242,959 tokens, at most 200,000",
    ),
    VendorResponse(
        vendor="Anthropic",
        name="invalid request",
        source="https://github.com/anthropics/claude-code/issues/59812",
        status=400,
        body=_anthropic("invalid_request_error", "messages: text content blocks must be non-empty"),
        code="llm_refused",
    ),
    VendorResponse(
        vendor="Anthropic",
        name="request too large",
        source=ANTHROPIC_ERRORS,
        status=413,
        body=_anthropic("request_too_large", "Request exceeds the maximum allowed number of bytes."),
        code="llm_input_too_long",
    ),
    VendorResponse(
        vendor="Anthropic",
        name="bad key",
        source=ANTHROPIC_ERRORS,
        status=401,
        body=_anthropic("authentication_error", "invalid x-api-key"),
        code="llm_credentials",
    ),
    VendorResponse(
        vendor="Anthropic",
        name="no permission",
        source=ANTHROPIC_ERRORS,
        status=403,
        body=_anthropic("permission_error", "Your API key does not have permission to use the specified resource."),
        code="llm_credentials",
    ),
    VendorResponse(
        vendor="Anthropic",
        name="model gone",
        source=ANTHROPIC_ERRORS,
        status=404,
        body=_anthropic("not_found_error", "model: claude-3-opus-20240229"),
        code="llm_model_gone",
    ),
    VendorResponse(
        vendor="Anthropic",
        name="internal error",
        source=ANTHROPIC_ERRORS,
        status=500,
        body=_anthropic("api_error", "Internal server error"),
        code="llm_unavailable",
    ),
    VendorResponse(
        vendor="Anthropic",
        name="timeout",
        source=ANTHROPIC_ERRORS,
        status=504,
        body=_anthropic("timeout_error", "Request timed out while processing."),
        code="llm_timeout",
    ),
)

GEMINI = (
    VendorResponse(
        vendor="Gemini's endpoint for OpenAI's protocol",
        name="rate limit as a list",
        source="https://github.com/n4ze3m/page-assist/issues/406",
        status=429,
        body=[_google(429, "RESOURCE_EXHAUSTED", "Resource has been exhausted (e.g. check quota).")],
        code="llm_rate_limited",
    ),
    VendorResponse(
        vendor="Gemini",
        name="rate limit of a minute",
        source="https://github.com/RooCodeInc/Roo-Code/issues/3883",
        status=429,
        body=[
            _google(
                429,
                "RESOURCE_EXHAUSTED",
                _GOOGLE_QUOTA,
                _google_quota("GenerateContentInputTokensPerModelPerMinute-FreeTier"),
                _HELP,
                _RETRY_INFO,
            )
        ],
        code="llm_rate_limited",
        seconds=26,
    ),
    VendorResponse(
        vendor="Gemini",
        name="quota of the day",
        source="https://ai.google.dev/gemini-api/docs/rate-limits",
        status=429,
        body=[
            _google(
                429,
                "RESOURCE_EXHAUSTED",
                _GOOGLE_QUOTA,
                _google_quota("GenerateRequestsPerDayPerProjectPerModel-FreeTier"),
                _HELP,
                _RETRY_INFO,
            )
        ],
        code="llm_quota_exhausted",
    ),
    VendorResponse(
        vendor="Gemini",
        name="model outside the plan",
        source="https://github.com/continuedev/continue/issues/10062",
        status=429,
        body=[
            _google(
                429,
                "RESOURCE_EXHAUSTED",
                f"{_GOOGLE_QUOTA} \n* Quota exceeded for metric: generativelanguage.googleapis.com/"
                "generate_content_free_tier_requests, limit: 0, model: gemini-2.5-pro\nPlease retry in 20.04466179s.",
                _HELP,
            )
        ],
        code="llm_quota_exhausted",
    ),
    VendorResponse(
        vendor="Gemini",
        name="rate limit with the wait in the sentence",
        source="https://github.com/continuedev/continue/issues/10062",
        status=429,
        body=_google(429, "RESOURCE_EXHAUSTED", f"{_GOOGLE_QUOTA}\nPlease retry in 20.04466179s.", _HELP),
        code="llm_rate_limited",
        seconds=20.04466179,
    ),
    VendorResponse(
        vendor="Gemini",
        name="context too long",
        source="https://github.com/google-gemini/gemini-cli/issues/4231",
        status=400,
        body=[
            _google(
                400,
                "INVALID_ARGUMENT",
                "The input token count (3475108) exceeds the maximum number of tokens allowed (1048576).",
            )
        ],
        code="llm_input_too_long",
        says="3,475,108 tokens, at most 1,048,576",
    ),
    VendorResponse(
        vendor="Gemini",
        name="overloaded",
        source="https://github.com/google-gemini/gemini-cli/issues/5191",
        status=503,
        body=_google(503, "UNAVAILABLE", "The model is overloaded. Please try again later."),
        code="llm_overloaded",
    ),
    VendorResponse(
        vendor="Gemini",
        name="bad key, as 400",
        source="https://github.com/cequence-io/openai-scala-client/issues/109",
        status=400,
        body=[
            _google(
                400,
                "INVALID_ARGUMENT",
                "API key not valid. Please pass a valid API key.",
                {
                    "@type": "type.googleapis.com/google.rpc.ErrorInfo",
                    "reason": "API_KEY_INVALID",
                    "domain": "googleapis.com",
                    "metadata": {"service": "generativelanguage.googleapis.com"},
                },
            )
        ],
        code="llm_credentials",
    ),
    VendorResponse(
        vendor="Gemini",
        name="deadline of the vendor",
        source=GEMINI_CODES,
        status=504,
        body=_google(504, "DEADLINE_EXCEEDED", "The request timed out. Please try again."),
        code="llm_timeout",
    ),
    VendorResponse(
        vendor="Vertex AI",
        name="model gone",
        source="https://github.com/genkit-ai/genkit/issues/4688",
        status=404,
        body=[
            _google(
                404,
                "NOT_FOUND",
                "Publisher Model `projects/1/locations/us-central1/publishers/google/models/gemini-1.0-pro` was not "
                "found or your project does not have access to it. Please ensure you are using a valid model version.",
            )
        ],
        code="llm_model_gone",
    ),
    VendorResponse(
        vendor="Vertex AI",
        name="shared capacity exhausted",
        source="https://cloud.google.com/vertex-ai/generative-ai/docs/error-code-429",
        status=429,
        body=[_google(429, "RESOURCE_EXHAUSTED", "Resource exhausted. Please try again later.")],
        code="llm_rate_limited",
    ),
    VendorResponse(
        vendor="Vertex AI",
        name="no permission",
        source="https://cloud.google.com/vertex-ai/generative-ai/docs/model-reference/api-errors",
        status=403,
        body=[_google(403, "PERMISSION_DENIED", "Permission 'aiplatform.endpoints.predict' denied on resource.")],
        code="llm_credentials",
    ),
    VendorResponse(
        vendor="Vertex AI",
        name="context too long",
        source="https://cloud.google.com/vertex-ai/generative-ai/docs/model-reference/api-errors",
        status=400,
        body=_google(
            400,
            "INVALID_ARGUMENT",
            "Unable to submit request because the input token count is 1069484 but model only supports up to 1048576. "
            "Reduce the input token count and try again.",
        ),
        code="llm_input_too_long",
        says="1,069,484 tokens, at most 1,048,576",
    ),
)

OTHERS = (
    VendorResponse(
        vendor="Mistral",
        name="rate limit",
        source="https://github.com/cline/cline/issues/9085",
        status=429,
        body=_mistral("Rate limit exceeded", "rate_limited", "1300"),
        code="llm_rate_limited",
    ),
    VendorResponse(
        vendor="Mistral",
        name="capacity exceeded",
        source="https://docs.mistral.ai/deployment/laplateforme/tier/",
        status=429,
        body=_mistral("Service tier capacity exceeded for this model.", "service_tier_capacity_exceeded", "3505"),
        code="llm_overloaded",
    ),
    VendorResponse(
        vendor="Mistral",
        name="capacity exceeded, before it had a type",
        source="https://github.com/BerriAI/litellm/pull/25078",
        status=503,
        body=_mistral("Service tier capacity exceeded for this model.", "invalid_request_error", None),
        code="llm_overloaded",
    ),
    VendorResponse(
        vendor="Mistral",
        name="context too long",
        source="https://docs.mistral.ai/api/",
        status=400,
        body=_mistral(
            "Prompt contains 65673 tokens and 0 draft tokens, too large for model with 32768 maximum context length",
            "invalid_request_error",
            None,
        ),
        code="llm_input_too_long",
        says="65,673 tokens, at most 32,768",
    ),
    VendorResponse(
        vendor="Mistral",
        name="model gone, as 400",
        source="https://docs.mistral.ai/api/",
        status=400,
        body=_mistral("Invalid model: mistral-tiny", "invalid_model", "1500"),
        code="llm_model_gone",
    ),
    VendorResponse(
        vendor="Mistral",
        name="bad key",
        source="https://docs.mistral.ai/api/",
        status=401,
        body={"detail": "Unauthorized"},
        code="llm_credentials",
    ),
    VendorResponse(
        vendor="vLLM",
        name="context too long",
        source="https://github.com/vllm-project/vllm/issues/20409",
        status=400,
        body={
            "object": "error",
            "message": "This model's maximum context length is 16384 tokens. However, you requested 19591 tokens (9591 "
            "in the messages, 10000 in the completion). Please reduce the length of the messages or completion. None",
            "type": "BadRequestError",
            "param": None,
            "code": 400,
        },
        code="llm_input_too_long",
        says="19,591 tokens, at most 16,384",
    ),
    VendorResponse(
        vendor="vLLM",
        name="context too long since 0.16",
        source="https://github.com/harbor-framework/harbor/pull/996",
        status=400,
        body=_openai(
            "You passed 25 input tokens and requested 1000 output tokens. However, the model's context length is only "
            "1024 tokens, resulting in a maximum input length of 24 tokens. Please reduce the length of the input "
            "prompt. (parameter=input_tokens, value=25)",
            "BadRequestError",
            400,
            "input_tokens",
        ),
        code="llm_input_too_long",
        says="1,025 tokens, at most 1,024",
    ),
    VendorResponse(
        vendor="vLLM",
        name="model gone",
        source="https://docs.vllm.ai/en/latest/serving/openai_compatible_server.html",
        status=404,
        body={
            "object": "error",
            "message": "The model `m` does not exist.",
            "type": "NotFoundError",
            "param": None,
            "code": 404,
        },
        code="llm_model_gone",
    ),
    VendorResponse(
        vendor="llama.cpp",
        name="context too long",
        source="https://github.com/ggml-org/llama.cpp/pull/15780",
        status=500,
        body={
            "error": {
                "code": 500,
                "message": "the request exceeds the available context size. try increasing the context size or enable "
                "context shift",
                "type": "exceed_context_size_error",
                "n_prompt_tokens": 1407,
                "n_ctx": 256,
            }
        },
        code="llm_input_too_long",
        says="1,407 tokens, at most 256",
    ),
    VendorResponse(
        vendor="Ollama",
        name="model gone",
        source="https://github.com/netease-youdao/QAnything/issues/555",
        status=404,
        body=_openai('model "llama3" not found, try pulling it first', "api_error", None),
        code="llm_model_gone",
    ),
    VendorResponse(
        vendor="Ollama",
        name="too many waiting requests",
        source="https://github.com/ollama/ollama/blob/main/docs/faq.md",
        status=503,
        body=_openai("server busy, please try again. maximum pending requests exceeded", "api_error", None),
        code="llm_overloaded",
    ),
    VendorResponse(
        vendor="Ollama",
        name="error of its own API",
        source="https://github.com/ollama/ollama/blob/main/docs/api.md",
        status=404,
        body={"error": "model 'llama3' not found"},
        code="llm_model_gone",
    ),
)

OPENAI_JOB_FAILURE = {
    "code": "server_error",
    "message": "An error occurred while processing your request. You can retry your request, or contact us through our "
    "help center at help.openai.com if the error persists. Please include the request ID req_1 in your message.",
}
"""The `error` of a response that failed in the background: https://github.com/openai/openai-node/issues/1730"""
OPENAI_BATCH_FAILURES: Mapping[str, Mapping[str, Any]] = {
    "llm_model_gone": {
        "code": "model_not_found",
        "message": "The provided model 'gpt-4o-2024-08-06' is not supported by the Batch API.",
        "param": "body.model",
        "line": 1,
    },
    "llm_failed": {
        "code": "invalid_json_line",
        "message": "This line is not parseable as valid JSON.",
        "param": None,
        "line": 1,
    },
}
"""{our code: an entry of `errors.data` of a batch whose file was not valid}

https://platform.openai.com/docs/api-reference/batch/object and
https://developers.openai.com/api/docs/guides/batch
"""

VENDOR_RESPONSES = (*OPENAI, *AZURE, *ANTHROPIC, *GEMINI, *OTHERS)
