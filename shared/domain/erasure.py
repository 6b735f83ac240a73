"""Removes the content of a run."""

from datetime import datetime

from shared.domain.event import without_deltas
from shared.domain.frozen import replace
from shared.domain.run import Run


def erased(run: Run, now: datetime) -> Run:
    """Returns the run without what user and LLM wrote; times, status and metrics stay."""
    return replace(
        run,
        input={},
        input_parts=0,
        style_guide=None,
        reference_file_ids=(),
        terms=(),
        result=None,
        result_parts=0,
        events=without_deltas(run.events),
        deleted_at=now,
        updated_at=now,
        due_at=None,
    )
