"""How a re-check's task is named, wherever it is kept."""

from hashlib import sha256

from shared.ports import Recheck


def task_name(recheck: Recheck) -> str:
    """A hash first: names in a row slow Cloud Tasks down (https://cloud.google.com/tasks/docs/reference/rest)."""
    name = f"{recheck.run_id}-{recheck.attempt}-{recheck.sequence}"
    return f"{sha256(name.encode()).hexdigest()[:8]}-{name}"
