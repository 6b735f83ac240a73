"""Sends each run to its LLM. Address and protocol come from settings and the directory, never from a request."""

from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from datetime import timedelta
from typing import Any

from shared.adapters.llm.chat import ChatProtocol
from shared.adapters.llm.jobs import JobsProtocol
from shared.domain.directory import LlmApi, Model
from shared.domain.progress import Finished, JobCreated, Running
from shared.domain.run import Run
from shared.errors import LlmRefused
from shared.ports import Directory


class DirectoryLlmProvider:
    """Implements the port LlmProvider; its docstrings say what each method returns and raises."""

    def __init__(
        self, directory: Directory, *, deployments: Mapping[str, str], jobs: JobsProtocol, chat: ChatProtocol
    ) -> None:
        """`deployments` is {name of a deployment: base URL of its LLM}."""
        self._directory = directory
        self._deployments = deployments
        self._jobs = jobs
        self._chat = chat

    @asynccontextmanager
    async def slot(self, run: Run) -> AsyncIterator[bool]:
        try:
            model = await self._model(run)
            base_url = self._base_url(run, model)
        except LlmRefused:
            yield True  # `start` raises it again, and the run fails
            return
        protocol = self._chat if _is_chat(model) else self._jobs
        async with protocol.slot(base_url) as has_room:
            yield has_room

    async def start(self, run: Run, content: Mapping[str, Any], *, within: timedelta) -> JobCreated | Finished:
        model, seconds = await self._model(run), within.total_seconds()
        if model is not None and _is_chat(model):
            return await self._chat.start(self._base_url(run, model), run, content, model=model, seconds=seconds)
        organization = await self._directory.organization(run.organization_id)
        base_url = self._base_url(run, model)
        return await self._jobs.start(base_url, run, content, organization=organization, seconds=seconds)

    async def check(self, run: Run) -> Running | Finished:
        model = await self._model(run)
        return await self._jobs.check(self._base_url(run, model), run, prices=model.prices if model else None)

    async def cancel(self, run: Run) -> None:
        await self._jobs.cancel(self._base_url(run, await self._model(run)), run)

    async def _model(self, run: Run) -> Model | None:
        """Returns the run's model, also when it was disabled since the run was submitted; None for a run without one.

        Raises LlmRefused when the model was removed.
        """
        if run.model is None:
            return None
        model = await self._directory.model(run.model.id)
        if model is None:
            raise LlmRefused("The model of this run is no longer there.", code="model_unavailable")
        return model

    def _base_url(self, run: Run, model: Model | None) -> str:
        """Returns the model's own base URL, else that of the run's deployment; without a slash at its end."""
        if model is not None and model.base_url is not None:
            return model.base_url.rstrip("/")
        base_url = self._deployments.get(run.deployment or "")
        if base_url is None:
            raise LlmRefused("The deployment of this run is not set up.", code="model_unavailable")
        suffix = "/v1" if _is_chat(model) else ""
        return base_url.rstrip("/") + suffix


def _is_chat(model: Model | None) -> bool:
    return model is not None and model.api == LlmApi.OPENAI_CHAT
