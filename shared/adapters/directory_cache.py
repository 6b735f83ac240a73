"""Saves most look-ups in a directory: it caches each record but texts for one minute."""

from collections.abc import Awaitable, Callable
from datetime import datetime, timedelta
from typing import Any

from cachetools import TTLCache

from shared.domain.directory import Model, Organization, Profile, ReferenceFile, StyleGuide
from shared.ports import Clock, Directory

KEPT_FOR = timedelta(minutes=1)
MAX_RECORDS = 10_000


class CachedDirectory:
    """Implements Directory. It does not cache that a record is missing: a new user or model works at once."""

    def __init__(self, directory: Directory, clock: Clock, *, max_records: int = MAX_RECORDS) -> None:
        self._directory = directory
        self._records: TTLCache[tuple[str, str], Any, datetime] = TTLCache(max_records, ttl=KEPT_FOR, timer=clock.now)

    async def profile(self, user_id: str) -> Profile | None:
        record: Profile | None = await self._get("profile", user_id, self._directory.profile)
        return record

    async def organization(self, organization_id: str) -> Organization | None:
        record: Organization | None = await self._get("organization", organization_id, self._directory.organization)
        return record

    async def model(self, model_id: str) -> Model | None:
        record: Model | None = await self._get("model", model_id, self._directory.model)
        return record

    async def style_guide(self, style_guide_id: str) -> StyleGuide | None:
        """Reads it anew: texts are large, and few runs name the same one within a minute."""
        return await self._directory.style_guide(style_guide_id)

    async def reference_file(self, file_id: str) -> ReferenceFile | None:
        return await self._directory.reference_file(file_id)

    async def _get(self, kind: str, record_id: str, look_up: Callable[[str], Awaitable[Any]]) -> Any:
        """Returns the record; `kind` keeps records of different kinds with the same id apart."""
        key = (kind, record_id)
        record = self._records.get(key)
        if record is not None:
            return record
        record = await look_up(record_id)
        if record is not None:
            self._records[key] = record
        return record
