"""Builds the HTTP requests to LLMs."""

import json
import re
from collections.abc import Mapping
from functools import lru_cache
from typing import Any

import requests
from msgspec import Struct

from shared.adapters.llm.vendor_errors import SENTENCES
from shared.error_codes import ErrorCode
from shared.errors import LlmRefused, LlmUnavailable

HEADERS = {"Accept": "application/json", "Content-Type": "application/json", "User-Agent": "llm-runs"}

_PLAIN_URL = re.compile(r"(https?://[a-z0-9.-]+(?::\d+)?)(?:/[A-Za-z0-9_~-][A-Za-z0-9._~-]*)+")
"""A URL whose path `requests` leaves as it is; the group is what stands before the path."""


class Upload(Struct, frozen=True, kw_only=True):
    """A body that is sent as a form (multipart/form-data) with one file instead of JSON."""

    fields: Mapping[str, str]
    name: str
    content: bytes


def prepare_request(method: str, url: str, headers: Mapping[str, str], body: Any) -> requests.PreparedRequest:
    """Returns the request with `body` as JSON or as Upload.

    Raises LlmRefused when the address is not one, and what `_prepare_headers` raises.
    """
    request = requests.PreparedRequest()
    try:
        request.prepare_method(method)
        _prepare_url(request, url)
        _prepare_headers(request, headers)
        if isinstance(body, Upload):
            del request.headers["Content-Type"]  # the form's own names the boundary between its parts
            request.prepare_body(body.fields, {"file": (body.name, body.content)})
        else:
            request.prepare_body(None if body is None else json.dumps(body), None)
    except (requests.RequestException, ValueError) as error:
        raise LlmRefused("The address of the LLM is not one.", code=ErrorCode.MODEL_UNAVAILABLE) from error
    return request


def _prepare_headers(request: requests.PreparedRequest, headers: Mapping[str, str]) -> None:
    """Sets the headers. Raises LlmRefused, or LlmUnavailable for a GET, when a header cannot carry a key.

    Such a key has a line break or characters outside Latin-1, for example typographic quotation marks. The job that a
    GET asks about may still be at work: it is asked about again, after an operator has corrected the key.
    """
    try:
        request.prepare_headers({**HEADERS, **headers})
        for value in headers.values():
            value.encode("latin-1")
    except (requests.exceptions.InvalidHeader, UnicodeEncodeError):
        kind = LlmUnavailable if request.method == "GET" else LlmRefused
        raise kind(SENTENCES[ErrorCode.LLM_CREDENTIALS], code=ErrorCode.LLM_CREDENTIALS) from None  # it quotes the key


def _prepare_url(request: requests.PreparedRequest, url: str) -> None:
    """Does what PreparedRequest.prepare_url does, which takes most of the time of preparing, once for each server."""
    plain = _PLAIN_URL.fullmatch(url)
    if plain is not None and _is_plain_server(plain[1]):
        request.url = url
    else:
        request.prepare_url(url, None)


@lru_cache
def _is_plain_server(address: str) -> bool:
    """Returns whether `requests` leaves this scheme, host and port as they are. Raises what prepare_url raises."""
    request = requests.PreparedRequest()
    request.prepare_url(f"{address}/", None)
    return request.url == f"{address}/"
