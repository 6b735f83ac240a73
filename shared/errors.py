"""Defines every error that is raised on purpose. Each answers two questions: whose fault is it, and does a retry help?

ServiceError
├─ CallerError            the request is at fault; it is never retried
│  ├─ InvalidRequest      a field is missing or wrong (`field` names it)
│  ├─ InputTooLarge       the body or the input is over its limit
│  ├─ Unauthenticated     there are no credentials, or bad ones
│  ├─ Forbidden           the caller is known and not allowed
│  ├─ RunNotFound         there is no such run, or it belongs to another user
│  ├─ WebhookNotFound     there is no such webhook or delivery of the organization
│  ├─ ChannelNotFound     the channel belongs to another user or organization
│  ├─ IdempotencyConflict  the key was used before with a different body
│  ├─ IdempotencyKeyBusy  another request claims the key right now
│  ├─ TooManyRuns         a limit is reached (`retry_after` says when to try again)
│  ├─ BudgetExhausted     the organization's budget does not cover the run (`retry_after` says when it renews)
│  ├─ RunNotFinished      an open run has no result
│  ├─ RunOpen             an open run cannot be deleted
│  ├─ RunDeleted          the owner has deleted the run's content
│  └─ RunFailed           a failed or cancelled run has no result
├─ TransientError         trying again later can help
│  ├─ StoreUnavailable    the database did not answer, or refused for now
│  ├─ QueueUnavailable    the message could not be published
│  ├─ SchedulerUnavailable  the re-check could not be scheduled
│  ├─ CacheUnavailable    the result cache is down, slow or full
│  ├─ IdentityUnavailable  the credentials could not be checked
│  ├─ StaleRun            another writer saved the run first
│  └─ LlmUnavailable      the LLM is busy, down, silent or unreadable
├─ PermanentError         the run fails; trying again cannot help
│  ├─ LlmRefused          the LLM refused for good
│  ├─ ResultTooLarge      the store cannot take the result
│  ├─ DeadlineExceeded    the run did not end before its deadline
│  └─ MalformedMessage    a message names no run
└─ ConfigurationError     the settings are wrong; nothing starts
"""

from datetime import timedelta
from typing import ClassVar

from shared.error_codes import ErrorCode


class ServiceError(Exception):
    """`message` is one sentence that a front end may show. It holds no internals and never the user's text."""

    code: str = ErrorCode.INTERNAL
    retryable: ClassVar[bool] = False
    default_message: ClassVar[str] = "Something went wrong."

    def __init__(self, message: str = "", *, code: str | None = None) -> None:
        self.message = message or self.default_message
        self.code = code or type(self).code
        super().__init__(self.message)


class CallerError(ServiceError):
    """The request is at fault."""


class InvalidRequest(CallerError):
    code = ErrorCode.INVALID_REQUEST

    def __init__(self, message: str, *, field: str | None = None, code: str | None = None) -> None:
        super().__init__(message, code=code)
        self.field = field


class InputTooLarge(CallerError):
    code = ErrorCode.INPUT_TOO_LARGE
    default_message = "The input is too large."


class Unauthenticated(CallerError):
    code = ErrorCode.UNAUTHENTICATED
    default_message = "Authentication is required."


class Forbidden(CallerError):
    """`field` names the field of the request that asks for what is not allowed, None when it is the request itself."""

    code = ErrorCode.FORBIDDEN
    default_message = "This is not allowed."

    def __init__(self, message: str = "", *, field: str | None = None, code: str | None = None) -> None:
        super().__init__(message, code=code)
        self.field = field


class RunNotFound(CallerError):
    code = ErrorCode.RUN_NOT_FOUND
    default_message = "There is no such run."

    def __init__(self, message: str = "", *, field: str | None = None) -> None:
        super().__init__(message)
        self.field = field


class ChannelNotFound(CallerError):
    code = ErrorCode.CHANNEL_NOT_FOUND
    default_message = "There is no such channel of yours."
    field = "channel"


class WebhookNotFound(CallerError):
    code = ErrorCode.WEBHOOK_NOT_FOUND
    default_message = "Your organization has no such webhook or delivery."


class RunNotFinished(CallerError):
    code = ErrorCode.RUN_NOT_FINISHED
    default_message = "The run is not finished; ask for its status until it is complete."


