"""Streams the answers of the simulated LLM as OpenAI and Anthropic do, word by word over the duration of the call.

Markers of the prompt act amid the answer: `[[garbage]]` sends what is no JSON, `[[fail-midway]]` an error event, and
`[[break]]` ends the stream there. `[[never]]` begins a stream and sends no text.

https://platform.openai.com/docs/api-reference/chat-streaming
https://platform.claude.com/docs/en/build-with-claude/streaming
"""

import asyncio
import json
import re
from collections.abc import AsyncIterator, Mapping, Sequence
from typing import Any

from starlette.responses import Response, StreamingResponse

GARBAGE = "data: <html>502 bad luck</html>\n\n"
CHAT_ERROR = {"error": {"message": "The server had an error", "type": "server_error", "param": None, "code": None}}
"""https://github.com/sashabaranov/go-openai/pull/396"""
MESSAGES_ERROR = {"type": "error", "error": {"type": "overloaded_error", "message": "Overloaded"}}
MAX_PAUSE_SECONDS = 86400.0


def stream_completion(completion: Mapping[str, Any], prompt: str, *, seconds: float, options: Any) -> Response:
    """Streams OpenAI's chat completion; `options`, {include_usage: true}, adds a chunk with the usage and no choice."""
    with_usage = bool((options or {}).get("include_usage"))
    [choice] = completion["choices"]
    common = {"id": "chatcmpl-1", "object": "chat.completion.chunk", "created": 1, "model": completion["model"]}
    deltas = [
        {"role": "assistant", "content": ""},
        *({"content": word} for word in words_of(choice["message"]["content"])),
    ]
    choices = [{"index": 0, "delta": delta, "finish_reason": None} for delta in deltas]
    choices.append({"index": 0, "delta": {}, "finish_reason": choice["finish_reason"]})
    events = [_data({**common, "choices": [one], **({"usage": None} if with_usage else {})}) for one in choices]
    if with_usage:
        events.append(_data({**common, "choices": [], "usage": completion["usage"]}))
    [opening, *others], done = events, "data: [DONE]\n\n"
    return _stream(opening, [*others, done], prompt, seconds=seconds, error=_data(CHAT_ERROR) + done)


def stream_message(message: Mapping[str, Any], prompt: str, *, seconds: float) -> Response:
    """Streams Anthropic's message; the number of its tokens comes near its end."""
    usage = message["usage"]
    start = {**message, "content": [], "stop_reason": None, "usage": {**usage, "output_tokens": 1}}
    bodies: list[dict[str, Any]] = [{"type": "message_start", "message": start}, {"type": "ping"}]
    for index, block in enumerate(message["content"]):
        deltas = [{"type": "text_delta", "text": word} for word in words_of(block["text"])]
        bodies += [
            {"type": "content_block_start", "index": index, "content_block": {"type": "text", "text": ""}},
            *({"type": "content_block_delta", "index": index, "delta": delta} for delta in deltas),
            {"type": "content_block_stop", "index": index},
        ]
    end = {"stop_reason": message["stop_reason"], "stop_sequence": None}
    bodies.append({"type": "message_delta", "delta": end, "usage": {"output_tokens": usage["output_tokens"]}})
    events = [_event(body) for body in (*bodies, {"type": "message_stop"})]
    return _stream("".join(events[:3]), events[3:], prompt, seconds=seconds, error=_event(MESSAGES_ERROR))


def _stream(opening: str, events: Sequence[str], prompt: str, *, seconds: float, error: str) -> Response:
    """Sends `opening` at once and the events within `seconds`; `error` is how the vendor reports one midway."""
    body = _paced(opening, events, prompt, seconds=seconds, error=error)
    return StreamingResponse(body, media_type="text/event-stream")


async def _paced(opening: str, events: Sequence[str], prompt: str, *, seconds: float, error: str) -> AsyncIterator[str]:
    yield opening
    for number, event in enumerate(events):
        await asyncio.sleep(min(seconds / len(events), MAX_PAUSE_SECONDS))
        yield event
        if number != len(events) // 2:
            continue
        if "[[garbage]]" in prompt:
            yield GARBAGE
        if "[[fail-midway]]" in prompt:
            yield error
        if "[[fail-midway]]" in prompt or "[[break]]" in prompt:
            return


def words_of(text: str) -> list[str]:
    """Splits a text into words with the spaces before them; together they are the text."""
    return re.findall(r"\s*\S+|\s+$", text)


def _data(body: Mapping[str, Any]) -> str:
    return f"data: {json.dumps(body)}\n\n"


def _event(body: Mapping[str, Any]) -> str:
    return f"event: {body['type']}\n{_data(body)}"
