"""Decides who is told of the events of a new run."""

from msgspec import Struct

from shared.domain.webhook import WebhookTarget
from shared.domain.webhook_address import read_address
from shared.errors import InvalidRequest
from shared.ports import WebhookStore


class WebhookTargets(Struct, frozen=True, kw_only=True):
    store: WebhookStore
    allowed_hosts: frozenset[str]
    """"host:port" of receivers that may be private, on one machine only."""

    async def __call__(self, organization_id: str, own: WebhookTarget | None) -> tuple[WebhookTarget, ...]:
        """Returns the organization's enabled endpoints, and `own`, the webhook that the submit names for itself.

        They are read without a cache, so that an endpoint gets the events of every run that is submitted after it was
        made. Raises InvalidRequest when `own` has a URL that no webhook may have, or when nothing can sign it.
        """
        if own is not None and own.url is not None:
            read_address(own.url, allowed_hosts=self.allowed_hosts, field="webhook")
        webhooks = await self.store.organization(organization_id)
        if own is None:
            return webhooks.targets()
        if not webhooks.secrets:
            raise InvalidRequest(
                "webhook needs a secret that signs its deliveries: a member of the group admins makes one with"
                " POST /api/webhooks/secret/",
                field="webhook",
            )
        return (*webhooks.targets(), own)
