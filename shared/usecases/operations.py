"""Shows an organization's administrators what needs their attention: dead letters, circuit breakers, limits.

Nothing of another organization is shown. A dead letter belongs to the organization of the run that it names; one whose
run cannot be read belongs to nobody here, and only its number is shown.
"""

import asyncio
from collections import Counter
from collections.abc import Sequence
from datetime import UTC, datetime

from msgspec import Struct

from shared.domain.budget import Balance, Budget, read_budget
from shared.domain.dead_letter import DeadLetter
from shared.domain.directory import Organization, Profile
from shared.domain.limits import Limits, minute_of
from shared.domain.run import Run
from shared.domain.target import wanted_names
from shared.errors import ConfigurationError, RunNotFound, StoreUnavailable
from shared.ports import (
    Accepted,
    BreakerState,
    CircuitBreakers,
    Clock,
    DeadLetters,
    Directory,
    ModelCatalogue,
    RunReports,
    RunStore,
)
from shared.usecases.replay import Replay, ReplayDeadLetters

MAX_LETTERS = 500
"""How many dead letters one request looks at; infra/replay_dead_letters.py handles any number."""
CONCURRENT_READS = 20
MAX_SUBMITS_READ = 500
MAX_USERS = 10


class OwnLetter(Struct, frozen=True, kw_only=True):
    letter: DeadLetter
    run: Run


class KeptLetters(Struct, frozen=True, kw_only=True):
    own: Sequence[OwnLetter]
    """Those of the caller's organization."""
    unreadable: int
    """How many letters name no run, or one that cannot be read."""
    is_whole: bool
    """False when there are more than MAX_LETTERS letters."""


class NamedBreaker(Struct, frozen=True, kw_only=True):
    deployment: str | None
    model: str | None
    state: BreakerState


class LimitsInUse(Struct, frozen=True, kw_only=True):
    limits: Limits
    open_runs: int
    submits: Sequence[tuple[str, int]]
    """(user, submits in this minute of the clock), the highest number first, of MAX_USERS users at most."""
    minute: datetime
    budget: Budget
    day: Balance
    month: Balance
    now: datetime


class ReadOperations(Struct, frozen=True, kw_only=True):
    store: RunStore
    reports: RunReports
    dead_letters: DeadLetters
    replaying: ReplayDeadLetters
    breakers: CircuitBreakers
    directory: Directory
    catalogue: ModelCatalogue
    limits: Limits
    clock: Clock

    async def letters(self, caller: Profile) -> KeptLetters:
        """Returns the dead letters of the runs of the caller's organization."""
        kept = await self.dead_letters.kept(limit=MAX_LETTERS + 1)
        places = asyncio.Semaphore(CONCURRENT_READS)

        async def run_of(letter: DeadLetter) -> Run | None:
            async with places:
                return await self._run_of(letter)

        letters = kept[:MAX_LETTERS]
        runs = await asyncio.gather(*[run_of(letter) for letter in letters])
        own = [
            OwnLetter(letter=letter, run=run)
            for letter, run in zip(letters, runs, strict=True)
            if run is not None and run.tenant_id == caller.organization_id
        ]
        return KeptLetters(own=own, unreadable=list(runs).count(None), is_whole=len(kept) <= MAX_LETTERS)

    async def replay(self, caller: Profile, *, source: str, message_id: str) -> Replay:
        """Sends the letter's run to a worker again if it is open, and removes the letter.

        Raises RunNotFound for a letter that is not there, or is not one of the caller's organization.
        """
        letter = await self.dead_letters.get(source=source, message_id=message_id)
        run = await self._run_of(letter) if letter is not None else None
        if letter is None or run is None or run.tenant_id != caller.organization_id:
            raise RunNotFound
        return await self.replaying(letter)

    async def _run_of(self, letter: DeadLetter) -> Run | None:
        """Returns the run that the letter names; None when it names none, or one that is gone or cannot be read."""
        if letter.run_id is None:
            return None
        try:
            return await self.store.get(letter.run_id, with_result=False)
        except (RunNotFound, StoreUnavailable):
            return None

    async def breaker_states(self, caller: Profile) -> list[NamedBreaker]:
        """Returns the breakers, in this process, of the deployments and models that the organization may use."""
        organization = await self._organization(caller)
        deployments = [organization.deployment, *wanted_names(organization.fallback)]
        found = [(name, None, self.breakers.of_deployment(name)) for name in dict.fromkeys(deployments)]
        models = [model for model in await self.catalogue.models() if model.enabled]
        named = [*found, *[(None, model.id, self.breakers.of_model(model)) for model in models]]
        return [NamedBreaker(deployment=one, model=model, state=state) for one, model, state in named if state]

    async def limits_in_use(self, caller: Profile) -> LimitsInUse:
        """Returns the limits and the budget of the caller's organization, with how full they are."""
        organization, now = await self._organization(caller), self.clock.now().astimezone(UTC)
        day, month = await self.reports.balances(caller.organization_id, now.date())
        return LimitsInUse(
            limits=self.limits,
            open_runs=await self.reports.count_open(caller.organization_id),
            submits=await self._submits(caller, now),
            minute=minute_of(now),
            budget=read_budget(organization.budget) or Budget(),
            day=day,
            month=month,
            now=now,
        )

    async def _submits(self, caller: Profile, now: datetime) -> list[tuple[str, int]]:
        wanted = Accepted(tenant_id=caller.organization_id, since=minute_of(now), until=now)
        page = await self.reports.accepted(wanted, limit=MAX_SUBMITS_READ)
        return Counter(run.user_id for run in page.runs).most_common(MAX_USERS)

    async def _organization(self, caller: Profile) -> Organization:
        organization = await self.directory.organization(caller.organization_id)
        if organization is None:
            raise ConfigurationError("Your organization is not set up; ask your administrator.")
        return organization
