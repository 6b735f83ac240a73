"""The faults that a plan may hold: each is one entry that can be left out, and says in words what it does."""

from enum import StrEnum

from msgspec import Struct


class OutageMode(StrEnum):
    """How a part misbehaves during an outage."""

    REFUSES = "refuses every call at once"
    HANGS = "answers no call; some calls take effect"
    SLOW = "answers slowly"


class CallFaultKind(StrEnum):
    """What happens at one call."""

    CRASH_BEFORE = "the process dies before the call takes effect"
    CRASH_AFTER = "the process dies after the call took effect"
    FREEZE_BEFORE = "the process stands still before the call takes effect"
    FREEZE_AFTER = "the process stands still after the call took effect"
    FAIL = "the call fails and has no effect"
    LOSE_ANSWER = "the call takes effect and its answer is lost"
    LATE_ANSWER = "the call takes effect and its answer comes late, when it is stale"
    SLOW = "the call is slow"


class DeliveryFaultKind(StrEnum):
    """What happens to one message or task."""

    LOST = "is lost"
    TWICE = "comes twice"
    LATE = "comes late"


class Outage(Struct, frozen=True, kw_only=True):
    """`part` is the first word of the calls' names: store, queue, timers, cache, directory, llm."""

    part: str
    start: float
    seconds: float
    mode: OutageMode

    def __str__(self) -> str:
        return f"from {self.start:.1f} s for {self.seconds:.1f} s {self.part} {self.mode}"


class AtCall(Struct, frozen=True, kw_only=True):
    """At the `nth` call of `call` ("*" is any call), by processes of `function` ("*" is any function)."""

    call: str
    nth: int
    kind: CallFaultKind
    function: str = "*"
    seconds: float = 0.0
    times: int = 1
    """At so many calls in a row."""

    def __str__(self) -> str:
        whose = "" if self.function == "*" else f" by {self.function}"
        lasts = f" for {self.seconds:.1f} s" if self.seconds else ""
        name = "call" if self.call == "*" else self.call
        also = f" and the {self.times - 1} after it" if self.times > 1 else ""
        return f"at {name} number {self.nth}{also}{whose}: {self.kind}{lasts}"


class AtDelivery(Struct, frozen=True, kw_only=True):
    """Of the `nth` item that is put into "queue" or "timers"."""

    part: str
    nth: int
    kind: DeliveryFaultKind
    seconds: float = 0.0
    times: int = 1
    """So many items in a row."""

    def __str__(self) -> str:
        what = "message" if self.part == "queue" else "task"
        also = f" and each of the {self.times - 1} after it" if self.times > 1 else ""
        delay = "" if self.kind is DeliveryFaultKind.LOST else f", by {self.seconds:.1f} s"
        return f"{what} number {self.nth}{also} {self.kind}{delay}"


class LoseAll(Struct, frozen=True, kw_only=True):
    """The emulator of queue or timers restarts empty; the names of tasks are forgotten too."""

    part: str
    start: float

    def __str__(self) -> str:
        return f"at {self.start:.1f} s {self.part} loses all that it holds"


class Pause(Struct, frozen=True, kw_only=True):
    """Nothing of queue or timers is delivered, or the sweeper is not called."""

    part: str
    start: float
    seconds: float

    def __str__(self) -> str:
        what = "the sweeper is not called" if self.part == "sweeps" else f"{self.part} delivers nothing"
        return f"from {self.start:.1f} s for {self.seconds:.1f} s {what}"


class NoCapacity(Struct, frozen=True, kw_only=True):
    """The platform answers 429 in place of the function."""

    function: str
    start: float
    seconds: float

    def __str__(self) -> str:
        return f"from {self.start:.1f} s for {self.seconds:.1f} s the platform has no instance of {self.function}"


class ExtraSweep(Struct, frozen=True, kw_only=True):
    start: float

    def __str__(self) -> str:
        return f"at {self.start:.1f} s two more sweeps start"


class Kill(Struct, frozen=True, kw_only=True):
    """One instance of the function is killed."""

    function: str
    start: float

    def __str__(self) -> str:
        return f"at {self.start:.1f} s an instance of {self.function} is killed"


class Skew(Struct, frozen=True, kw_only=True):
    """The clock of the function's instances in this place is wrong by so many seconds."""

    function: str
    place: int
    seconds: float

    def __str__(self) -> str:
        return f"the clock of {self.function}/{self.place} is wrong by {self.seconds:+.1f} s"


class Rollout(Struct, frozen=True, kw_only=True):
    """From then on new instances have the plan's second settings, and instances in even places are replaced."""

    start: float

    def __str__(self) -> str:
        return f"at {self.start:.1f} s half of the instances are replaced by a second revision"


class OtherRelease(Struct, frozen=True, kw_only=True):
    """A document that this release cannot read, or an event type that it does not know, is put into the store."""

    start: float
    change: str
    shard: int
    user: str

    def __str__(self) -> str:
        return f"at {self.start:.1f} s another release stores a run of {self.user} with an unknown {self.change}"


class ReceiverFault(Struct, frozen=True, kw_only=True):
    """All receivers of webhooks answer with this code; None lets them answer nothing."""

    start: float
    seconds: float
    code: int | None

    def __str__(self) -> str:
        answer = "nothing" if self.code is None else str(self.code)
        return f"from {self.start:.1f} s for {self.seconds:.1f} s all receivers of webhooks answer {answer}"


Fault = (
    Outage
    | AtCall
    | AtDelivery
    | LoseAll
    | Pause
    | NoCapacity
    | ExtraSweep
    | Kill
    | Skew
    | Rollout
    | OtherRelease
    | ReceiverFault
)
