"""Defines what a failed run tells: an error code and a sentence."""

from msgspec import Struct


class Failure(Struct, frozen=True, kw_only=True):
    """Tells why a run failed: an ErrorCode and one sentence that a front end may show."""

    code: str
    message: str
    retryable: bool = False
