"""Defines where Cloud Tasks sends its requests."""

from collections.abc import Mapping
from dataclasses import dataclass

from shared.domain.status import Lane


@dataclass(frozen=True, slots=True, kw_only=True)
class HttpTarget:
    """One of our functions. Without an audience Cloud Tasks uses the URL with its path.

    Cloud Tasks adds an OIDC token of `service_account` (an e-mail address) to each request; None sends requests without
    a token.
    """

    url: str
    audience: str
    service_account: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class TaskTarget(HttpTarget):
    """The function recheck_run, and the queues of its tasks by lane.

    A queue has the form projects/{project}/locations/{location}/queues/{queue}.
    """

    queues: Mapping[Lane, str]


@dataclass(frozen=True, slots=True, kw_only=True)
class WebhookTarget(HttpTarget):
    """The function deliver_webhook, and the queue of its tasks."""

    queue: str
