"""Builds the JSON objects of webhooks: what administrators see, and the body of a delivery."""

import json
from collections.abc import Mapping
from datetime import datetime
from typing import Any

from shared.domain.run import Run
from shared.domain.views import run_object, timestamp, urls
from shared.domain.webhook import Endpoint
from shared.domain.webhook_delivery import Delivery

MAX_BODY_BYTES = 256 * 1024
_RESULTS = ("result", "result_data")


def endpoint_object(endpoint: Endpoint) -> dict[str, Any]:
    """Returns what administrators see of an endpoint, which is never its secret."""
    return {
        "id": endpoint.id,
        "url": endpoint.url,
        "events": list(endpoint.events),
        "enabled": endpoint.enabled,
        "created_at": timestamp(endpoint.created_at),
        "failing_since": timestamp(endpoint.failing_since),
        "disabled_at": timestamp(endpoint.disabled_at),
        "disabled_reason": endpoint.disabled_reason,
    }


def delivery_object(delivery: Delivery) -> dict[str, Any]:
    """Returns what administrators see of a delivery; `last_seconds` is how long the latest try took."""
    return {
        "id": delivery.id,
        "run_uuid": delivery.run_id,
        "type": delivery.type,
        "at": timestamp(delivery.at),
        "status": delivery.status,
        "tries": delivery.tries,
        "next_at": timestamp(delivery.due_at),
        "last_code": delivery.last_code,
        "last_error": delivery.last_error,
        "last_try_at": timestamp(delivery.last_try_at),
        "last_seconds": delivery.last_seconds,
    }


def run_body(delivery: Delivery, run: Run, content: Mapping[str, Any]) -> str:
    """Returns the body with the run as its status route shows it now; `content` is the run's input.

    Above MAX_BODY_BYTES the result is replaced by `url`, the path of that route.
    """
    data = run_object(run, content)
    body = _body(delivery.type, delivery.at, data)
    if not run.lacks_result and len(body.encode()) <= MAX_BODY_BYTES:
        return body
    without_result = {name: value for name, value in data.items() if name not in _RESULTS}
    return _body(delivery.type, delivery.at, {**without_result, "url": urls(run)["self"]})


def trial_body(delivery: Delivery) -> str:
    """Returns the body of a test."""
    return _body(delivery.type, delivery.at, {"webhook_id": delivery.endpoint_id})


def _body(kind: str, at: datetime, data: Mapping[str, Any]) -> str:
    body = {"type": kind, "timestamp": timestamp(at), "data": data}
    return json.dumps(body, ensure_ascii=False, separators=(",", ":"))
