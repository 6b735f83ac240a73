"""A directory over any store of documents: users, organizations and models by collection and id."""

from abc import ABC, abstractmethod
from collections.abc import Mapping
from typing import Any

from shared.domain.directory import Model, Organization, Profile, read_profile, read_record


class DocumentDirectory(ABC):
    async def profile(self, user_id: str) -> Profile | None:
        document = await self._document("users", user_id)
        return None if document is None else read_profile(user_id, document)

    async def organization(self, organization_id: str) -> Organization | None:
        document = await self._document("organizations", organization_id)
        return None if document is None else read_record(Organization, organization_id, document)

    async def model(self, model_id: str) -> Model | None:
        document = await self._document("models", model_id)
        return None if document is None else read_record(Model, model_id, document)

    @abstractmethod
    async def put(self, collection: str, document_id: str, document: Mapping[str, Any]) -> None:
        """For fixtures and operators; replaces what was there."""

    @abstractmethod
    async def _document(self, collection: str, document_id: str) -> dict[str, Any] | None:
        """None when there is none, or the id is one that no document could have."""
