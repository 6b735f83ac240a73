"""What a call at the root of read_runs asks for: its body says what path and query say elsewhere."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from shared.domain.fields import Fields, int_if_whole
from shared.errors import InvalidRequest

MAX_ID_LENGTH = 255
PAGE = ("status", "limit", "offset", "cursor")
JOBS_ONLY = ("job_type", "question_id")


class Target(StrEnum):
    """By the field, or the `kind`, that tells."""

    USER_RUN = "run_uuid"
    JOB = "job_id"
    USER_RUNS = "user_run"
    JOBS = "job"


KINDS = (Target.JOBS, Target.USER_RUNS)


@dataclass(frozen=True, slots=True, kw_only=True)
class RootQuery:
    target: Target
    filters: Any
    """The id of the one run; or of a list the filters, all as text like those of a query."""


def parse_root_query(body: Mapping[str, Any]) -> RootQuery:
    """About one run by `run_uuid` or `job_id`, else a list, of jobs if `kind` says nothing else.

    Raises InvalidRequest.
    """
    fields = Fields(body)
    ids = {about: fields.optional_text(about, max_length=MAX_ID_LENGTH) for about in (Target.USER_RUN, Target.JOB)}
    named = [about for about, run_id in ids.items() if run_id is not None]
    if len(named) > 1:
        raise InvalidRequest("give either run_uuid or job_id, not both", field=Target.JOB)
    if named:
        _refuse(fields, ("kind", *PAGE, *JOBS_ONLY), f"is for lists and does not go with {named[0]}")
        fields.reject_unknown_fields()
        return RootQuery(target=named[0], filters=ids[named[0]])
    target = Target(fields.choice("kind", KINDS)) if fields.raw("kind") is not None else Target.JOBS
    if target is Target.USER_RUNS:
        _refuse(fields, JOBS_ONLY, f"is for jobs and does not go with kind {target}")
    given = {name: fields.raw(name) for name in (*PAGE, *JOBS_ONLY)}
    fields.reject_unknown_fields()
    if not isinstance(given["question_id"], str | None):
        raise InvalidRequest("question_id must be a string", field="question_id")
    return RootQuery(
        target=target, filters={name: _as_text(value) for name, value in given.items() if value is not None}
    )


def _refuse(fields: Fields, names: tuple[str, ...], why: str) -> None:
    for name in names:
        if fields.raw(name) is not None:
            raise InvalidRequest(f"{name} {why}", field=name)


def _as_text(value: Any) -> str:
    """A value of a wrong type becomes text that no query may have either."""
    return value if isinstance(value, str) else json.dumps(int_if_whole(value))
