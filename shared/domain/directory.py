"""Who calls and for whom: the records that the directory holds and that only operators change."""

from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Any, TypeVar

Record = TypeVar("Record")

CHAT = "openai_chat"
JOBS = "llm_jobs"


@dataclass(frozen=True, slots=True, kw_only=True)
class Profile:
    """`users/{user_id}`; also the caller of a request."""

    user_id: str
    organization_id: str
    groups: frozenset[str] = frozenset()


@dataclass(frozen=True, slots=True, kw_only=True)
class Organization:
    """`deployment` names a region's LLM endpoint; an end client is an organization with a parent."""

    id: str
    name: str
    deployment: str
    parent_id: str | None = None
    phrase_client_id: str | None = None
    style_guide: str | None = None
    source_lang: str | None = None
    target_lang: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Model:
    """`api` is the protocol it speaks. It is reached at `base_url`, or at the deployment of that name.

    `secret` is the name of the setting that holds its key, never the key; `prices` in USD per million tokens.
    """

    id: str
    name: str
    provider: str
    api: str
    upstream_model: str
    base_url: str | None = None
    deployment: str | None = None
    secret: str | None = None
    prices: Mapping[str, float] | None = None
    enabled: bool = True


def read_profile(user_id: str, document: Mapping[str, Any]) -> Profile:
    groups = frozenset(document.get("groups", ()))
    return Profile(user_id=user_id, organization_id=document["organization_id"], groups=groups)


def read_record(kind: type[Record], record_id: str, document: Mapping[str, Any]) -> Record:
    """An Organization or a Model; fields of other releases are passed over."""
    names = {item.name for item in fields(kind)}  # type: ignore[arg-type]
    return kind(**{**{name: value for name, value in document.items() if name in names}, "id": record_id})
