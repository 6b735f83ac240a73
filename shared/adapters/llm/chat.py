"""The `openai_chat` protocol: one synchronous call to any OpenAI-compatible server, inside a time budget."""

from collections.abc import Callable, Mapping
from contextlib import AbstractAsyncContextManager
from typing import Any

from shared.adapters.llm.http import LlmHttp
from shared.domain.directory import Model
from shared.domain.progress import Finished
from shared.domain.result import Result, read_usage
from shared.domain.run import Run
from shared.errors import LlmRefused, LlmUnavailable


class ChatProtocol:
    def __init__(self, http: LlmHttp, *, seconds: float, secret: Callable[[str], str | None]) -> None:
        """`seconds` is the budget of a call; `secret` gives the key that a model names."""
        self._http = http
        self._seconds = seconds
        self._secret = secret

    def slot(self) -> AbstractAsyncContextManager[bool]:
        return self._http.slot()

    async def start(
        self, base_url: str, run: Run, content: Mapping[str, Any], *, model: Model, seconds: float
    ) -> Finished:
        answer = await self._http.call(
            "POST",
            f"{base_url}/chat/completions",
            seconds=min(self._seconds, seconds),
            headers={"Idempotency-Key": run.idempotency_key, **self._authorization(model)},
            body={"model": model.upstream_model, "messages": _messages(content)},
        )
        return _finished(answer.body, model.prices)

    def _authorization(self, model: Model) -> dict[str, str]:
        if model.secret is None:
            return {}
        key = self._secret(model.secret)
        if not key:
            raise LlmRefused("The key of this model is not set.", code="llm_credentials")
        return {"Authorization": f"Bearer {key}"}


def _messages(content: Mapping[str, Any]) -> list[dict[str, str]]:
    roles = (("system", content.get("system_message")), ("user", content.get("full_input")))
    return [{"role": role, "content": text} for role, text in roles if text]


def _finished(body: Mapping[str, Any], prices: Mapping[str, float] | None) -> Finished:
    try:
        choice = body["choices"][0]
        text, reason = choice["message"]["content"], choice.get("finish_reason")
    except (KeyError, IndexError, TypeError, AttributeError):
        raise LlmUnavailable("The LLM's answer could not be read.", code="llm_unreadable") from None
    if reason == "content_filter" or (text is None and choice["message"].get("refusal")):
        raise LlmRefused
    if not isinstance(text, str):
        raise LlmUnavailable("The LLM's answer could not be read.", code="llm_unreadable")
    return Finished(result=Result(text=text), usage=read_usage(body.get("usage"), prices=prices))
