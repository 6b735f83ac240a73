"""The `anthropic_messages` protocol: one synchronous, streamed call to Anthropic's Messages API.

https://docs.claude.com/en/api/messages
"""

from collections.abc import Mapping
from contextlib import AbstractAsyncContextManager
from typing import Any

from shared.adapters.llm.answer_stream import AnswerStream
from shared.adapters.llm.http import LlmHttpPools, unreadable
from shared.adapters.llm.messages_stream import MessagesAnswer
from shared.adapters.llm.parameters import messages_parameters
from shared.adapters.llm.protocol import LlmCall, Secrets
from shared.adapters.llm.token_limit import read_cut_off
from shared.domain.progress import Finished
from shared.domain.result import Result, read_usage
from shared.errors import LlmRefused

VERSION = "2023-06-01"


class MessagesProtocol:
    def __init__(self, pools: LlmHttpPools, *, seconds: float, secrets: Secrets) -> None:
        """`seconds` is the longest that a call may take."""
        self._pools = pools
        self._seconds = seconds
        self._secrets = secrets

    def slot(self, base_url: str) -> AbstractAsyncContextManager[bool]:
        return self._pools.of(base_url).slot()

    async def start(self, call: LlmCall, content: Mapping[str, Any], *, seconds: float) -> Finished:
        stream = AnswerStream(MessagesAnswer(), call.on_text)
        response = await self._pools.of(call.base_url).call(
            "POST",
            f"{call.base_url}/messages",
            seconds=min(self._seconds, seconds),
            headers=build_headers(call, self._secrets),
            body={**build_body(call, content), "stream": True},
            stream=stream,
        )
        return stream.measured(read_message(response.body, call.prices))


def build_headers(call: LlmCall, secrets: Secrets) -> dict[str, str]:
    """Returns the version of the API, and the key or the access token. Raises LlmRefused when the key is not set."""
    key = None if call.access_token else call.api_key(secrets)
    credentials = {"x-api-key": key} if key else call.bearer(secrets)
    return {"anthropic-version": VERSION, **credentials}


def build_body(call: LlmCall, content: Mapping[str, Any]) -> dict[str, Any]:
    """Builds the body of POST /messages."""
    system = content.get("system_message")
    return {
        "model": call.upstream_model,
        **messages_parameters(call, content),
        "messages": [{"role": "user", "content": content.get("full_input")}],
        **({"system": system} if system else {}),
    }


def read_message(body: Mapping[str, Any], prices: Mapping[str, float] | None) -> Finished:
    """Reads {content: [{type: "text", text}], stop_reason, usage: {input_tokens, output_tokens}}.

    Raises LlmRefused when the model declined to answer, and LlmUnavailable when there is no text to read.
    """
    if body.get("stop_reason") == "refusal":
        raise LlmRefused(may_be_billed=True)
    blocks = body.get("content")
    if not isinstance(blocks, list):
        raise unreadable()
    texts = [str(block.get("text")) for block in blocks if isinstance(block, dict) and block.get("type") == "text"]
    is_cut_off = body.get("stop_reason") in ("max_tokens", "model_context_window_exceeded")
    if not texts and not is_cut_off:
        raise unreadable()
    result = read_cut_off("".join(texts)) if is_cut_off else Result(text="".join(texts))
    return Finished(result=result, usage=read_usage(body.get("usage"), prices=prices))
