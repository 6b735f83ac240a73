"""Everything that happened in one simulation, as an observer sees it who misses nothing; times in virtual seconds."""

from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from shared.domain.limits import Limits
from shared.domain.run import Run
from shared.ports import IdempotencyRecord


@dataclass(frozen=True, slots=True, kw_only=True)
class Commit:
    """One write of a run that the store took. `before` is None for its creation."""

    at: float
    by: str
    before: Run | None
    after: Run
    idempotency: IdempotencyRecord | None = None
    limits: Limits | None = None
    open_runs: int = 0
    """How many open runs the tenant had before a creation."""

    @property
    def run_id(self) -> str:
        return self.after.id


@dataclass(frozen=True, slots=True, kw_only=True)
class PaidCall:
    """A call that the LLM accepted and will bill."""

    at: float
    by: str
    run_id: str
    key: str
    job_id: str | None
    fault: str
    is_idempotent: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class LlmAnswer:
    """What the LLM said in the end about a run: a status code, or a job's state."""

    at: float
    run_id: str
    said: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Refusal:
    """A client was told that nothing was recorded."""

    at: float
    client: str
    code: str


@dataclass(slots=True, kw_only=True)
class SeenRun:
    """A run as one client saw it, in the order of its answers."""

    at: float
    asked_at: float
    client: str
    user: str
    run: Run
    how: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Update:
    """One update of a stream. `run_id` and `sequence` are those of the event."""

    at: float
    run_id: str
    sequence: int
    type: str
    data: Mapping[str, Any]


@dataclass(slots=True, kw_only=True)
class History:
    commits: list[Commit] = field(default_factory=list)
    paid: list[PaidCall] = field(default_factory=list)
    llm_answers: list[LlmAnswer] = field(default_factory=list)
    llm_calls: list[tuple[float, str]] = field(default_factory=list)
    """(time, run id) of every submit that reached the LLM, paid or not."""
    cancels: list[tuple[float, str]] = field(default_factory=list)
    """(time, provider job id) of every cancel that reached the LLM."""
    deaths: list[tuple[float, str, str]] = field(default_factory=list)
    """(time, instance, run that it had in hand)."""
    answers: list[tuple[float, str, int]] = field(default_factory=list)
    """(time, function, status) of every answer to queue, timers and sweeper."""
    requests: dict[str, list[float]] = field(default_factory=lambda: defaultdict(list))
    """Times at which a client sent its submit, by client."""
    accepted_ids: dict[str, list[tuple[float, str]]] = field(default_factory=lambda: defaultdict(list))
    """(time, run id) that submits were answered with, by client."""
    refusals: list[Refusal] = field(default_factory=list)
    seen: list[SeenRun] = field(default_factory=list)
    streams: dict[str, list[Update]] = field(default_factory=lambda: defaultdict(list))
    """By client."""
    foreign_reads: list[str] = field(default_factory=list)
    """What a user reached that is not theirs."""
    unexpected_errors: list[str] = field(default_factory=list)
    """Exceptions that no code foresaw, and answers that the contract does not know."""
    faults_by_run: dict[str, list[str]] = field(default_factory=lambda: defaultdict(list))
    """The faults that touched a run, by run id."""
    general_faults: list[tuple[float, str]] = field(default_factory=list)
    """Faults that touched no particular run."""
    reads: int = 0
    lists: list[tuple[str, list[str], float, float]] = field(default_factory=list)
    """(client, ids in the order of the pages, started at, ended at)."""
    dead_letters: list[tuple[float, str]] = field(default_factory=list)
    ended_at: float = 0.0
    faults_ended_at: float = 0.0
    overdue: list[str] = field(default_factory=list)
    permits_left: dict[str, list[str]] = field(default_factory=dict)
    cache: dict[str, str] = field(default_factory=dict)
    final: dict[str, Run] = field(default_factory=dict)
    """The runs as the store has them in the end."""
    foreign_runs: set[str] = field(default_factory=set)
    """Runs that another release wrote."""
    log: list[str] = field(default_factory=list)
    """One line for each event, for people; only when a replay asks for it."""
