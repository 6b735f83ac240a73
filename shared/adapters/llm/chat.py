"""The `openai_chat` protocol: one synchronous call to any OpenAI-compatible server, inside a time budget."""

from collections.abc import Mapping
from contextlib import AbstractAsyncContextManager
from typing import Any

from shared.adapters.llm.http import LlmHttpPools, unreadable
from shared.adapters.llm.parameters import chat_parameters
from shared.adapters.llm.protocol import LlmCall, Secrets
from shared.adapters.llm.vendor_errors import is_content_filter
from shared.domain.progress import Finished
from shared.domain.result import Result, read_usage
from shared.errors import LlmRefused


class ChatProtocol:
    def __init__(self, pools: LlmHttpPools, *, seconds: float, secrets: Secrets) -> None:
        """`seconds` is the longest that a call may take."""
        self._pools = pools
        self._seconds = seconds
        self._secrets = secrets

    def slot(self, base_url: str) -> AbstractAsyncContextManager[bool]:
        return self._pools.of(base_url).slot()

    async def start(self, call: LlmCall, content: Mapping[str, Any], *, seconds: float) -> Finished:
        response = await self._pools.of(call.base_url).call(
            "POST",
            f"{call.base_url}/chat/completions",
            seconds=min(self._seconds, seconds),
            headers={"Idempotency-Key": call.run.idempotency_key, **call.bearer(self._secrets)},
            body={
                "model": call.upstream_model,
                "messages": _build_messages(content),
                **chat_parameters(call, content),
            },
        )
        return _read_completion(response.body, call.prices)


def _build_messages(content: Mapping[str, Any]) -> list[dict[str, str]]:
    texts = (("system", content.get("system_message")), ("user", content.get("full_input")))
    return [{"role": role, "content": text} for role, text in texts if text]


def _read_completion(body: Mapping[str, Any], prices: Mapping[str, float] | None) -> Finished:
    """Reads OpenAI's {choices: [{message: {content, refusal?}, finish_reason}], usage}; `prices` as in Model.prices.

    Raises LlmRefused when the model declined to answer, and LlmUnavailable when there is no text to read.
    """
    try:
        choice = body["choices"][0]
        text, finish_reason = choice["message"]["content"], choice.get("finish_reason")
    except (KeyError, IndexError, TypeError, AttributeError):
        raise unreadable() from None
    if is_content_filter(finish_reason) or (text is None and choice["message"].get("refusal")):
        raise LlmRefused(may_be_billed=True)
    if not isinstance(text, str):
        raise unreadable()
    return Finished(result=Result(text=text), usage=read_usage(body.get("usage"), prices=prices))
