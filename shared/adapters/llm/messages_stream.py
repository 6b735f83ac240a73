"""Reads streamed messages.

https://platform.claude.com/docs/en/build-with-claude/streaming
"""

from collections.abc import Mapping
from typing import Any

from shared.adapters.llm.streamed_answer import StreamedAnswer, raise_error

_STATUS_OF_ERRORS: Mapping[str, int] = {
    "invalid_request_error": 400,
    "authentication_error": 401,
    "billing_error": 402,
    "permission_error": 403,
    "not_found_error": 404,
    "request_too_large": 413,
    "rate_limit_error": 429,
    "api_error": 500,
    "timeout_error": 504,
    "overloaded_error": 529,
}
"""https://platform.claude.com/docs/en/api/errors"""


class MessagesAnswer(StreamedAnswer):
    """Builds the message {…, content: [{type: "text", text}], stop_reason, usage}. Unknown events are ignored."""

    def __init__(self) -> None:
        super().__init__()
        self._message: dict[str, Any] = {}
        self._blocks: dict[int, dict[str, Any]] = {}
        self._usage: dict[str, Any] = {}

    def take_event(self, event: Mapping[str, Any]) -> str:
        match event["type"]:
            case "message_start":
                self._message = dict(event["message"])
                self._add_usage(self._message.get("usage"))
            case "content_block_start":
                self._blocks[event["index"]] = dict(event["content_block"])
                return self._text_of(event["content_block"])
            case "content_block_delta":
                return self._take_delta(event["index"], event["delta"])
            case "message_delta":
                self._message.update(event["delta"])
                self._add_usage(event.get("usage"))
                self.has_whole_text = self._message.get("stop_reason") is not None
            case "message_stop":
                self.is_complete = self.has_whole_text = True
            case "error":
                raise_error(_STATUS_OF_ERRORS.get(event["error"]["type"], 500), event)
        return ""

    def _take_delta(self, index: int, delta: Mapping[str, Any]) -> str:
        """Appends the text of a delta. Deltas of other kinds, such as thinking, are no part of the answer."""
        text = self._text_of({**delta, "type": delta["type"].removesuffix("_delta")})
        if text:
            block = self._blocks[index]
            block["text"] = block.get("text", "") + text
        return text

    def _text_of(self, block: Mapping[str, Any]) -> str:
        text = block.get("text") if block["type"] == "text" else None
        return text if isinstance(text, str) else ""

    def _add_usage(self, usage: Mapping[str, Any] | None) -> None:
        """Replaces the counts that come again: those of a message_delta are cumulative."""
        self._usage.update({name: count for name, count in (usage or {}).items() if count is not None})

    def body(self) -> Mapping[str, Any]:
        blocks = [self._blocks[index] for index in sorted(self._blocks)]
        return {**self._message, "content": blocks, "usage": self._usage}
