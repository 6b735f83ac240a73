"""Creates a run in Firestore: one commit with its idempotency key, its permits and its reservation, tried repeatedly.

The error of a failed commit does not tell which of its writes was refused. So all that it depends on is read again
before the next try.
"""

import asyncio
from collections.abc import Awaitable, Callable
from random import uniform
from typing import Any

from google.api_core.exceptions import Conflict, FailedPrecondition, InvalidArgument, NotFound
from google.cloud.firestore import AsyncClient

from shared.adapters.gcp.bounds import bounded, google_errors_as
from shared.adapters.gcp.budgets import BudgetReservation, BudgetTurns
from shared.adapters.gcp.document import to_firestore
from shared.adapters.gcp.idempotency_keys import IdempotencyKey
from shared.adapters.gcp.permits import RunPermits
from shared.adapters.gcp.run_parts import add_parts
from shared.adapters.gcp.webhook_store import put_deliveries_in
from shared.adapters.storage.parts import INPUT, split_large_input
from shared.domain.frozen import replace
from shared.domain.idempotency import IdempotencyRecord
from shared.domain.run import Run
from shared.domain.webhook_delivery import new_deliveries, with_recorded
from shared.errors import BudgetExhausted, IdempotencyKeyBusy, StoreUnavailable

MAX_CREATE_TRIES = 8
MAX_RESERVING_TRIES = 200
"""For a run with a reservation, whose commit fails whenever another process reserves first; time is the real limit."""
MAX_RETRY_PAUSE_SECONDS = 0.5
AMBIGUOUS_ERRORS = (Conflict, FailedPrecondition, InvalidArgument, NotFound)
"""Errors that a commit can raise although its first try was written. AlreadyExists is a Conflict."""


class RunCreation:
    """The creation of one run. `key` and `reservation` are None when the run has none."""

    def __init__(
        self,
        firestore: AsyncClient,
        run: Run,
        *,
        reference: Any,
        key: IdempotencyKey | None,
        permits: RunPermits,
        reservation: BudgetReservation | None,
        exists: Callable[[str], Awaitable[bool]],
    ) -> None:
        """`reference` is that of the run's document; `exists(run id)` tells whether the run is stored."""
        self._firestore = firestore
        self._run = run
        self._reference = reference
        self._key = key
        self._permits = permits
        self._reservation = reservation
        self._exists = exists

    async def __call__(self, turns: BudgetTurns) -> IdempotencyRecord | None:
        """Returns None when the run is stored, or the record of the run that has the key.

        Raises TooManyRuns, BudgetExhausted, IdempotencyKeyBusy or StoreUnavailable.
        """
        try:
            if self._reservation is None:
                return await self._create(MAX_CREATE_TRIES)
            await self._reservation.read()  # does not wait for its turn when there is nothing left
            async with turns.of(self._run):
                return await self._create(MAX_RESERVING_TRIES)
        except BudgetExhausted:
            if await self._exists(self._run.id):
                return None  # an earlier call stored it
            if (holder := await self._find_holder()) is None:
                raise
            return holder

    async def _create(self, tries: int) -> IdempotencyRecord | None:
        for _ in range(tries):
            if self._reservation is not None:
                await self._reservation.read()
            if await self._try():
                return None
            if (holder := await self._find_holder()) is not None:
                return holder
            await self._permits.choose_available()
        raise IdempotencyKeyBusy if self._key is not None and self._key.is_busy else StoreUnavailable

    async def _find_holder(self) -> IdempotencyRecord | None:
        return None if self._key is None else await self._key.find_holder(now=self._run.created_at)

    async def _try(self) -> bool:
        """Returns True when the run is stored, and False when the commit failed for any reason."""
        run = self._run
        stored, parts = split_large_input(with_recorded(replace(run, permit=self._permits.open_run_number)))
        batch = self._firestore.batch()
        document, _ = to_firestore(stored)
        batch.create(self._reference, document)
        put_deliveries_in(batch, self._firestore, new_deliveries(run))
        self._permits.acquire_in(batch)
        add_parts(batch, self._reference, run, INPUT, parts)
        if self._key is not None:
            self._key.acquire_in(batch)
        if self._reservation is not None:
            self._reservation.reserve_in(batch)
        try:
            async with google_errors_as(StoreUnavailable):
                try:
                    await batch.commit(**bounded())
                except AMBIGUOUS_ERRORS:
                    return await self._exists(run.id)
        except StoreUnavailable:  # also when many concurrent commits want the same permits
            await asyncio.sleep(uniform(0, MAX_RETRY_PAUSE_SECONDS))
            return await self._exists(run.id)
        return True
