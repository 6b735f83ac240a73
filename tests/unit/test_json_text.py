"""JSON of stored documents and answers: every value comes back, whichever of the two encoders can write it."""

import json
from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shared.domain.json_text import from_text, to_bytes, to_text

any_text = st.text(st.characters(exclude_categories=()))
values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | any_text,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(any_text, inner, max_size=4),
    max_leaves=12,
)


@given(values)
def test_every_value_comes_back(value: object) -> None:
    assert from_text(to_text(value)) == value


@given(values)
def test_the_text_of_an_earlier_release_is_read(value: object) -> None:
    assert from_text(json.dumps(value)) == value


@pytest.mark.parametrize("other", ["", "\ud800"])
def test_a_time_is_written_so_that_every_release_reads_it(other: str) -> None:
    at = datetime(2026, 11, 22, 9, 30, tzinfo=UTC)
    assert datetime.fromisoformat(from_text(to_text({"at": at, "other": other}))["at"]) == at


@given(values)
def test_clients_get_every_value_and_a_question_mark_for_half_a_character(value: object) -> None:
    assert json.loads(to_bytes(value)) == without_halves(value)


def without_halves(value: object) -> object:
    match value:
        case str():
            return value.encode(errors="replace").decode()
        case list():
            return [without_halves(item) for item in value]
        case dict():
            return {without_halves(name): without_halves(item) for name, item in value.items()}
    return value


def test_rubbish_is_a_value_error() -> None:
    with pytest.raises(ValueError):
        from_text("{nonsense")
