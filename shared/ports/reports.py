"""Defines what administrators and the console read beside single runs: runs by time, and how full limits are."""

from __future__ import annotations

from datetime import date, datetime
from typing import TYPE_CHECKING, Protocol

from msgspec import Struct

if TYPE_CHECKING:
    from shared.domain.budget import Balance
    from shared.domain.directory import Model
    from shared.domain.status import Status
    from shared.ports.runs import RunPage, RunPosition


class Accepted(Struct, frozen=True, kw_only=True):
    """Selects runs by the time of their acceptance, from `since` until before `until`, of one user or one tenant."""

    since: datetime
    until: datetime
    user_id: str | None = None
    tenant_id: str | None = None
    """Counts only when `user_id` is None."""
    status: Status | None = None


class RunReports(Protocol):
    async def accepted(self, wanted: Accepted, *, after: RunPosition | None = None, limit: int) -> RunPage:
        """Returns the newest runs first, from behind the position `after` on, without what users and LLMs wrote."""

    async def count_open(self, tenant_id: str) -> int:
        """Returns how many runs of the tenant are open."""

    async def balances(self, tenant_id: str, day: date) -> tuple[Balance, Balance]:
        """Returns (that UTC day's balance, its month's) of the tenant's budget; runs without a price are in neither."""


class BreakerState(Struct, frozen=True, kw_only=True):
    """Tells whether calls to a server are held back by this process."""

    failures: int = 0
    """Failed calls in a row."""
    is_open: bool = False
    retry_seconds: float = 0.0
    """The time until an open breaker lets one call pass; 0 when it would let one pass now."""


class CircuitBreakers(Protocol):
    def of_deployment(self, deployment: str) -> BreakerState | None:
        """Returns the state of the deployment's breaker in this process; None for a deployment that is not set up."""

    def of_model(self, model: Model) -> BreakerState | None:
        """Returns the state of the breaker of the model's server; None when the model has no address."""
