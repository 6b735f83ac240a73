"""Defines what a failed run tells: an error code and a sentence."""

from msgspec import Struct


class Failure(Struct, frozen=True, kw_only=True, rename={"retryable": "retriable"}):
    """Tells why a run failed: an ErrorCode and one sentence that a front end may show.

    Stored documents have `retriable` since the first release.
    """

    code: str
    message: str
    retryable: bool = False
