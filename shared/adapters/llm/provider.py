"""Sends each run to its LLM. Address and protocol come from settings and the directory, never from a request."""

from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from datetime import timedelta
from typing import Any

from shared.adapters.llm.protocol import AsynchronousProtocol, LlmCall, SynchronousProtocol
from shared.domain.directory import LlmApi, Model, Organization
from shared.domain.frozen import replace
from shared.domain.progress import Finished, JobCreated, OnText, Running
from shared.domain.run import Run
from shared.domain.translation_prompt import is_instructed, translation_content
from shared.error_codes import ErrorCode
from shared.errors import ConfigurationError, IdentityUnavailable, LlmRefused, LlmUnavailable, StoreUnavailable
from shared.ports import Directory

GOOGLE = "google"
"""The `auth` of a model that takes access tokens of the service's own Google account, such as those of Vertex AI.

https://docs.cloud.google.com/vertex-ai/generative-ai/docs/start/openai
"""


class DirectoryLlmProvider:
    """Implements the port LlmProvider; its docstrings say what each method returns and raises."""

    def __init__(
        self,
        directory: Directory,
        *,
        deployments: Mapping[str, str],
        asynchronous: Mapping[str, AsynchronousProtocol],
        synchronous: Mapping[str, SynchronousProtocol],
        google_token: Callable[[], Awaitable[str]] | None = None,
    ) -> None:
        """`deployments` is {name of a deployment: base URL of its LLM}; the keys of protocols are LlmApi.

        `google_token` returns an access token of the service's own account, or raises IdentityUnavailable.
        """
        self._directory = directory
        self._deployments = deployments
        self._asynchronous = asynchronous
        self._protocols: Mapping[str, SynchronousProtocol] = {**synchronous, **asynchronous}
        self._google_token = google_token

    @asynccontextmanager
    async def slot(self, run: Run) -> AsyncIterator[bool]:
        try:
            call = await self._call(run)
            protocol = self._protocol(run)
        except LlmRefused:
            yield True  # `start` raises it again, and the run fails
            return
        async with protocol.slot(call.base_url) as has_room:
            yield has_room

    async def start(
        self, run: Run, content: Mapping[str, Any], *, within: timedelta, on_text: OnText | None = None
    ) -> JobCreated | Finished:
        organization = await self._directory.organization(run.organization_id)
        call = replace(await self._authorized_call(run), organization=organization)
        if not is_instructed(run):  # an instructed model writes JSON, of which the text is a part only
            call = replace(call, on_text=on_text)
        content = await self._instructed(run, content, organization)
        return await self._protocol(run).start(call, content, seconds=within.total_seconds())

    async def _instructed(
        self, run: Run, content: Mapping[str, Any], organization: Organization | None
    ) -> Mapping[str, Any]:
        """Returns the instructions for a chat model that translates; other content stays as it is.

        Style guides and reference files of other organizations count as missing.
        """
        if not is_instructed(run):
            return content
        owners = {run.organization_id, organization.parent_id if organization else None}
        guide = await self._directory.style_guide(run.style_guide) if run.style_guide else None
        files = [await self._directory.reference_file(file_id) for file_id in run.reference_file_ids]
        return translation_content(
            run,
            content["text"],
            style_guide=guide if guide and guide.organization_id in owners else None,
            references=[file for file in files if file and file.organization_id in owners],
        )

    async def check(self, run: Run) -> Running | Finished:
        call = await self._authorized_call(run)
        if run.model is None:
            call = replace(call, organization=await self._organization_if_known(run))
        return await self._asynchronous[run.api].check(call)

    async def _organization_if_known(self, run: Run) -> Organization | None:
        """Returns the record with the run's prices. Without it the check goes on, and the run's estimate counts."""
        try:
            return await self._directory.organization(run.organization_id)
        except StoreUnavailable:
            return None

    async def cancel(self, run: Run) -> None:
        await self._asynchronous[run.api].cancel(await self._authorized_call(run))

    def _protocol(self, run: Run) -> SynchronousProtocol:
        """Returns the protocol that the run's model had when the run was submitted. Raises LlmRefused."""
        protocol = self._protocols.get(run.api)
        if protocol is None:
            raise LlmRefused("The protocol of this model is not known here.", code=ErrorCode.MODEL_UNAVAILABLE)
        return protocol

    async def _authorized_call(self, run: Run) -> LlmCall:
        """Returns the call with the token that its model's `auth` asks for. Raises LlmUnavailable and LlmRefused."""
        call = await self._call(run)
        auth = call.model.auth if call.model else None
        if auth is None:
            return call
        if auth != GOOGLE or self._google_token is None:
            raise LlmRefused("The credentials of this model are not known here.", code=ErrorCode.MODEL_UNAVAILABLE)
        try:
            return replace(call, access_token=await self._google_token())
        except IdentityUnavailable as error:
            raise LlmUnavailable("There are no Google credentials now.", code=ErrorCode.LLM_CREDENTIALS) from error

    async def _call(self, run: Run) -> LlmCall:
        """Returns where the run goes, also when its model was disabled since the run was submitted.

        Raises LlmRefused when the model was removed or cannot be read, or when the deployment is not set up.
        """
        if run.model is None:
            return LlmCall(run=run, base_url=self._base_url(run, None))
        try:
            model = await self._directory.model(run.model.id)
        except ConfigurationError as error:
            message = "The record of this run's model cannot be read."
            raise LlmRefused(message, code=ErrorCode.MODEL_UNAVAILABLE) from error
        if model is None:
            raise LlmRefused("The model of this run is no longer there.", code=ErrorCode.MODEL_UNAVAILABLE)
        return LlmCall(run=run, base_url=self._base_url(run, model), model=model)

    def _base_url(self, run: Run, model: Model | None) -> str:
        base_url = find_base_url(self._deployments, model=model, deployment=run.deployment, api=run.api)
        if base_url is None:
            raise LlmRefused("The deployment of this run is not set up.", code=ErrorCode.MODEL_UNAVAILABLE)
        return base_url


def find_base_url(
    deployments: Mapping[str, str], *, model: Model | None, deployment: str | None, api: str
) -> str | None:
    """Returns the model's own base URL, else that of the deployment; without a slash at its end.

    Returns None when the deployment is not set up.
    """
    if model is not None and model.base_url is not None:
        return model.base_url.rstrip("/")
    base_url = deployments.get(deployment or "")
    if base_url is None:
        return None
    suffix = "" if api == LlmApi.LLM_JOBS else "/v1"
    return base_url.rstrip("/") + suffix
