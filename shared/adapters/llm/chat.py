"""The `openai_chat` protocol: one synchronous call to any OpenAI-compatible server, inside a time budget.

The answer is streamed. Servers that ignore the wish for a stream, or refuse it, answer with one body.
"""

import time
from collections.abc import Mapping
from contextlib import AbstractAsyncContextManager
from enum import Enum
from typing import Any

from shared.adapters.llm.answer_stream import AnswerStream, StreamRefused
from shared.adapters.llm.chat_stream import ChatAnswer
from shared.adapters.llm.http import LlmHttpPools, unreadable
from shared.adapters.llm.parameters import chat_parameters
from shared.adapters.llm.protocol import LlmCall, Secrets
from shared.adapters.llm.token_limit import read_cut_off, too_long_an_answer
from shared.adapters.llm.vendor_errors import is_content_filter
from shared.domain.progress import Finished
from shared.domain.result import Result, read_usage
from shared.errors import LlmRefused


class Form(Enum):
    """The parameters that ask for a form of the answer."""

    STREAM_WITH_USAGE = {"stream": True, "stream_options": {"include_usage": True}}
    STREAM = {"stream": True}
    ONE_BODY: dict[str, Any] = {}  # type: ignore[misc]


class ChatProtocol:
    def __init__(self, pools: LlmHttpPools, *, seconds: float, secrets: Secrets) -> None:
        """`seconds` is the longest that a call may take."""
        self._pools = pools
        self._seconds = seconds
        self._secrets = secrets
        self._forms: dict[tuple[str, str | None], Form] = {}
        """{(base URL, model): the form in which the server has answered}"""

    def slot(self, base_url: str) -> AbstractAsyncContextManager[bool]:
        return self._pools.of(base_url).slot()

    async def start(self, call: LlmCall, content: Mapping[str, Any], *, seconds: float) -> Finished:
        """Asks for another form when the server refuses one; a refusal costs nothing."""
        deadline = time.monotonic() + min(self._seconds, seconds)
        server = (call.base_url, call.upstream_model)
        form = self._forms.get(server, Form.STREAM_WITH_USAGE)
        while True:
            try:
                finished = await self._call(call, content, form, seconds=deadline - time.monotonic())
            except StreamRefused as refusal:
                has_options = form is Form.STREAM_WITH_USAGE
                form = Form.STREAM if has_options and refusal.only_options else Form.ONE_BODY
                continue
            self._forms[server] = form
            return finished

    async def _call(self, call: LlmCall, content: Mapping[str, Any], form: Form, *, seconds: float) -> Finished:
        stream = None if form is Form.ONE_BODY else AnswerStream(ChatAnswer(), call.on_text)
        response = await self._pools.of(call.base_url).call(
            "POST",
            f"{call.base_url}/chat/completions",
            seconds=seconds,
            headers={"Idempotency-Key": call.run.idempotency_key, **call.bearer(self._secrets)},
            body={
                "model": call.upstream_model,
                "messages": _build_messages(content),
                **chat_parameters(call, content),
                **form.value,
            },
            stream=stream,
        )
        finished = _read_completion(response.body, call.prices)
        return finished if stream is None else stream.measured(finished)


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
    if text is None and finish_reason == "length":
        raise too_long_an_answer()
    if not isinstance(text, str):
        raise unreadable()
    result = read_cut_off(text) if finish_reason == "length" else Result(text=text)
    return Finished(result=result, usage=read_usage(body.get("usage"), prices=prices))
