"""Defines where Cloud Tasks sends its requests."""

from collections.abc import Mapping

from msgspec import Struct

from shared.domain.status import Lane


class HttpTarget(Struct, frozen=True, kw_only=True):
    """One of our functions. Without an audience Cloud Tasks uses the URL with its path.

    Cloud Tasks adds an OIDC token of `service_account` (an e-mail address) to each request; None sends requests without
    a token.
    """

    url: str
    audience: str
    service_account: str | None


class TaskTarget(HttpTarget, frozen=True, kw_only=True):
    """The function recheck_run, and the queues of its tasks by lane.

    A queue has the form projects/{project}/locations/{location}/queues/{queue}.
    """

    queues: Mapping[Lane, str]


class WebhookTarget(HttpTarget, frozen=True, kw_only=True):
    """The function deliver_webhook, and the queue of its tasks."""

    queue: str
