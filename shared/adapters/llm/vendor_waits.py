"""Reads how long a vendor asks its caller to wait: from headers, details or the sentence of an error response.

The first of these that can be read counts, because each is more exact than the next:

1. `retry-after-ms`, in milliseconds, and `Retry-After` (RFC 9110 section 10.2.3). OpenAI's and Anthropic's own clients
   read them in this order: https://github.com/openai/openai-python/blob/main/src/openai/_base_client.py
2. Google's `RetryInfo` in the details of the error: https://google.aip.dev/193
3. The sentence of the error, such as "Please try again in 9.816s."
4. The time at which an exhausted limit is full again, which is the longest that the wait can be:
   https://platform.openai.com/docs/guides/rate-limits and https://docs.claude.com/en/api/rate-limits
"""

import re
from collections.abc import Iterator, Mapping
from datetime import datetime, timedelta
from typing import Any

from urllib3.exceptions import InvalidHeader
from urllib3.util import Retry

from shared.adapters.llm.vendor_errors import read_vendor_error

MAX_WAIT = timedelta(hours=1)
_UNITS = {"d": 86400.0, "h": 3600.0, "m": 60.0, "s": 1.0, "ms": 0.001}
_PART = r"\d{1,9}(?:\.\d{1,9})?(?:ms|[dhms])"
_NUMBER = re.compile(r"(\d{1,9}(?:\.\d{1,9})?)(ms|[dhms])")
_SENTENCE = re.compile(rf"(?:try again|retry) (?:in|after) (?:((?:{_PART})+)|(\d{{1,9}}) seconds?)", re.IGNORECASE)
_RESET = re.compile(r"x-ratelimit-reset-([\w-]+)|anthropic-ratelimit-([\w-]+)-reset")
"""The header that says when a limit is full again; a group of it is the name of the limit."""


def read_wait(status: int, headers: Mapping[str, str], body: Any, *, now: datetime) -> timedelta | None:
    """Returns the wait that the response asks for, from 0 to MAX_WAIT, or None when it names none.

    The names in `headers` are compared without regard to case by the mapping itself, or are in lower case.
    """
    wait = _read_milliseconds(headers.get("retry-after-ms"))
    wait = _read_retry_after(headers.get("retry-after")) if wait is None else wait
    if wait is None and status >= 400:
        wait = _read_body(body)
    if wait is None and status == 429:  # OpenAI sends these headers with every response
        wait = _read_resets({name.lower(): value for name, value in headers.items()}, now)
    return None if wait is None else min(max(wait, timedelta(0)), MAX_WAIT)


def read_duration(text: str) -> timedelta | None:
    """Reads a duration such as 6m0s, 120ms or 45.5s; returns None for anything else."""
    if not re.fullmatch(rf"(?:{_PART})+", text):
        return None
    return timedelta(seconds=sum(float(number) * _UNITS[unit] for number, unit in _NUMBER.findall(text)))


def _read_milliseconds(header: str | None) -> timedelta | None:
    if header is None or not re.fullmatch(r"\d{1,9}(\.\d{1,9})?", header.strip()):
        return None
    return timedelta(milliseconds=float(header))


def _read_retry_after(header: str | None) -> timedelta | None:
    """Reads seconds or a date. Returns None for anything else."""
    if header is None:
        return None
    if re.fullmatch(r"\d{1,9}\.\d{1,9}", header.strip()):  # not in the standard, but vendors send it
        return timedelta(seconds=float(header))
    try:
        seconds = Retry(retry_after_max=int(MAX_WAIT.total_seconds())).parse_retry_after(header)
    except (InvalidHeader, ValueError, OverflowError):  # urllib3 lets the last two pass: a year or a number too large
        return None
    return timedelta(seconds=seconds)


def _read_body(body: Any) -> timedelta | None:
    error = read_vendor_error(body)
    for detail in error.details:
        if isinstance(delay := detail.get("retryDelay"), str):
            return read_duration(delay)
    if found := _SENTENCE.search(error.message):
        return read_duration(found[1]) if found[1] else timedelta(seconds=int(found[2]))
    return None


def _read_resets(headers: Mapping[str, str], now: datetime) -> timedelta | None:
    """Returns the longest wait for an exhausted limit, or for any limit when none says that it is exhausted."""
    resets = list(_resets(headers, now))
    exhausted = [wait for wait, is_exhausted in resets if is_exhausted]
    return max(exhausted or [wait for wait, _ in resets], default=None)


def _resets(headers: Mapping[str, str], now: datetime) -> Iterator[tuple[timedelta, bool]]:
    """Yields (wait, whether nothing of the limit remains) of each limit that the headers name."""
    for name, value in headers.items():
        found = _RESET.fullmatch(name)
        wait = _read_reset(value.strip(), now) if found else None
        if wait is not None:
            remaining = headers.get(name.replace("reset", "remaining"), "")
            yield wait, remaining.strip() == "0"


def _read_reset(value: str, now: datetime) -> timedelta | None:
    """Reads a duration (OpenAI), whole seconds (Azure) or an RFC 3339 time (Anthropic)."""
    if re.fullmatch(r"\d{1,6}", value):
        return timedelta(seconds=int(value))
    if (duration := read_duration(value)) is not None:
        return duration
    try:
        moment = datetime.fromisoformat(value)
    except ValueError:
        return None
    return None if moment.tzinfo is None else moment - now
