"""Streams the responses of the simulated LLM as OpenAI does, also those in the background, from any event on.

https://platform.openai.com/docs/api-reference/responses-streaming
https://platform.openai.com/docs/guides/background#streaming-a-background-response
"""

import asyncio
import json
from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from typing import Any

from starlette.responses import Response, StreamingResponse

from infra.local.simulated_streams import words_of

POLL_SECONDS = 0.02
_ITEM = {"id": "msg_1", "type": "message", "role": "assistant", "status": "in_progress", "content": []}
_PLACE: Mapping[str, Any] = {"item_id": "msg_1", "output_index": 0, "content_index": 0}


def stream_response(
    text: str, response: Callable[[], Mapping[str, Any]], progress: Callable[[], float | None], *, starting_after: int
) -> Response:
    """Streams a response whose answer is `text`; `response` builds the object as it is now.

    `progress` returns the share of the answer that is written, from 0 to 1, and None once the response has ended.
    Events up to the sequence number `starting_after` are left out.
    """
    return StreamingResponse(
        _numbered(_bodies(text, response, progress), starting_after), media_type="text/event-stream"
    )


async def _numbered(bodies: AsyncIterator[dict[str, Any]], starting_after: int) -> AsyncIterator[str]:
    number = 0
    async for body in bodies:
        if number > starting_after:
            yield f"event: {body['type']}\ndata: {json.dumps({**body, 'sequence_number': number})}\n\n"
        number += 1


async def _bodies(
    text: str, response: Callable[[], Mapping[str, Any]], progress: Callable[[], float | None]
) -> AsyncIterator[dict[str, Any]]:
    words, sent = words_of(text), 0
    begun = {**response(), "status": "in_progress", "output": [], "usage": None, "error": None}
    yield {"type": "response.created", "response": begun}
    yield {"type": "response.in_progress", "response": begun}
    yield {"type": "response.output_item.added", "output_index": 0, "item": _ITEM}
    part = {"type": "output_text", "text": "", "annotations": []}
    yield {"type": "response.content_part.added", **_PLACE, "part": part}
    while (share := progress()) is not None:
        for word in words[sent : int(share * len(words))]:
            sent += 1
            yield {"type": "response.output_text.delta", **_PLACE, "delta": word, "logprobs": []}
        await asyncio.sleep(POLL_SECONDS)
    ended = response()
    if ended["output"]:
        for word in words[sent:]:
            yield {"type": "response.output_text.delta", **_PLACE, "delta": word, "logprobs": []}
        for body in _endings(ended["output"][0]):
            yield body
    yield {"type": f"response.{ended['status']}", "response": ended}


def _endings(item: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    [part] = item["content"]
    if part["type"] == "output_text":
        yield {"type": "response.output_text.done", **_PLACE, "text": part["text"], "logprobs": []}
    yield {"type": "response.content_part.done", **_PLACE, "part": part}
    yield {"type": "response.output_item.done", "output_index": 0, "item": item}
