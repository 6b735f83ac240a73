"""Reads which runs a list shows, from the query of a URL or from the JSON body of a call at the function's root."""

from collections.abc import Mapping
from typing import Any

from msgspec import Struct

from shared.domain.directory import Profile
from shared.domain.fields import Fields
from shared.domain.status import JOB_TYPES, USER_RUN_KINDS, Kind, Status
from shared.ports import RunFilter, RunPosition
from shared.web.cursor import decode_list_cursor

DEFAULT_LIMIT = 20
MAX_LIMIT = 100
MAX_OFFSET = 1000
MAX_DIGITS = 9
"""A longer number stays a text and is refused, before Python converts it."""
NUMBERS = ("limit", "offset")
PAGE_FIELDS = ("status", *NUMBERS, "cursor")
JOB_FIELDS = ("job_type", "question_id")


class ListQuery(Struct, frozen=True, kw_only=True):
    """One page of a list: at most `limit` runs, after the first `offset` runs or after the cursor `after`."""

    wanted: RunFilter
    limit: int
    offset: int
    after: RunPosition | None


def from_query(parameters: Mapping[str, str]) -> dict[str, Any]:
    """Returns the list's parameters of a URL query with JSON types; unknown and empty ones are left out."""
    known = {name: parameters.get(name) for name in (*PAGE_FIELDS, *JOB_FIELDS)}
    return {name: number_of(text) if name in NUMBERS else text for name, text in known.items() if text}


def user_run_query(filters: Mapping[str, Any], caller: Profile) -> ListQuery:
    """Reads {status?, limit?, offset?, cursor?} for a list of the caller's runs. Raises InvalidRequest."""
    return _list_query(Fields(filters), kinds=USER_RUN_KINDS, caller=caller)


def job_query(filters: Mapping[str, Any], caller: Profile) -> ListQuery:
    """Reads the same fields and {job_type?, question_id?} for a list of the caller's jobs. Raises InvalidRequest."""
    fields = Fields(filters)
    return _list_query(
        fields,
        kinds=(Kind.JOB,),
        caller=caller,
        job_type=fields.optional_choice("job_type", JOB_TYPES),
        question_id=fields.optional_text("question_id"),
    )


def page_of(parameters: Mapping[str, str]) -> tuple[int, str | None]:
    """Reads {limit?, cursor?} of a URL query, for lists without filters. Raises InvalidRequest."""
    known = {name: parameters.get(name) for name in ("limit", "cursor")}
    fields = Fields({name: number_of(text) if name == "limit" else text for name, text in known.items() if text})
    limit = fields.optional_whole_number("limit", minimum=1)
    return min(limit or DEFAULT_LIMIT, MAX_LIMIT), fields.optional_text("cursor")


def _list_query(fields: Fields, *, kinds: tuple[Kind, ...], caller: Profile, **filters: str | None) -> ListQuery:
    status = fields.optional_choice("status", tuple(Status))
    wanted = RunFilter(user_id=caller.user_id, kinds=kinds, status=Status(status) if status else None, **filters)
    limit = fields.optional_whole_number("limit", minimum=1)
    cursor = fields.optional_text("cursor")
    return ListQuery(
        wanted=wanted,
        limit=min(limit or DEFAULT_LIMIT, MAX_LIMIT),
        offset=fields.optional_whole_number("offset", minimum=0, maximum=MAX_OFFSET) or 0,
        after=decode_list_cursor(cursor, wanted) if cursor else None,
    )


def number_of(text: str) -> int | str:
    """Returns the whole number, or the text unchanged when it is no number; reading the field then refuses it."""
    return int(text) if text.isascii() and text.isdigit() and len(text) <= MAX_DIGITS else text
