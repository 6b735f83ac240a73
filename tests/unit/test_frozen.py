"""Values of the domain cannot be changed; copies have changes, and what a store owns does not count."""

from datetime import UTC, datetime, timedelta

import pytest

from shared.domain.bill import Bill
from shared.domain.frozen import replace
from shared.domain.result import Usage
from shared.domain.run import Run
from shared.domain.webhook import SigningSecret
from shared.settings import Settings
from tests.contract.runs import a_run

NOW = datetime(2026, 3, 1, 12, tzinfo=UTC)


def test_a_copy_has_the_changes_and_all_other_values() -> None:
    run = a_run()
    changes = {"attempt": 7, "due_at": NOW, "revision": 3, "clock_offset": timedelta(seconds=1)}
    changed = replace(run, **changes)  # type: ignore[arg-type]
    for name in Run.__struct_fields__:
        assert getattr(changed, name) == changes.get(name, getattr(run, name))


def test_the_original_stays_as_it_is() -> None:
    usage = Usage(input_tokens=1)
    assert replace(usage, output_tokens=2) == Usage(input_tokens=1, output_tokens=2)
    assert usage == Usage(input_tokens=1)


def test_a_name_that_is_no_field_is_refused() -> None:
    with pytest.raises(TypeError, match="status_text"):
        replace(Usage(), **dict.fromkeys(["status_text"]))  # type: ignore[arg-type]


def test_a_value_refuses_assignments() -> None:
    with pytest.raises(AttributeError):
        a_run().attempt = 2  # type: ignore[misc]


def test_runs_are_equal_whatever_their_store_owns() -> None:
    run = a_run()
    stored = replace(run, revision=3, result_parts=2, clock_offset=timedelta(seconds=1), bill=Bill(is_counted=True))
    assert stored == run and run == stored
    assert replace(stored, attempt=1) != run and run != replace(stored, bill=Bill(estimate_usd=1.0))
    assert run != None and run != "run"  # noqa: E711


def test_secrets_are_not_shown() -> None:
    assert repr(SigningSecret(key="canary", until=NOW)) == f"SigningSecret(until={NOW!r})"
    shown = repr(Settings(redis_url="redis://:canary@cache", port=7))
    assert shown.startswith("Settings(backend='embedded', port=7, ") and "canary" not in shown