class RunOpen(CallerError):
    code = ErrorCode.RUN_OPEN
    default_message = "The run is not complete; cancel it first."


class RunDeleted(CallerError):
    code = ErrorCode.RUN_DELETED
    default_message = "The run was deleted and has no result any more."


class RunFailed(CallerError):
    code = ErrorCode.RUN_FAILED
    default_message = "The run failed and has no result."


class IdempotencyConflict(CallerError):
    code = ErrorCode.IDEMPOTENCY_CONFLICT
    default_message = "This Idempotency-Key was used before with a different body."


class IdempotencyKeyBusy(CallerError):
    retryable = True
    code = ErrorCode.IDEMPOTENCY_KEY_BUSY
    default_message = "Another request with this Idempotency-Key is being accepted right now; try again."


class TooManyRuns(CallerError):
    """A limit is reached. `limit` is its name, `maximum` its value, in each `window` when it has one."""

    code = ErrorCode.TOO_MANY_SUBMITS
    retryable = True

    def __init__(
        self, message: str, *, code: str, limit: str, maximum: int, window: timedelta | None, retry_after: timedelta
    ) -> None:
        super().__init__(message, code=code)
        self.limit = limit
        self.maximum = maximum
        self.window = window
        self.retry_after = retry_after


class BudgetExhausted(CallerError):
    """`retry_after` is the time until the budget renews."""

    code = ErrorCode.BUDGET_EXHAUSTED
    retryable = True

    def __init__(self, message: str, *, retry_after: timedelta) -> None:
        super().__init__(message)
        self.retry_after = retry_after


class TransientError(ServiceError):
    """A later attempt can succeed."""

    retryable = True


class StoreUnavailable(TransientError):
    code = ErrorCode.STORE_UNAVAILABLE
    default_message = "The database is not available; try again."


class QueueUnavailable(TransientError):
    code = ErrorCode.QUEUE_UNAVAILABLE
    default_message = "The queue is not available; try again."


class SchedulerUnavailable(TransientError):
    code = ErrorCode.SCHEDULER_UNAVAILABLE
    default_message = "The scheduler is not available; try again."


class CacheUnavailable(TransientError):
    code = ErrorCode.CACHE_UNAVAILABLE
    default_message = "The result cache is not available; try again."


class IdentityUnavailable(TransientError):
    code = ErrorCode.IDENTITY_UNAVAILABLE
    default_message = "Your credentials cannot be checked at the moment; try again."


class StaleRun(TransientError):
    code = ErrorCode.STALE_RUN
    default_message = "The run was changed by another request in between; try again."


class LlmUnavailable(TransientError):
    """`code` says why; `retry_after` is what the server asked for, None when it did not say.

    `may_be_billed` is True when the request was sent and the server may have done the work.
    """

    code = ErrorCode.LLM_UNAVAILABLE
    default_message = "The LLM is not available at the moment."

    def __init__(
        self,
        message: str = "",
        *,
        code: str | None = None,
        retry_after: timedelta | None = None,
        may_be_billed: bool = False,
    ) -> None:
        super().__init__(message, code=code)
        self.retry_after = retry_after
        self.may_be_billed = may_be_billed


class PermanentError(ServiceError):
    """The run fails; the message is acknowledged."""


class LlmRefused(PermanentError):
    """`code` says why: one of the codes below "the run fails" in error_codes.py.

    `may_be_billed` is True when the model has read the input and declined.
    """

    code = ErrorCode.LLM_REFUSED
    default_message = "The LLM refused this input."

    def __init__(self, message: str = "", *, code: str | None = None, may_be_billed: bool = False) -> None:
        super().__init__(message, code=code)
        self.may_be_billed = may_be_billed


class ResultTooLarge(PermanentError):
    code = ErrorCode.RESULT_TOO_LARGE
    default_message = "The LLM's result is too large to be kept."


class DeadlineExceeded(PermanentError):
    code = ErrorCode.DEADLINE_EXCEEDED
    default_message = "The run did not finish before its deadline."


class MalformedMessage(PermanentError):
    code = ErrorCode.MALFORMED_MESSAGE
    default_message = "The message names no run."


class ConfigurationError(ServiceError):
    code = ErrorCode.CONFIGURATION
    default_message = "The settings are wrong."
