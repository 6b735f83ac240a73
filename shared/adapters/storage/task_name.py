"""Names the task of a re-check, in Cloud Tasks and in SQLite."""

from hashlib import sha256

from shared.domain.recheck_plan import Recheck


def task_name(recheck: Recheck) -> str:
    """Returns `{hash}-{run id}-{attempt}-{sequence}`. The same re-check always has the same name.

    The hash comes first because names with a common or ascending beginning make Cloud Tasks slow:
    https://cloud.google.com/tasks/docs/reference/rest
    """
    name = f"{recheck.run_id}-{recheck.attempt}-{recheck.sequence}"
    return f"{sha256(name.encode()).hexdigest()[:8]}-{name}"
