"""Reads streamed chat completions.

https://platform.openai.com/docs/api-reference/chat-streaming
"""

from collections.abc import Mapping
from typing import Any

from shared.adapters.llm.streamed_answer import StreamedAnswer, raise_error

_STATUS_OF_ERRORS: Mapping[str, int] = {
    "invalid_request_error": 400,
    "authentication_error": 401,
    "insufficient_quota": 429,
    "rate_limit_exceeded": 429,
    "tokens": 429,
    "requests": 429,
}
"""{`type` or `code` of an error in a stream: the status with which it comes otherwise}; others are 500.

https://platform.openai.com/docs/guides/error-codes
"""


class ChatAnswer(StreamedAnswer):
    """Builds {model, choices: [{message: {content, refusal}, finish_reason}], usage}; the first choice counts."""

    def __init__(self) -> None:
        super().__init__()
        self._texts: dict[str, list[str]] = {"content": [], "refusal": []}
        self._finish_reason: Any = None
        self._usage: Any = None
        self._model: Any = None

    def take_event(self, event: Mapping[str, Any]) -> str:
        if event.get("error"):
            raise_error(_status_of(event["error"]), event)
        self._model = event.get("model") or self._model
        self._usage = event.get("usage") or self._usage
        return "".join(self._take_choice(choice) for choice in event.get("choices") or () if not choice.get("index"))

    def _take_choice(self, choice: Mapping[str, Any]) -> str:
        self._finish_reason = choice.get("finish_reason") or self._finish_reason
        self.has_whole_text = self.has_whole_text or self._finish_reason is not None
        delta = choice.get("delta") or {}
        for name, texts in self._texts.items():
            if isinstance(delta.get(name), str):
                texts.append(delta[name])
        return delta.get("content") or ""

    def body(self) -> Mapping[str, Any]:
        message = {name: "".join(texts) if texts else None for name, texts in self._texts.items()}
        choices = [{"message": message, "finish_reason": self._finish_reason}]
        return {"model": self._model, "choices": choices, "usage": self._usage}


def _status_of(error: Any) -> int:
    """Returns the HTTP status that belongs to an error; some servers send that number as its `code`."""
    code, kind = (error.get("code"), error.get("type")) if isinstance(error, dict) else (None, None)
    if isinstance(code, int) and 400 <= code < 600:
        return code
    known = [_STATUS_OF_ERRORS[name] for name in (code, kind) if isinstance(name, str) and name in _STATUS_OF_ERRORS]
    return known[0] if known else 500
