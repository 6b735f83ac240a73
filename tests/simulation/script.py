"""What the LLM does with one run: the script that the plan gives it, found again by a mark in the run's text."""

from dataclasses import dataclass, replace
from enum import StrEnum
from random import Random
from typing import Any

NEVER = 1e9
"""Seconds after which a job that never ends would end."""


class Trouble(StrEnum):
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


PASSING = (Trouble.RATE_LIMITED, Trouble.UNAVAILABLE, Trouble.SILENT, Trouble.NOT_CONNECTED)
ACCEPTED = (
    Trouble.ACCEPTED_SILENT,
    Trouble.ACCEPTED_LOST,
    Trouble.ACCEPTED_UNREADABLE,
    Trouble.ACCEPTED_WITHOUT_ID,
)
FINAL = (Trouble.REFUSED, Trouble.QUOTA, Trouble.CREDENTIALS)
OF_CHECKS = (*PASSING, Trouble.ACCEPTED_LOST, Trouble.ACCEPTED_UNREADABLE, Trouble.UNKNOWN_JOB)


class Outcome(StrEnum):
    """How a provider job ends."""

    FINISHED = "finishes"
    FAILED = "fails for good"
    INTERRUPTED = "fails in passing"
    CANCELLED = "is cancelled by the LLM itself"
    REFUSED = "is refused in the end"
    FORGOTTEN = "is forgotten by the LLM"


@dataclass(frozen=True, slots=True, kw_only=True)
class LlmScript:
    """`submits` and `checks` are the troubles of the first calls, in order; later calls are answered."""

    takes: float = 5.0
    submits: tuple[Trouble, ...] = ()
    checks: tuple[Trouble, ...] = ()
    outcomes: tuple[Outcome, ...] = ()
    """Of the first jobs of the run; later jobs finish."""
    retry_after: float | None = None
    latency: float = 0.3
    """Seconds between a call's acceptance and its answer."""
    is_idempotent: bool = True
    reports_progress: bool = False
    is_large: bool = False
    """The result is too large for lists."""

    def __str__(self) -> str:
        words = [f"takes {self.takes:g} s" if self.takes < NEVER else "never ends"]
        words += [f"submit {n} {trouble}" for n, trouble in enumerate(self.submits, 1) if trouble is not Trouble.NONE]
        words += [f"check {n} {trouble}" for n, trouble in enumerate(self.checks, 1) if trouble is not Trouble.NONE]
        words += [f"job {n} {outcome}" for n, outcome in enumerate(self.outcomes, 1)]
        words += [f"asks to wait {self.retry_after:g} s"] if self.retry_after else []
        words += [f"answers after {self.latency:g} s"] if self.latency > 1 else []
        words += [] if self.is_idempotent else ["knows no idempotency keys"]
        return "the LLM " + ", ".join(words)

    def simpler(self) -> "list[LlmScript]":
        """Returns scripts with one trouble less each."""
        plain: dict[str, Any] = {
            "submits": (),
            "checks": (),
            "outcomes": (),
            "retry_after": None,
            "latency": 0.3,
            "takes": 5.0,
            "is_idempotent": True,
            "reports_progress": False,
            "is_large": False,
        }
        return [replace(self, **{name: value}) for name, value in plain.items() if getattr(self, name) != value]


def make_script(random: Random, *, calm: bool) -> LlmScript:
    """`calm`: the LLM makes no trouble at all."""
    takes = random.choice((0.5, 2.0, 5.0, 5.0, 12.0, 30.0))
    script = LlmScript(
        takes=takes,
        is_idempotent=random.random() < 0.5,
        reports_progress=random.random() < 0.15,
        is_large=random.random() < 0.15,
    )
    if calm or random.random() < 0.4:
        return script
    return replace(
        script,
        takes=random.choice((takes, takes, takes, 60.0, 150.0, NEVER)),
        submits=_troubles(random, (*PASSING, *ACCEPTED), share=0.5, longest=4),
        checks=_troubles(random, OF_CHECKS, share=0.3, longest=7),
        outcomes=tuple(random.choice(tuple(Outcome)) for _ in range(random.choice((0, 0, 1, 1, 2, 5)))),
        retry_after=random.choice((None, None, 3.0, 20.0, 300.0)),
        latency=random.choice((0.3, 0.3, 0.3, 4.0, 15.0)),
    )


def _troubles(random: Random, kinds: tuple[Trouble, ...], *, share: float, longest: int) -> tuple[Trouble, ...]:
    if random.random() > share:
        return ()
    if random.random() < 0.12:
        return (random.choice(FINAL),)
    kind = random.choice(kinds)
    same = random.random() < 0.3
    count = random.randint(1, longest)
    return tuple(kind if same else random.choice((Trouble.NONE, *kinds)) for _ in range(count))
