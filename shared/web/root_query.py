"""Reads a call at the root of read_runs, where gcloud posts: its body tells what path and query tell elsewhere."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

from shared.domain.fields import Fields
from shared.errors import InvalidRequest
from shared.web.list_query import JOB_FIELDS, PAGE_FIELDS

MAX_ID_LENGTH = 255


class Target(StrEnum):
    """What a root call asks for; the value is the field, or the `kind`, that says so."""

    USER_RUN = "run_uuid"
    """One run, as the families A and B show it."""
    JOB = "job_id"
    """One run, as family C shows it."""
    USER_RUNS = "user_run"
    """A list of runs of the families A and B."""
    JOBS = "job"
    """A list of jobs."""


KINDS = (Target.JOBS, Target.USER_RUNS)


@dataclass(frozen=True, slots=True, kw_only=True)
class RootQuery:
    """`run_id` is set for one run, `filters` (with JSON types) for a list."""

    target: Target
    run_id: str = ""
    filters: Mapping[str, Any] = field(default_factory=dict)


def parse_root_query(body: Mapping[str, Any]) -> RootQuery:
    """Reads {run_uuid} or {job_id} for one run, else the filters of a list: of jobs unless `kind` says user_run.

    Raises InvalidRequest.
    """
    fields = Fields(body)
    ids = {target: fields.optional_text(target, max_length=MAX_ID_LENGTH) for target in (Target.USER_RUN, Target.JOB)}
    named = [target for target, run_id in ids.items() if run_id is not None]
    if len(named) > 1:
        raise InvalidRequest("give either run_uuid or job_id, not both", field=Target.JOB)
    if named:
        _refuse(fields, ("kind", *PAGE_FIELDS, *JOB_FIELDS), f"is for lists and does not go with {named[0]}")
        fields.done()
        return RootQuery(target=named[0], run_id=ids[named[0]] or "")
    target = Target(fields.optional_choice("kind", KINDS) or Target.JOBS)
    if target is Target.USER_RUNS:
        _refuse(fields, JOB_FIELDS, f"is for jobs and does not go with kind {target}")
    filters = {name: fields.raw(name) for name in (*PAGE_FIELDS, *JOB_FIELDS)}
    fields.done()
    return RootQuery(target=target, filters={name: value for name, value in filters.items() if value is not None})


def _refuse(fields: Fields, names: tuple[str, ...], reason: str) -> None:
    for name in names:
        if fields.raw(name) is not None:
            raise InvalidRequest(f"{name} {reason}", field=name)
