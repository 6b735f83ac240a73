"""Which submission each route takes, and which one a body without a route of its own is meant to be."""

from collections.abc import Callable, Mapping
from typing import Any

from shared.domain import submission
from shared.domain.run import Kind
from shared.domain.submission import Submission
from shared.errors import InvalidRequest

Parser = Callable[[Mapping[str, Any], int], Submission]
"""(body, the most bytes of input) to a valid submission. Raises InvalidRequest, InputTooLarge."""
GROUP_FOR = {Kind.ADMIN_RUN: "users"}
"""The group whose members only may submit that kind."""


def admin_run(body: Mapping[str, Any], max_input_bytes: int) -> Submission:
    return submission.admin_run(body)


def user_run(body: Mapping[str, Any], max_input_bytes: int) -> Submission:
    return submission.user_run(body)


def job(body: Mapping[str, Any], max_input_bytes: int) -> Submission:
    return submission.job(body, max_input_bytes=max_input_bytes)


def trainer_analysis(body: Mapping[str, Any], max_input_bytes: int) -> Submission:
    return submission.trainer_analysis(body, max_input_bytes=max_input_bytes)


def by_fields(body: Mapping[str, Any], max_input_bytes: int) -> Submission:
    """Whichever of them the body's fields tell of: each has fields that no other has."""
    meant = {PARSER_BY_FIELD[name] for name, value in body.items() if name in PARSER_BY_FIELD and value is not None}
    if len(meant) != 1:
        raise InvalidRequest(
            "the fields do not tell what to submit: give either text, or input_text, or job_type and input_data, "
            "or system_message and full_input"
        )
    return meant.pop()(body, max_input_bytes)


PARSER_BY_FIELD: Mapping[str, Parser] = {
    "text": admin_run,
    "input_text": user_run,
    "job_type": job,
    "input_data": job,
    "system_message": trainer_analysis,
    "full_input": trainer_analysis,
}
