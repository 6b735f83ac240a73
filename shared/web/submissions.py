"""Which submission each route takes; one signature for all of them."""

from collections.abc import Callable, Mapping
from typing import Any

from shared.domain import submission
from shared.domain.submission import Submission

Reader = Callable[[Mapping[str, Any], int], Submission]
"""(body, the most bytes of input) to a valid submission. Raises InvalidRequest, InputTooLarge."""


def admin_run(body: Mapping[str, Any], most_input_bytes: int) -> Submission:
    return submission.admin_run(body)


def user_run(body: Mapping[str, Any], most_input_bytes: int) -> Submission:
    return submission.user_run(body)


def job(body: Mapping[str, Any], most_input_bytes: int) -> Submission:
    return submission.job(body, most_input_bytes=most_input_bytes)


def trainer_analysis(body: Mapping[str, Any], most_input_bytes: int) -> Submission:
    return submission.trainer_analysis(body, most_input_bytes=most_input_bytes)
