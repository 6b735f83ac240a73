"""What must hold after every simulation, whatever its faults: each invariant yields a sentence for each violation."""

from collections.abc import Iterator

from msgspec import Struct

from tests.simulation.history import History
from tests.simulation.invariants.case import Case, Invariant
from tests.simulation.invariants.clients import CLIENTS
from tests.simulation.invariants.durations import DURATIONS
from tests.simulation.invariants.lifecycle import LIFECYCLE
from tests.simulation.invariants.money import MONEY
from tests.simulation.invariants.service import SERVICE
from tests.simulation.invariants.webhooks import WEBHOOKS
from tests.simulation.plan import Plan

INVARIANTS: tuple[Invariant, ...] = (*SERVICE, *LIFECYCLE, *MONEY, *DURATIONS, *CLIENTS, *WEBHOOKS)


class Violation(Struct, frozen=True, kw_only=True):
    invariant: str
    """The function's name."""
    sentence: str

    def __str__(self) -> str:
        return f"{self.invariant.replace('_', ' ')}: {self.sentence}"


def check(plan: Plan, history: History) -> list[Violation]:
    return list(_violations(Case(plan, history)))


def _violations(case: Case) -> Iterator[Violation]:
    for invariant in INVARIANTS:
        for sentence in invariant(case):
            yield Violation(invariant=invariant.__name__, sentence=sentence)
