"""Builds the HTTP requests to LLMs."""

import json
from collections.abc import Mapping
from typing import Any

import requests
from msgspec import Struct

from shared.error_codes import ErrorCode
from shared.errors import LlmRefused

HEADERS = {"Accept": "application/json", "Content-Type": "application/json", "User-Agent": "llm-runs"}


class Upload(Struct, frozen=True, kw_only=True):
    """A body that is sent as a form (multipart/form-data) with one file instead of JSON."""

    fields: Mapping[str, str]
    name: str
    content: bytes


def prepare_request(method: str, url: str, headers: Mapping[str, str], body: Any) -> requests.PreparedRequest:
    """Returns the request with `body` as JSON or as Upload. Raises LlmRefused when the address is not one."""
    request = requests.PreparedRequest()
    try:
        request.prepare_method(method)
        request.prepare_url(url, None)
        request.prepare_headers({**HEADERS, **headers})
        if isinstance(body, Upload):
            del request.headers["Content-Type"]  # the form's own names the boundary between its parts
            request.prepare_body(body.fields, {"file": (body.name, body.content)})
        else:
            request.prepare_body(None if body is None else json.dumps(body), None)
    except (requests.RequestException, ValueError) as error:
        raise LlmRefused("The address of the LLM is not one.", code=ErrorCode.MODEL_UNAVAILABLE) from error
    return request
