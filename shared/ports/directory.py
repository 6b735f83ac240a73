"""Defines how records of users, organizations and models are read."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from shared.domain.directory import Model, Organization, Profile, ReferenceFile, StyleGuide


class Directory(Protocol):
    """Reads records, which may be up to a minute old. Each method returns None when there is no such record."""

    async def profile(self, user_id: str) -> Profile | None: ...
    async def organization(self, organization_id: str) -> Organization | None: ...
    async def model(self, model_id: str) -> Model | None: ...
    async def style_guide(self, style_guide_id: str) -> StyleGuide | None: ...
    async def reference_file(self, file_id: str) -> ReferenceFile | None: ...


class ModelCatalogue(Protocol):
    async def models(self) -> Sequence[Model]:
        """Returns all models, also disabled ones, ordered by id. There are few, so there are no pages."""


class UserRecords(Protocol):
    async def forget_profile(self, user_id: str) -> bool:
        """Deletes the record of the user, and returns whether there was one. A Directory may show it a minute more."""
