"""Defines who is told of a run's events: the endpoints of organizations, their secrets, and the targets of one run."""

from collections.abc import Sequence
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Any

from msgspec import Struct

from shared.domain.event import EventType
from shared.domain.frozen import are_equal_besides, replace, repr_without
from shared.errors import InvalidRequest, WebhookNotFound

SUBMIT = "submit"
"""The endpoint id of the webhooks that submits name for themselves; their URL stands on the run."""
ENDING_EVENTS = (EventType.COMPLETED, EventType.FAILED, EventType.CANCELLED)
"""The events of a webhook that names none."""
WEBHOOK_EVENTS = (EventType.QUEUED, EventType.STARTED, EventType.PROGRESS, EventType.RETRYING, *ENDING_EVENTS)
MAX_ENDPOINTS = 10
"""Each run that an organization submits may have a delivery to each of its endpoints."""
MAX_SECRETS = 10
OLD_SECRET_SIGNS_FOR = timedelta(days=1)
DISABLED_AFTER = timedelta(days=3)
"""An endpoint that fails for this time without a success in between is disabled."""


class DisabledReason(StrEnum):
    """Why an endpoint gets nothing."""

    GONE = "gone"
    """It answered 410."""
    FAILING = "failing"
    """It failed for DISABLED_AFTER."""
    BY_ADMIN = "by_admin"
    """An administrator disabled it."""


class WebhookTarget(Struct, frozen=True, kw_only=True):
    """Names a receiver of one run's events, as it was when the run was submitted."""

    endpoint_id: str
    """The id of an Endpoint, or SUBMIT."""
    events: tuple[str, ...]
    """The wanted EventTypes."""
    url: str | None = None
    """Of SUBMIT only; that of an endpoint stands in its record."""
    recorded: int = 0
    """Owned by the store: the sequence of the latest event for which a delivery was recorded."""


class SigningSecret(Struct, frozen=True, kw_only=True):
    """A key of Standard Webhooks; it signs until `until`, or for good."""

    key: str
    until: datetime | None = None

    def __repr__(self) -> str:
        return repr_without(self, "key")


class Endpoint(Struct, frozen=True, kw_only=True):
    """A URL of an organization that gets the events of its runs. Its `url` and `events` never change."""

    id: str
    url: str
    events: tuple[str, ...]
    created_at: datetime
    secrets: tuple[SigningSecret, ...]
    """The newest first."""
    failing_since: datetime | None = None
    """When the first of the tries failed that have failed since the last success."""
    disabled_at: datetime | None = None
    disabled_reason: str | None = None
    """A DisabledReason; it stays a str so that documents of later releases can be read."""

    @property
    def enabled(self) -> bool:
        return self.disabled_at is None

    def disabled(self, now: datetime, reason: DisabledReason) -> "Endpoint":
        return self if not self.enabled else replace(self, disabled_at=now, disabled_reason=reason)

    def enabled_again(self) -> "Endpoint":
        return replace(self, disabled_at=None, disabled_reason=None, failing_since=None)

    def after_try(self, now: datetime, *, received: bool, gone: bool = False) -> "Endpoint":
        """Returns the endpoint after a try of a delivery; the same object when nothing about it has changed."""
        if received:
            return replace(self, failing_since=None) if self.failing_since else self
        if gone:
            return self.disabled(now, DisabledReason.GONE)
        if self.failing_since is None:
            return replace(self, failing_since=now)
        return self.disabled(now, DisabledReason.FAILING) if now - self.failing_since >= DISABLED_AFTER else self


class OrganizationWebhooks(Struct, frozen=True, kw_only=True):
    """All endpoints of one organization, and the secrets that sign the webhooks of its submits."""

    organization_id: str
    endpoints: tuple[Endpoint, ...] = ()
    secrets: tuple[SigningSecret, ...] = ()
    """Of SUBMIT; the newest first."""
    revision: Any = None
    """Owned by the store: the stored version that this was read from; opaque."""

    def __eq__(self, other: object) -> bool:
        return are_equal_besides(self, other, revision=None)

    def find(self, endpoint_id: str) -> Endpoint | None:
        return next((endpoint for endpoint in self.endpoints if endpoint.id == endpoint_id), None)

    def endpoint(self, endpoint_id: str) -> Endpoint:
        """Returns the endpoint. Raises WebhookNotFound."""
        found = self.find(endpoint_id)
        if found is None:
            raise WebhookNotFound
        return found

    def with_new(self, endpoint: Endpoint) -> "OrganizationWebhooks":
        """Adds the endpoint, or nothing when it is there. Raises InvalidRequest when there are too many."""
        if self.find(endpoint.id) is not None:
            return self
        if len(self.endpoints) >= MAX_ENDPOINTS:
            raise InvalidRequest(f"Your organization has {MAX_ENDPOINTS} webhooks, as many as it may; delete one.")
        return replace(self, endpoints=(*self.endpoints, endpoint))

    def with_changed(self, changed: Endpoint) -> "OrganizationWebhooks":
        """Replaces the endpoint of the same id, if it is still there."""
        return replace(self, endpoints=tuple(changed if one.id == changed.id else one for one in self.endpoints))

    def without(self, endpoint_id: str) -> "OrganizationWebhooks":
        """Removes the endpoint. Raises WebhookNotFound."""
        removed = self.endpoint(endpoint_id)
        return replace(self, endpoints=tuple(one for one in self.endpoints if one is not removed))

    def targets(self) -> tuple[WebhookTarget, ...]:
        """Returns the enabled endpoints as targets of a new run."""
        wanted = [endpoint for endpoint in self.endpoints if endpoint.enabled]
        return tuple(WebhookTarget(endpoint_id=endpoint.id, events=endpoint.events) for endpoint in wanted)


def rotated(secrets: Sequence[SigningSecret], key: str, now: datetime) -> tuple[SigningSecret, ...]:
    """Returns the secrets with a new first one; each older one signs for a day more. A repeat changes nothing.

    Of more than MAX_SECRETS the oldest ones sign no longer, so that the header of the signatures stays short.
    """
    if secrets and secrets[0].key == key:
        return tuple(secrets)
    old = [replace(one, until=one.until or now + OLD_SECRET_SIGNS_FOR) for one in secrets]
    kept = [one for one in old if one.until is not None and one.until > now]
    return (SigningSecret(key=key), *kept)[:MAX_SECRETS]


def signing_keys(secrets: Sequence[SigningSecret], now: datetime) -> tuple[str, ...]:
    """Returns the keys that sign at this time, the newest first."""
    return tuple(one.key for one in secrets if one.until is None or one.until > now)
