"""Spares most look-ups in any directory: a record is asked for once a minute."""

from collections.abc import Awaitable, Callable
from datetime import datetime, timedelta
from typing import Any

from shared.domain.directory import Model, Organization, Profile
from shared.ports import Clock, Directory

KEPT_FOR = timedelta(minutes=1)
MAX_RECORDS = 10_000


class CachedDirectory:
    """What does not exist is not remembered, so that a new user or model works at once."""

    def __init__(self, directory: Directory, clock: Clock) -> None:
        self._directory = directory
        self._clock = clock
        self._records: dict[tuple[str, str], tuple[datetime, Any]] = {}

    async def profile(self, user_id: str) -> Profile | None:
        record: Profile | None = await self._get("profile", user_id, self._directory.profile)
        return record

    async def organization(self, organization_id: str) -> Organization | None:
        record: Organization | None = await self._get("organization", organization_id, self._directory.organization)
        return record

    async def model(self, model_id: str) -> Model | None:
        record: Model | None = await self._get("model", model_id, self._directory.model)
        return record

    async def _get(self, kind: str, record_id: str, look_up: Callable[[str], Awaitable[Any]]) -> Any:
        now, key = self._clock.now(), (kind, record_id)
        kept = self._records.get(key)
        if kept is not None and kept[0] > now:
            return kept[1]
        record = await look_up(record_id)
        if record is not None:
            if len(self._records) >= MAX_RECORDS:
                self._records.clear()
            self._records[key] = (now + KEPT_FOR, record)
        return record
