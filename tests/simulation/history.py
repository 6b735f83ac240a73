"""Everything that happened in one simulation, as an observer sees it who misses nothing; times in virtual seconds."""

from collections import defaultdict
from collections.abc import Mapping
from datetime import UTC, datetime
from enum import StrEnum
from typing import TYPE_CHECKING, Any

from msgspec import Struct, field

from shared.domain.budget import Balance
from shared.domain.directory import LlmApi
from shared.domain.durations import Durations
from shared.domain.idempotency import IdempotencyRecord
from shared.domain.limits import Limits
from shared.domain.run import Run
from shared.domain.usage_sums import UsageSum
from shared.domain.webhook_delivery import Delivery

if TYPE_CHECKING:
    from tests.simulation.llm import Job

EPOCH = datetime(2026, 1, 1, tzinfo=UTC)


class Commit(Struct, frozen=True, kw_only=True):
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


class PaidCall(Struct, frozen=True, kw_only=True):
    """A call that the LLM accepted and will bill."""

    at: float
    by: str
    run_id: str
    key: str
    job_id: str | None
    fault: str
    is_idempotent: bool
    api: str = LlmApi.LLM_JOBS
    """The protocol of the call."""


class FaultKind(StrEnum):
    """What kind of fault a run met."""

    CALL = "a call failed"
    OUTAGE = "a part was out of order"
    CRASH = "a process died"
    FREEZE = "a process stood still"
    DELIVERY = "a message or task was late, repeated or refused"
    LOSS = "a message or task was not delivered again after a failure"


class MetFault(Struct, frozen=True, kw_only=True):
    """A fault that a run met. `part` is the first word of the call's name, as in faults.Outage."""

    at: float
    kind: FaultKind
    part: str
    text: str


class AnswerInHand(Struct, frozen=True, kw_only=True):
    """A good answer to a submit that reached a living process. `job_id` is None when it is the result itself."""

    at: float
    by: str
    run_id: str
    job_id: str | None


class LlmAnswer(Struct, frozen=True, kw_only=True):
    """What the LLM said in the end about a run: a status code, or a job's state."""

    at: float
    run_id: str
    said: str


class EventAnswer(Struct, frozen=True, kw_only=True):
    """A function's answer to queue, timers or scheduler. `is_transient_error` tells that its use case raised one."""

    at: float
    function: str
    status: int
    is_transient_error: bool


class Refusal(Struct, frozen=True, kw_only=True):
    """A client was told that nothing was recorded."""

    at: float
    client: str
    code: str
    """The error code, or "lost" when the answer was lost."""
    is_in_doubt: bool
    """Whether the run may be stored all the same."""
    asked_at: float
    tenant_id: str


class SeenRun(Struct, kw_only=True):
    """A run as one client saw it, in the order of its answers."""

    at: float
    asked_at: float
    client: str
    user: str
    run: Run
    how: str


class Update(Struct, frozen=True, kw_only=True):
    """One update of a stream. `run_id` and `sequence` are those of the event; `connection` counts from 1."""

    at: float
    connection: int
    run_id: str
    sequence: int
    type: str
    data: Mapping[str, Any]


class Post(Struct, frozen=True, kw_only=True):
    """What the receiver of a webhook got, and the code of its answer; None when it did not answer."""

    at: float
    url: str
    headers: Mapping[str, str]
    body: str
    code: int | None

    @property
    def is_received(self) -> bool:
        return self.code is not None and self.code < 300

    def sent_after(self, moment: datetime) -> float:
        """Returns how many seconds after that time the post arrived."""
        return self.at - (moment - EPOCH).total_seconds()


class History(Struct, kw_only=True):
    commits: list[Commit] = field(default_factory=list)
    paid: list[PaidCall] = field(default_factory=list)
    llm_answers: list[LlmAnswer] = field(default_factory=list)
    llm_calls: list[tuple[float, str]] = field(default_factory=list)
    """(time, run id) of every submit that reached the LLM, paid or not."""
    llm_checks: list[tuple[float, str]] = field(default_factory=list)
    """(time, provider job id) of every check that reached the LLM."""
    cancels: list[tuple[float, str]] = field(default_factory=list)
    """(time, provider job id) of every cancel that reached the LLM."""
    deaths: list[tuple[float, str, str]] = field(default_factory=list)
    """(time, instance, run that it had in hand)."""
    answers: list[EventAnswer] = field(default_factory=list)
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
    faults: dict[str | None, list[MetFault]] = field(default_factory=lambda: defaultdict(list))
    """By run id; under None those that touched no particular run."""
    answers_in_hand: list[AnswerInHand] = field(default_factory=list)
    script_ids: dict[str, str] = field(default_factory=dict)
    """{run id: id of the script that its text carries}."""
    reads: int = 0
    lists: list[tuple[str, list[str], float, float]] = field(default_factory=list)
    """(client, ids in the order of the pages, started at, ended at)."""
    undelivered: list[tuple[float, str]] = field(default_factory=list)
    """(time, run id) of each message that went to the dead letters."""
    dead_letters: dict[str, tuple[str, str, str]] = field(default_factory=dict)
    """{message id: (source, reason, data)} of the messages that were kept."""
    ended_at: float = 0.0
    faults_ended_at: float = 0.0
    overdue: list[str] = field(default_factory=list)
    """What the operator's list of overdue runs shows in the end."""
    unreadable: list[str] = field(default_factory=list)
    """The unreadable documents in that list."""
    permits_left: dict[str, list[str]] = field(default_factory=dict)
    balances: Mapping[tuple[str, str], Balance] = field(default_factory=dict)
    """{(tenant, day or month): what its budget has reserved and spent in the end}"""
    usage: Mapping[str, UsageSum] = field(default_factory=dict)
    """The sums of usage in the end, by tenant."""
    durations: Mapping[str, Durations] = field(default_factory=dict)
    """What is known in the end of how long provider jobs take, by kind."""
    jobs: Mapping[str, "Job"] = field(default_factory=dict)
    """The provider jobs and chat answers of the LLM, by id."""
    cache: dict[str, str] = field(default_factory=dict)
    """What the result cache holds in the end."""
    expected_cache: dict[str, str] = field(default_factory=dict)
    """{run id: the entry that it should hold}"""
    inputs_left: set[str] = field(default_factory=set)
    """Runs whose large input is still stored in the end."""
    connected_at: dict[str, float] = field(default_factory=dict)
    """From when on a listener of a channel must get every event, by client."""
    posts: list[Post] = field(default_factory=list)
    """What receivers of webhooks got."""
    deliveries: Mapping[str, Delivery] = field(default_factory=dict)
    """The deliveries of webhooks in the end, by id."""
    final: dict[str, Run] = field(default_factory=dict)
    """The runs as the store has them in the end."""
    foreign_runs: set[str] = field(default_factory=set)
    """Runs that another release wrote."""
    log: list[str] = field(default_factory=list)
    """One line for each event, for people; only when a replay asks for it."""
