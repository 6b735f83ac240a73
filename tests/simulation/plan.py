"""What one seed is about: clients and faults, each an entry that shrinking may leave out."""

from typing import Any

from msgspec import Struct, field

from shared.domain.frozen import replace
from tests.simulation.faults import Fault
from tests.simulation.script import LlmScript


class PlanSettings(Struct, frozen=True, kw_only=True):
    """The settings of the operator and of the platform in this plan; seconds."""

    sweep: float = 30.0
    grace: float = 30.0
    deadline: float = 300.0
    chat: float = 40.0
    """The longest a synchronous LLM call may take."""
    submits_a_minute: int | None = None
    open_runs: int | None = None
    day_usd: float | None = None
    """What the runs of acme may cost in a day."""
    llm_threads: int = 4
    task_attempts: int = 100
    ack_deadline: float = 600.0
    firestore: bool = True
    """The store keeps the promises of the Firestore adapter; otherwise of the SQLite adapter."""
    webhooks: tuple[tuple[str, ...], ...] = ()
    """The events of each endpoint of acme."""
    second_grace: float = 15.0
    second_chat: float = 25.0

    def __str__(self) -> str:
        limits = f"{self.submits_a_minute} submits a minute, {self.open_runs} open runs, {self.day_usd} USD a day"
        store = "Firestore" if self.firestore else "SQLite"
        return (
            f"sweep {self.sweep:g} s, grace {self.grace:g} s, deadline {self.deadline:g} s, chat call {self.chat:g} s, "
            f"limits {limits}, {self.task_attempts} task attempts, ack deadline {self.ack_deadline:g} s, {store}"
            f"{''.join(f', a webhook for {chr(32).join(events)}' for events in self.webhooks)}"
        )


class Submit(Struct, frozen=True, kw_only=True):
    """A client that submits one run and follows it to its end."""

    name: str
    at: float
    user: str
    family: str
    """admin, user, job or chat."""
    llm: LlmScript
    key: str | None = None
    body: int = 0
    """Submits of one key with another number here have another body."""
    copies: int = 0
    """So many copies of the request are sent at the same time."""
    tries: int = 4
    follow: str = "poll"
    """poll, wait or stream."""
    pause: float = 3.0
    """Between two polls, or between a stream's break and its resumption."""
    break_every: float | None = None
    """The stream is broken every so many seconds."""
    channel: str | None = None
    deadline: float | None = None
    cancel_after: float | None = None
    delete: bool = False
    prior: str | None = None
    """The name of the client whose run this one re-runs."""
    fallback: bool = False
    """The job's model has two fallbacks, of the other protocol and of its own."""
    webhook: bool = False
    """The submit names a webhook of its own; its user is one of acme, and acme has webhooks."""

    @property
    def script_id(self) -> str:
        """Returns the id that stands in the text: the same for submits with the same key and body."""
        return f"{self.key or self.name}/{self.body}"

    def __str__(self) -> str:
        words = [f"at {self.at:.1f} s {self.user} submits {self.name} ({self.family})"]
        words += [f"with key {self.key} and body {self.body}"] if self.key else []
        words += [f"{self.copies + 1} times at once"] if self.copies else []
        words += [f"with a deadline of {self.deadline:g} s"] if self.deadline else []
        words += [f"to channel {self.channel}"] if self.channel else []
        words += [f"after {self.prior}"] if self.prior else []
        words += [f"follows by {self.follow} (pause {self.pause:g} s)"]
        words += [f"breaks it every {self.break_every:g} s"] if self.break_every else []
        words += [f"cancels {self.cancel_after:.1f} s later"] if self.cancel_after is not None else []
        words += ["deletes it in the end"] if self.delete else []
        words += ["names a model with two fallbacks"] if self.fallback else []
        words += ["names a webhook"] if self.webhook else []
        return f"{', '.join(words)}; {self.llm}"

    def simplifications(self) -> "list[Submit]":
        plain: dict[str, Any] = {
            "key": None,
            "copies": 0,
            "break_every": None,
            "deadline": None,
            "cancel_after": None,
            "delete": False,
            "fallback": False,
            "webhook": False,
        }
        more: dict[str, Any] = {"channel": None, "prior": None, "follow": "poll"}
        changes = [{name: value} for name, value in {**plain, **more}.items() if getattr(self, name) != value]
        changes += [{"llm": script} for script in self.llm.simplifications()]
        return [replace(self, **change) for change in changes]


class Listen(Struct, frozen=True, kw_only=True):
    """A client that follows a channel to the end; it breaks off and resumes with the last id.

    When `stall` is set, it stops reading for so many seconds after the second part of its first connection.
    """

    name: str
    at: float
    user: str
    channel: str
    break_every: float | None = None
    pause: float = 2.0
    stall: float = 0.0

    def __str__(self) -> str:
        broken = f", breaks it every {self.break_every:g} s for {self.pause:g} s" if self.break_every else ""
        stalled = f", does not read for {self.stall:g} s" if self.stall else ""
        return f"at {self.at:.1f} s {self.user} follows channel {self.channel} ({self.name}){broken}{stalled}"

    def simplifications(self) -> "list[Listen]":
        simpler = [replace(self, break_every=None)] if self.break_every else []
        return [*simpler, replace(self, stall=0.0)] if self.stall else simpler


class ListRuns(Struct, frozen=True, kw_only=True):
    """A client that reads all pages of its list."""

    name: str
    at: float
    user: str
    jobs: bool
    status: str | None = None

    def __str__(self) -> str:
        which = f"{self.status or 'all'} {'jobs' if self.jobs else 'runs'}"
        return f"at {self.at:.1f} s {self.user} lists {which} ({self.name})"

    def simplifications(self) -> "list[ListRuns]":
        return []


class Intrude(Struct, frozen=True, kw_only=True):
    """A user who tries everything on a run of somebody else."""

    name: str
    at: float
    user: str
    target: str
    """The name of the client whose run it is."""

    def __str__(self) -> str:
        return f"at {self.at:.1f} s {self.user} tries to reach the run of {self.target} ({self.name})"

    def simplifications(self) -> "list[Intrude]":
        return []


Client = Submit | Listen | ListRuns | Intrude


class Plan(Struct, frozen=True, kw_only=True):
    seed: int
    settings: PlanSettings
    clients: tuple[Client, ...] = ()
    faults: tuple[Fault, ...] = field(default=())

    @property
    def submits(self) -> list[Submit]:
        return [client for client in self.clients if isinstance(client, Submit)]

    def in_words(self) -> str:
        """Returns one line for each entry, in the order of time where an entry has one."""
        entries = sorted([*self.clients, *self.faults], key=_when)
        return "\n".join([f"settings: {self.settings}", *(f"- {entry}" for entry in entries)])


def _when(entry: Client | Fault) -> float:
    moment: float = getattr(entry, "at", getattr(entry, "start", -1.0))
    return moment
