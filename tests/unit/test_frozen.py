"""Copies of frozen dataclasses are what `dataclasses.replace` makes of them."""

import dataclasses
from datetime import UTC, datetime, timedelta

import pytest

from shared.domain.frozen import replace
from shared.domain.result import Usage
from shared.domain.run import Run
from tests.contract.runs import a_run

NOW = datetime(2026, 3, 1, 12, tzinfo=UTC)


def test_a_copy_has_the_changes_and_all_other_values() -> None:
    run = a_run()
    changed = replace(run, attempt=7, due_at=NOW, revision=3, clock_offset=timedelta(seconds=1))
    expected = dataclasses.replace(run, attempt=7, due_at=NOW, revision=3, clock_offset=timedelta(seconds=1))
    assert [getattr(changed, field.name) for field in dataclasses.fields(Run)] == [
        getattr(expected, field.name) for field in dataclasses.fields(Run)
    ]


def test_the_original_stays_as_it_is() -> None:
    usage = Usage(input_tokens=1)
    assert replace(usage, output_tokens=2) == Usage(input_tokens=1, output_tokens=2)
    assert usage == Usage(input_tokens=1)


def test_a_name_that_is_no_field_is_refused() -> None:
    with pytest.raises(TypeError, match="status_text"):
        replace(Usage(), **dict.fromkeys(["status_text"]))  # type: ignore[arg-type]
