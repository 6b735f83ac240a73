"""Reads a call at the root of read_runs. gcloud can post there only, so the body replaces the path and the query."""

from collections.abc import Mapping
from enum import StrEnum
from typing import Any

from msgspec import Struct, field

from shared.domain.fields import Fields
from shared.errors import InvalidRequest
from shared.web.list_query import JOB_FIELDS, PAGE_FIELDS

MAX_ID_LENGTH = 255


class Target(StrEnum):
    """Tells what a call at the root asks for. The value is the name of the body's id field, or that of its `kind`."""

    USER_RUN = "run_uuid"
    """One run, as GET /llm_user_runs/{run_uuid} shows it."""
    JOB = "job_id"
    """One run, as GET /api/llm/jobs/{job_id}/status shows it."""
    USER_RUNS = "user_run"
    """A list of runs, as GET /llm_user_runs shows it."""
    JOBS = "job"
    """A list of jobs, as GET /api/llm/jobs shows it."""


KINDS = (Target.JOBS, Target.USER_RUNS)


class RootQuery(Struct, frozen=True, kw_only=True):
    """`run_id` is set when the target is one run, `filters` ({field: JSON value}) when it is a list."""

    target: Target
    run_id: str = ""
    filters: Mapping[str, Any] = field(default_factory=dict)


def parse_root_query(body: Mapping[str, Any]) -> RootQuery:
    """Reads {run_uuid}, {job_id}, or {kind?: "job" (the default) or "user_run", and the filters of a list}.

    Raises InvalidRequest.
    """
    fields = Fields(body)
    ids = {target: fields.optional_text(target, max_length=MAX_ID_LENGTH) for target in (Target.USER_RUN, Target.JOB)}
    named = [target for target, run_id in ids.items() if run_id is not None]
    if len(named) > 1:
        raise InvalidRequest("give either run_uuid or job_id, not both", field=Target.JOB)
    if named:
        _refuse(fields, ("kind", *PAGE_FIELDS, *JOB_FIELDS), f"is for lists and does not go with {named[0]}")
        fields.reject_unknown_fields()
        return RootQuery(target=named[0], run_id=ids[named[0]] or "")
    target = Target(fields.optional_choice("kind", KINDS) or Target.JOBS)
    if target is Target.USER_RUNS:
        _refuse(fields, JOB_FIELDS, f"is for jobs and does not go with kind {target}")
    filters = {name: fields.raw(name) for name in (*PAGE_FIELDS, *JOB_FIELDS)}
    fields.reject_unknown_fields()
    return RootQuery(target=target, filters={name: value for name, value in filters.items() if value is not None})


def _refuse(fields: Fields, names: tuple[str, ...], reason: str) -> None:
    """Raises InvalidRequest, "{name} {reason}", when one of these fields is present."""
    for name in names:
        if fields.raw(name) is not None:
            raise InvalidRequest(f"{name} {reason}", field=name)
