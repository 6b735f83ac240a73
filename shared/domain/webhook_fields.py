"""Reads the fields of webhooks in requests."""

from collections.abc import Mapping
from typing import Any

from msgspec import Struct

from shared.domain.fields import Fields
from shared.domain.webhook import ENDING_EVENTS, SUBMIT, WEBHOOK_EVENTS, WebhookTarget
from shared.domain.webhook_address import MAX_URL_LENGTH
from shared.errors import InvalidRequest


class NewEndpoint(Struct, frozen=True, kw_only=True):
    """Holds what a request for a new endpoint says; its URL is not checked yet (see read_address)."""

    url: str
    events: tuple[str, ...]


def new_endpoint(body: Mapping[str, Any]) -> NewEndpoint:
    """Reads {url, events?}. Raises InvalidRequest."""
    fields = Fields(body)
    endpoint = NewEndpoint(url=fields.text("url", max_length=MAX_URL_LENGTH), events=_events(fields, "events"))
    fields.reject_unknown_fields()
    return endpoint


def optional_webhook(fields: Fields) -> WebhookTarget | None:
    """Reads the field `webhook` {url, events?} of a submit. Its URL is not checked yet. Raises InvalidRequest."""
    value = fields.optional_mapping("webhook")
    if value is None:
        return None
    inner = Fields(value)
    try:
        url = inner.text("url", max_length=MAX_URL_LENGTH)
        events = _events(inner, "events")
        inner.reject_unknown_fields()
    except InvalidRequest as error:
        raise InvalidRequest(f"webhook: {error.message}", field="webhook") from None
    return WebhookTarget(endpoint_id=SUBMIT, events=events, url=url)


def _events(fields: Fields, name: str) -> tuple[str, ...]:
    """Reads a list of EventTypes; without one, the events that end a run."""
    wanted = fields.strings(name, maximum=len(WEBHOOK_EVENTS))
    if not set(wanted) <= set(WEBHOOK_EVENTS):
        raise InvalidRequest(f"{name} must hold some of {', '.join(WEBHOOK_EVENTS)}", field=name)
    return tuple(event for event in WEBHOOK_EVENTS if event in wanted) if wanted else tuple(ENDING_EVENTS)
