"""How long a call to Google may take, and what its errors are to us: the one place for both.

Both bounds are needed: with `timeout` alone a Firestore read from a dead back end was seen to hang for 283 seconds.
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

ATTEMPT_SECONDS = 3.0
CALL_SECONDS = 4.0
HARD_SECONDS = 6.0
"""Should a call keep to neither bound."""

_PASSING = (ServiceUnavailable, InternalServerError, DeadlineExceeded, Aborted)


def bounded(*, seconds: float = CALL_SECONDS) -> dict[str, Any]:
    """The keyword arguments `timeout` and `retry` that every call carries; `seconds` for all attempts together."""
    retry = AsyncRetry(
        predicate=if_exception_type(*_PASSING), initial=0.1, maximum=1.0, multiplier=2.0, timeout=seconds
    )
    return {"timeout": min(ATTEMPT_SECONDS, seconds), "retry": retry}


@asynccontextmanager
async def calling(unavailable: type[TransientError]) -> AsyncIterator[None]:
    """Whatever Google's clients raise inside, and is not handled there, is `unavailable` outside."""
    try:
        async with asyncio.timeout(HARD_SECONDS):
            yield
    except (GoogleAPIError, GoogleAuthError, TimeoutError) as error:
        cause = getattr(error, "cause", None)  # of a RetryError
        log.warning(
            "call to Google failed", exception=type(error).__name__, cause=type(cause).__name__ if cause else None
        )
        raise unavailable from error


def is_too_large(error: ResourceExhausted) -> bool:
    """gRPC itself refuses a message of this size, and always will; a quota, of the same status, will be free again."""
    return any(words in str(error) for words in ("exceeds maximum size", "larger than max"))
