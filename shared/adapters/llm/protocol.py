"""Defines what a protocol implements: one way to call an LLM. The provider chooses it by the model's `api`."""

from collections.abc import Callable, Mapping
from contextlib import AbstractAsyncContextManager
from typing import Any, Protocol

from msgspec import Struct

from shared import log
from shared.domain.directory import Model, Organization
from shared.domain.frozen import repr_without
from shared.domain.progress import Finished, JobCreated, OnText, Running
from shared.domain.run import Run
from shared.domain.run_prices import prices_of
from shared.error_codes import ErrorCode
from shared.errors import ConfigurationError, LlmRefused

Secrets = Callable[[str], str | None]
"""Returns the API key of a name, or None when it is not set."""


class LlmCall(Struct, frozen=True, kw_only=True):
    """Says where a run is sent: `base_url` has no slash at its end. Runs of A and B have no model."""

    run: Run
    base_url: str
    model: Model | None = None
    organization: Organization | None = None
    access_token: str | None = None
    """A Google access token for a model with `auth: google`."""
    on_text: OnText | None = None
    """Gets new text while the LLM writes its answer."""

    def __repr__(self) -> str:
        return repr_without(self, "access_token")

    @property
    def prices(self) -> Mapping[str, float] | None:
        """Returns the run's price list, None when there is none or when it cannot be read any more."""
        try:
            return prices_of(self.run, self.organization, self.model)
        except ConfigurationError:
            log.warning("prices not readable", run_id=self.run.id)
            return None

    @property
    def upstream_model(self) -> str | None:
        """Returns the model's name at its vendor."""
        return self.model.upstream_model if self.model else None

    def api_key(self, secrets: Secrets) -> str | None:
        """Returns the model's API key, None when it needs none. Raises LlmRefused when the key is not set."""
        if self.model is None or self.model.secret is None:
            return None
        key = secrets(self.model.secret)
        if not key:
            raise LlmRefused("The key of this model is not set.", code=ErrorCode.LLM_CREDENTIALS)
        return key

    def bearer(self, secrets: Secrets) -> dict[str, str]:
        """Returns the header with which OpenAI and compatible servers take the key; {} for a model without a key.

        A Google access token takes the key's place.
        """
        key = self.access_token or self.api_key(secrets)
        return {"Authorization": f"Bearer {key}"} if key else {}


class SynchronousProtocol(Protocol):
    """Returns the answer from the call that sends the run."""

    def slot(self, base_url: str) -> AbstractAsyncContextManager[bool]:
        """Reserves a place for one call that starts a run; see LlmHttp.slot."""

    async def start(self, call: LlmCall, content: Mapping[str, Any], *, seconds: float) -> JobCreated | Finished:
        """Sends `content`, {text} or {system_message?, full_input}, within `seconds`.

        Raises LlmUnavailable or LlmRefused.
        """


class AsynchronousProtocol(SynchronousProtocol, Protocol):
    """Creates a provider job, about which the LLM is asked later."""

    async def check(self, call: LlmCall) -> Running | Finished:
        """Asks about `call.run.provider_job_id`.

        Raises LlmUnavailable when a later check or a new attempt may succeed, LlmRefused when the job failed for good.
        """

    async def cancel(self, call: LlmCall) -> None:
        """Asks the LLM to stop `call.run.provider_job_id`. Raises LlmUnavailable or LlmRefused."""
