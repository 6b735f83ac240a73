"""Answers with JSON, which msgspec writes several times as fast as the standard library."""

from typing import Any

from starlette.responses import JSONResponse

from shared.domain.json_text import to_bytes


class JsonResponse(JSONResponse):
    def render(self, content: Any) -> bytes:
        return to_bytes(content)
