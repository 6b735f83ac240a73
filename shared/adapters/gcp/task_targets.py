"""Defines where Cloud Tasks sends its requests."""

from collections.abc import Mapping
from dataclasses import dataclass

from shared.domain.status import Lane


@dataclass(frozen=True, slots=True, kw_only=True)
class TaskTarget:
    """The queues of the tasks, by lane, and the function that they call.

    A queue has the form projects/{project}/locations/{location}/queues/{queue}. `url` and `audience` are those of
    recheck_run; without an audience Cloud Tasks uses the URL with its path. Cloud Tasks adds an OIDC token of
    `service_account` (an e-mail address) to each request; None sends requests without a token.
    """

    queues: Mapping[Lane, str]
    url: str
    audience: str
    service_account: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class WebhookTarget:
    """The queue of the tasks that deliver webhooks and the function that they call, as in TaskTarget."""

    queue: str
    url: str
    audience: str
    service_account: str | None
