"""Sets the time limits of every call to Google, and translates Google's exceptions to shared/errors.py.

A call needs both `timeout` and `retry`: with `timeout` alone, a Firestore read from a dead back end was measured to
hang for 283 seconds.
"""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from google.api_core.exceptions import (
    Aborted,
    DeadlineExceeded,
    GoogleAPIError,
    InternalServerError,
    ResourceExhausted,
    ServiceUnavailable,
)
from google.api_core.retry import AsyncRetry, if_exception_type
from google.auth.exceptions import GoogleAuthError

from shared import log
from shared.errors import TransientError

ATTEMPT_TIMEOUT_SECONDS = 3.0
CALL_TIMEOUT_SECONDS = 4.0
"""All attempts of a call together."""
OUTER_TIMEOUT_SECONDS = 6.0
"""Cancels a call that exceeds the two other limits."""

_RETRYABLE = (ServiceUnavailable, InternalServerError, DeadlineExceeded, Aborted)


def bounded(*, seconds: float = CALL_TIMEOUT_SECONDS) -> dict[str, Any]:
    """Returns the keyword arguments `timeout` and `retry` for a call; all its attempts together take `seconds`."""
    retry = AsyncRetry(
        predicate=if_exception_type(*_RETRYABLE), initial=0.1, maximum=1.0, multiplier=2.0, timeout=seconds
    )
    return {"timeout": min(ATTEMPT_TIMEOUT_SECONDS, seconds), "retry": retry}


@asynccontextmanager
async def google_errors_as(unavailable: type[TransientError]) -> AsyncIterator[None]:
    """Logs an exception of Google's clients, or a timeout, and raises `unavailable` instead."""
    try:
        async with asyncio.timeout(OUTER_TIMEOUT_SECONDS):
            yield
    except (GoogleAPIError, GoogleAuthError, TimeoutError) as error:
        cause = getattr(error, "cause", None)  # set on a RetryError
        log.warning(
            "call to Google failed", exception=type(error).__name__, cause=type(cause).__name__ if cause else None
        )
        raise unavailable from error


def is_too_large(error: ResourceExhausted) -> bool:
    """Returns True when gRPC refused the message for its size, which no retry can change.

    An exhausted quota has the same status, RESOURCE_EXHAUSTED, but ends by itself. Only the text differs.
    """
    return any(text in str(error) for text in ("exceeds maximum size", "larger than max"))
