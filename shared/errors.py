"""Every error raised on purpose, so that each place can ask two things: whose fault, and will trying again help.

ServiceError
├─ CallerError            the request is at fault; never retried
│  ├─ InvalidRequest      a field is missing or wrong (names the field)
│  ├─ InputTooLarge       the body or the input is over its limit
│  ├─ Unauthenticated     no credentials, or bad ones
│  ├─ Forbidden           known caller, not allowed
│  ├─ RunNotFound         no such run, or somebody else's
│  ├─ ChannelNotFound     somebody else's channel
│  ├─ IdempotencyConflict  the key was used before, for something else
│  ├─ IdempotencyKeyBusy  the key is being claimed by another request right now
│  ├─ TooManyRuns         over a limit; says when to try again
│  ├─ RunNotFinished      the result of an open run was asked for
│  ├─ RunOpen             only a complete run can be deleted
│  ├─ RunDeleted          its owner had its content erased
│  └─ RunFailed           the result of a failed or cancelled run was asked for
├─ TransientError         trying again later can help
│  ├─ StoreUnavailable    the database did not answer, or refused for now
│  ├─ QueueUnavailable    the message could not be published
│  ├─ SchedulerUnavailable  the re-check could not be scheduled
│  ├─ CacheUnavailable    the result cache is down, slow or full
│  ├─ IdentityUnavailable  nobody could say whether the credentials are good
│  ├─ StaleRun            somebody else wrote the run first
│  └─ LlmUnavailable      the LLM is busy, down, silent or unreadable
├─ PermanentError         the run fails; trying again cannot help
│  ├─ LlmRefused          the LLM said no for good
│  ├─ ResultTooLarge      the store takes no such result
│  ├─ DeadlineExceeded    the run's time is over
│  └─ MalformedMessage    a message that names no run
└─ ConfigurationError     the settings are wrong; nothing starts
"""

from datetime import timedelta
from typing import ClassVar


class ServiceError(Exception):
    """`message` is one sentence that a front end may show: no internals, never the user's text."""

    code: str = "internal"
    retryable: ClassVar[bool] = False
    default_message: ClassVar[str] = "Something went wrong."

    def __init__(self, message: str = "", *, code: str | None = None) -> None:
        self.message = message or self.default_message
        self.code = code or type(self).code
        super().__init__(self.message)


class CallerError(ServiceError):
    pass


class InvalidRequest(CallerError):
    code = "invalid_request"

    def __init__(self, message: str, *, field: str | None = None, code: str | None = None) -> None:
        super().__init__(message, code=code)
        self.field = field


class InputTooLarge(CallerError):
    code = "input_too_large"
    default_message = "The input is too large."


class Unauthenticated(CallerError):
    code = "unauthenticated"
    default_message = "Authentication is required."


class Forbidden(CallerError):
    code = "forbidden"
    default_message = "This is not allowed."


class RunNotFound(CallerError):
    code = "run_not_found"
    default_message = "There is no such run."

    def __init__(self, message: str = "", *, field: str | None = None) -> None:
        super().__init__(message)
        self.field = field


class ChannelNotFound(CallerError):
    code = "channel_not_found"
    default_message = "There is no such channel of yours."
    field = "channel"


class RunNotFinished(CallerError):
    code = "run_not_finished"
    default_message = "The run is not finished; ask for its status until it is complete."


class RunOpen(CallerError):
    code = "run_open"
    default_message = "The run is not complete; cancel it first."


class RunDeleted(CallerError):
    code = "run_deleted"
    default_message = "The run was deleted and has no result any more."


class RunFailed(CallerError):
    code = "run_failed"
    default_message = "The run failed and has no result."


class IdempotencyConflict(CallerError):
    code = "idempotency_conflict"
    default_message = "This Idempotency-Key was used before with a different body."


class IdempotencyKeyBusy(CallerError):
    retryable = True
    code = "idempotency_key_busy"
    default_message = "Another request with this Idempotency-Key is being accepted right now; try again."


class TooManyRuns(CallerError):
    """`limit` is its name, `maximum` its value, in each `window` if it has one; `retry_after`: when to try again."""

    code = "too_many_runs"
    retryable = True

    def __init__(
        self, message: str, *, code: str, limit: str, maximum: int, window: timedelta | None, retry_after: timedelta
    ) -> None:
        super().__init__(message, code=code)
        self.limit = limit
        self.maximum = maximum
        self.window = window
        self.retry_after = retry_after


class TransientError(ServiceError):
    retryable = True


class StoreUnavailable(TransientError):
    code = "store_unavailable"
    default_message = "The database is not available; try again."


class QueueUnavailable(TransientError):
    code = "queue_unavailable"
    default_message = "The queue is not available; try again."


class SchedulerUnavailable(TransientError):
    code = "scheduler_unavailable"
    default_message = "The scheduler is not available; try again."


class CacheUnavailable(TransientError):
    code = "cache_unavailable"
    default_message = "The result cache is not available; try again."


class IdentityUnavailable(TransientError):
    code = "identity_unavailable"
    default_message = "Your credentials cannot be checked at the moment; try again."


class StaleRun(TransientError):
    code = "stale_run"
    default_message = "The run was changed by somebody else in between; try again."


class LlmUnavailable(TransientError):
    """`code` says why: llm_unavailable, llm_rate_limited, llm_timeout, llm_connection_lost, llm_unreadable,
    llm_job_unknown or llm_job_failed.
    """

    code = "llm_unavailable"
    default_message = "The LLM is not available at the moment."

    def __init__(self, message: str = "", *, code: str | None = None, retry_after: timedelta | None = None) -> None:
        super().__init__(message, code=code)
        self.retry_after = retry_after


class PermanentError(ServiceError):
    pass


class LlmRefused(PermanentError):
    """`code` says why: llm_refused, llm_failed, llm_quota_exhausted, llm_credentials, llm_job_cancelled or
    model_unavailable.
    """

    code = "llm_refused"
    default_message = "The LLM refused this input."


class ResultTooLarge(PermanentError):
    code = "result_too_large"
    default_message = "The LLM's result is too large to be kept."


class DeadlineExceeded(PermanentError):
    code = "deadline_exceeded"
    default_message = "The run did not finish before its deadline."


class MalformedMessage(PermanentError):
    code = "malformed_message"
    default_message = "The message names no run."


class ConfigurationError(ServiceError):
    code = "configuration"
    default_message = "The settings are wrong."
