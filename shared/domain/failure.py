"""Defines what a failed run tells: an error code and a sentence."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class Failure:
    """Tells why a run failed: an ErrorCode and one sentence that a front end may show."""

    code: str
    message: str
    retryable: bool = False
