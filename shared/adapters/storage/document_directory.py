"""Implements the Directory port over any document store; a subclass reads and writes single documents.

The collections are `users`, `organizations`, `models`, `style_guides` and `reference_files`.
"""

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from typing import Any

from shared import log
from shared.domain.directory import (
    Model,
    Organization,
    Profile,
    ReferenceFile,
    StyleGuide,
    read_profile,
    read_record,
)
from shared.errors import ConfigurationError


class DocumentDirectory(ABC):
    async def profile(self, user_id: str) -> Profile | None:
        document = await self._document("users", user_id)
        return None if document is None else read_profile(user_id, document)

    async def forget_profile(self, user_id: str) -> bool:
        if await self._document("users", user_id) is None:
            return False
        await self._delete("users", user_id)
        return True

    async def organization(self, organization_id: str) -> Organization | None:
        document = await self._document("organizations", organization_id)
        return None if document is None else read_record(Organization, organization_id, document)

    async def model(self, model_id: str) -> Model | None:
        document = await self._document("models", model_id)
        return None if document is None else read_record(Model, model_id, document)

    async def style_guide(self, style_guide_id: str) -> StyleGuide | None:
        document = await self._document("style_guides", style_guide_id)
        return None if document is None else read_record(StyleGuide, style_guide_id, document)

    async def reference_file(self, file_id: str) -> ReferenceFile | None:
        document = await self._document("reference_files", file_id)
        return None if document is None else read_record(ReferenceFile, file_id, document)

    async def models(self) -> Sequence[Model]:
        documents = await self._collection("models")
        read = [_read_model(model_id, document) for model_id, document in sorted(documents.items())]
        return [model for model in read if model is not None]

    @abstractmethod
    async def _collection(self, collection: str) -> Mapping[str, Mapping[str, Any]]:
        """Returns {id: document} of a small collection."""

    @abstractmethod
    async def put(self, collection: str, document_id: str, document: Mapping[str, Any]) -> None:
        """Creates the document or replaces all its fields. Fixtures and operators use this; the functions only read."""

    @abstractmethod
    async def _delete(self, collection: str, document_id: str) -> None:
        """Deletes a document that exists."""

    @abstractmethod
    async def _document(self, collection: str, document_id: str) -> dict[str, Any] | None:
        """Returns the document; None when it does not exist or the store allows no document with this id."""


def _read_model(model_id: str, document: Mapping[str, Any]) -> Model | None:
    """Returns None for a record that cannot be read: the others are listed without it."""
    try:
        return read_record(Model, model_id, document)
    except ConfigurationError as error:
        log.warning("model not readable", record=model_id, problem=error.message)
        return None
