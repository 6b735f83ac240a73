"""Maps errors to HTTP: the one table of status codes, and the error body that every client gets."""

from http import HTTPStatus
from math import ceil
from typing import Any

from starlette.responses import Response

from shared import errors, log
from shared.error_codes import ErrorCode
from shared.errors import CallerError, ServiceError
from shared.web.json_response import JsonResponse

RETRY_AFTER_SECONDS = 2
"""The Retry-After header of 409 and 503."""


class NoSuchRoute(CallerError):
    """No route has the path of the request."""

    code = ErrorCode.NOT_FOUND
    default_message = "There is nothing at this address."


class MethodNotAllowed(CallerError):
    """`allow` is the value of the Allow header."""

    code = ErrorCode.METHOD_NOT_ALLOWED
    default_message = "This method is not allowed here."

    def __init__(self, allowed: list[str]) -> None:
        """`allowed` lists the methods that the path takes."""
        super().__init__()
        self.allow = ", ".join(sorted(allowed))


class NotJson(CallerError):
    """The Content-Type of a body is not JSON."""

    code = ErrorCode.NOT_JSON
    default_message = "Send the body as JSON, with Content-Type: application/json."


STATUS_OF: dict[type[ServiceError], int] = {
    errors.InvalidRequest: 400,
    errors.RunNotFinished: 400,
    errors.RunFailed: 400,
    errors.RunOpen: 400,
    errors.Unauthenticated: 401,
    errors.Forbidden: 403,
    errors.RunNotFound: 404,
    errors.ChannelNotFound: 404,
    errors.WebhookNotFound: 404,
    errors.RunDeleted: 404,
    NoSuchRoute: 404,
    MethodNotAllowed: 405,
    errors.InputTooLarge: 413,
    NotJson: 415,
    errors.IdempotencyKeyBusy: 409,
    errors.IdempotencyConflict: 422,
    errors.TooManyRuns: 429,
    errors.BudgetExhausted: 429,
    errors.LlmRefused: 500,
    errors.ResultTooLarge: 500,
    errors.DeadlineExceeded: 500,
    errors.MalformedMessage: 500,
    errors.ConfigurationError: 500,
    errors.StoreUnavailable: 503,
    errors.QueueUnavailable: 503,
    errors.SchedulerUnavailable: 503,
    errors.CacheUnavailable: 503,
    errors.IdentityUnavailable: 503,
    errors.StaleRun: 503,
    errors.LlmUnavailable: 503,
}


def error_body(error: ServiceError) -> dict[str, Any]:
    """Returns {success: False, error, code, field?, request_id, retryable, error_message?}."""
    body = {
        "success": False,
        "error": error.message,
        "code": error.code,
        "field": getattr(error, "field", None),
        "request_id": log.current("request_id"),
        "retryable": error.retryable,
    }
    if isinstance(error, errors.RunFailed):
        body["error_message"] = error.message
    return {name: value for name, value in body.items() if value is not None or name != "field"}


def error_response(error: ServiceError) -> Response:
    """Returns the error body with its status and headers; an error that STATUS_OF does not list is a 500."""
    status = STATUS_OF.get(type(error), HTTPStatus.INTERNAL_SERVER_ERROR)
    headers = {}
    if status == HTTPStatus.UNAUTHORIZED:
        headers["WWW-Authenticate"] = "Bearer"
    if status in (HTTPStatus.SERVICE_UNAVAILABLE, HTTPStatus.CONFLICT):
        headers["Retry-After"] = str(RETRY_AFTER_SECONDS)
    if isinstance(error, MethodNotAllowed):
        headers["Allow"] = error.allow
    if isinstance(error, errors.TooManyRuns):
        headers.update(_limit_headers(error))
    if isinstance(error, errors.BudgetExhausted):
        headers["Retry-After"] = str(max(ceil(error.retry_after.total_seconds()), 1))
    return JsonResponse(error_body(error), status_code=status, headers=headers)


def _limit_headers(error: errors.TooManyRuns) -> dict[str, str]:
    """Returns the headers of https://datatracker.ietf.org/doc/draft-ietf-httpapi-ratelimit-headers/."""
    seconds = max(ceil(error.retry_after.total_seconds()), 1)
    window = f";w={round(error.window.total_seconds())}" if error.window else ""
    return {
        "Retry-After": str(seconds),
        "RateLimit-Policy": f'"{error.limit}";q={error.maximum}{window}',
        "RateLimit": f'"{error.limit}";r=0;t={seconds}',
    }
