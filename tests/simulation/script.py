"""What the LLM does with one run: the script that the plan gives it, found again by the id in the run's text."""

from enum import StrEnum
from random import Random
from typing import Any

from msgspec import Struct

from shared.domain.frozen import replace

NEVER = 1e9
"""Seconds after which a job that never ends would end."""


class LlmFault(StrEnum):
    """One call's failure. Those with ACCEPTED in front are paid for."""

    NONE = "answers"
    RATE_LIMITED = "is rate limited"
    UNAVAILABLE = "is unavailable"
    SILENT = "gets no answer, and the LLM never saw it"
    NOT_CONNECTED = "finds no connection"
    ACCEPTED_SILENT = "is accepted and gets no answer"
    ACCEPTED_LOST = "is accepted and the connection is lost"
    ACCEPTED_UNREADABLE = "is accepted and the answer is not JSON"
    ACCEPTED_WITHOUT_ID = "is accepted and the answer lacks what it must hold"
    UNKNOWN_JOB = "is told that there is no such job"
    REFUSED = "is refused"
    QUOTA = "is told that there is no quota"
    CREDENTIALS = "is told that the key is wrong"
    GONE = "is told that the model is gone"


PASSING = (LlmFault.RATE_LIMITED, LlmFault.UNAVAILABLE, LlmFault.SILENT, LlmFault.NOT_CONNECTED)
ACCEPTED = (
    LlmFault.ACCEPTED_SILENT,
    LlmFault.ACCEPTED_LOST,
    LlmFault.ACCEPTED_UNREADABLE,
    LlmFault.ACCEPTED_WITHOUT_ID,
)
FINAL = (LlmFault.REFUSED, LlmFault.QUOTA, LlmFault.CREDENTIALS)
OF_CHECKS = (*PASSING, LlmFault.ACCEPTED_LOST, LlmFault.ACCEPTED_UNREADABLE, LlmFault.UNKNOWN_JOB)


class JobEnd(StrEnum):
    """How a provider job ends."""

    FINISHED = "finishes"
    FAILED = "fails for good"
    INTERRUPTED = "fails in passing"
    CANCELLED = "is cancelled by the LLM itself"
    REFUSED = "is refused in the end"
    FORGOTTEN = "is forgotten by the LLM"


class LlmScript(Struct, frozen=True, kw_only=True):
    """`submits` and `checks` are the faults of the first calls, in order; later calls are answered."""

    takes: float = 5.0
    submits: tuple[LlmFault, ...] = ()
    checks: tuple[LlmFault, ...] = ()
    job_ends: tuple[JobEnd, ...] = ()
    """Of the first jobs of the run; later jobs finish."""
    retry_after: float | None = None
    latency: float = 0.3
    """Seconds between a call's acceptance and its answer."""
    is_idempotent: bool = True
    reports_progress: bool = False
    is_large: bool = False
    """The result is too large for lists."""
    is_bad_at_first: bool = False
    """A chat model's first translation has a fault that the checks find."""

    def __str__(self) -> str:
        words = [f"takes {self.takes:g} s" if self.takes < NEVER else "never ends"]
        words += [f"submit {n} {fault}" for n, fault in enumerate(self.submits, 1) if fault is not LlmFault.NONE]
        words += [f"check {n} {fault}" for n, fault in enumerate(self.checks, 1) if fault is not LlmFault.NONE]
        words += [f"job {n} {job_end}" for n, job_end in enumerate(self.job_ends, 1)]
        words += [f"asks to wait {self.retry_after:g} s"] if self.retry_after else []
        words += [f"answers after {self.latency:g} s"] if self.latency > 1 else []
        words += [] if self.is_idempotent else ["knows no idempotency keys of chat calls"]
        words += ["translates badly at first"] if self.is_bad_at_first else []
        return "the LLM " + ", ".join(words)

    @property
    def has_faults(self) -> bool:
        """Returns whether the LLM does anything but deliver in time."""
        slow = self.latency > 1 or self.takes > 30
        return bool(self.submits or self.checks or self.job_ends or slow)

    def simplifications(self) -> "list[LlmScript]":
        """Returns scripts with one fault less each."""
        plain: dict[str, Any] = {
            "submits": (),
            "checks": (),
            "job_ends": (),
            "retry_after": None,
            "latency": 0.3,
            "takes": 5.0,
            "is_idempotent": True,
            "reports_progress": False,
            "is_large": False,
            "is_bad_at_first": False,
        }
        return [replace(self, **{name: value}) for name, value in plain.items() if getattr(self, name) != value]


def make_script(random: Random, *, without_faults: bool) -> LlmScript:
    """`without_faults`: the LLM has no faults."""
    takes = random.choice((0.5, 2.0, 5.0, 5.0, 12.0, 30.0))
    script = LlmScript(
        takes=takes,
        is_idempotent=random.random() < 0.5,
        reports_progress=random.random() < 0.15,
        is_large=random.random() < 0.15,
    )
    if without_faults or random.random() < 0.4:
        return script
    return replace(
        script,
        takes=random.choice((takes, takes, takes, 60.0, 150.0, NEVER)),
        submits=_llm_faults(random, (*PASSING, *ACCEPTED), share=0.5, longest=4),
        checks=_llm_faults(random, OF_CHECKS, share=0.3, longest=7),
        job_ends=_job_ends(random),
        retry_after=random.choice((None, None, 3.0, 20.0, 300.0)),
        latency=random.choice((0.3, 0.3, 0.3, 4.0, 15.0)),
    )


def make_script_that_leaves(random: Random, script: LlmScript) -> LlmScript:
    """Returns the script with submits after which a run goes to its next model, in some plans after a lost call."""
    kind = random.choice((LlmFault.GONE, LlmFault.RATE_LIMITED, LlmFault.UNAVAILABLE))
    lost = random.choice(((), (), (LlmFault.ACCEPTED_LOST,), (LlmFault.ACCEPTED_SILENT,)))
    submits = (*lost, *(kind for _ in range(random.choice((1, 1, 2, 4)))))
    return replace(script, submits=submits, retry_after=random.choice((script.retry_after, 20.0)))


def _job_ends(random: Random) -> tuple[JobEnd, ...]:
    count, same = random.choice((0, 0, 1, 1, 2, 5)), random.choice(tuple(JobEnd))
    is_same = random.random() < 0.4
    return tuple(same if is_same else random.choice(tuple(JobEnd)) for _ in range(count))


def _llm_faults(random: Random, kinds: tuple[LlmFault, ...], *, share: float, longest: int) -> tuple[LlmFault, ...]:
    if random.random() > share:
        return ()
    if random.random() < 0.12:
        return (random.choice(FINAL),)
    kind = random.choice(kinds)
    same = random.random() < 0.3
    count = random.randint(1, longest)
    return tuple(kind if same else random.choice((LlmFault.NONE, *kinds)) for _ in range(count))
