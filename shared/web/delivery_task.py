"""Reads the requests with which Cloud Tasks calls deliver_webhook."""

from collections.abc import Mapping
from typing import Any

from starlette.requests import Request

from shared.domain.webhook_delivery import DeliveryTask
from shared.errors import MalformedMessage
from shared.web.push import json_object


async def read_delivery_task(request: Request) -> DeliveryTask:
    """Reads the body {delivery_id, turn, reason} of a task of deliver_webhook. Raises MalformedMessage."""
    body: Mapping[str, Any] = await json_object(request)
    delivery_id, turn, reason = body.get("delivery_id"), body.get("turn"), body.get("reason") or ""
    if not isinstance(delivery_id, str) or not delivery_id or "/" in delivery_id or not isinstance(turn, int):
        raise MalformedMessage("The body is no delivery of a webhook.")
    return DeliveryTask(delivery_id=delivery_id, turn=turn, reason=str(reason))
