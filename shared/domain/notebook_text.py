"""Turns the strings inside a notebook into plain text and replaces binary data by its type and size."""

import json
import re
from typing import Any

from shared.errors import InvalidRequest

_MIME_TYPE = re.compile(r"[\w.+-]{1,127}/[\w.+-]{1,127}", re.ASCII)
_TEXT_MIME_TYPE = re.compile(r"text/.*|.*[/+](?:json|xml|javascript)", re.ASCII)
_ESCAPE_SEQUENCE = re.compile(r"\x1b(?:\[[0-?]*[ -/]*[@-~]|\][^\x07\x1b\n]*(?:\x07|\x1b\\)?|[ -/]*[0-~]?)")
"""Colours and cursor movements of a terminal (ECMA-48), and xterm's links."""
_DATA_URI = re.compile(
    r"data:(?P<mime_type>[\w.+-]{1,127}/[\w.+-]{1,127})?(?:;[\w.+-]{1,127}=[\w.+-]{1,127}){0,8};base64,"
    r"(?P<content>\s{0,8}(?:[A-Za-z0-9+/]{76}\r?\n)*[A-Za-z0-9+/_%-]+={0,2})",
    re.ASCII | re.IGNORECASE,
)
"""A base64 data URI (RFC 2397), on one line or in lines of 76 characters as Python's base64.encodebytes writes them."""


def invalid_notebook(location: str, reason: str) -> InvalidRequest:
    """Returns the error `{location} {reason}`, such as "notebook cell 2 is not an object", for the field `notebook`."""
    return InvalidRequest(f"{location} {reason}", field="notebook")


def join_lines(text: Any, location: str) -> str:
    """Returns the text that nbformat writes as one string or as a list of lines. Raises InvalidRequest for others."""
    if isinstance(text, str):
        return text
    if isinstance(text, list) and all(isinstance(line, str) for line in text):
        return "".join(text)
    raise invalid_notebook(location, "is neither a string nor a list of strings")


def strip_terminal_codes(text: str) -> str:
    """Returns the text that a terminal shows in the end: no escape sequences, and the last state of a progress bar.

    A carriage return lets the rest of a line overwrite its beginning, so only the part after the last one stays.
    """
    lines = _ESCAPE_SEQUENCE.sub("", text).split("\n")
    return replace_data_uris("\n".join(line.rstrip("\r").rpartition("\r")[2] for line in lines))


def replace_data_uris(text: str) -> str:
    """Replaces each base64 data URI by its type and size, such as `[image/png, 12 kB]`."""
    return _DATA_URI.sub(
        lambda uri: _type_and_size(uri["mime_type"] or "text/plain", _decoded_size(uri["content"])), text
    )


def describe_data(mime_type: str, content: Any, location: str) -> str:
    """Returns `[image/png, 12 kB]` for content of that type. Raises InvalidRequest for a malformed type or content.

    The content is any JSON value for a JSON type, else a string or a list of lines: base64 unless the type is text.
    """
    if not _MIME_TYPE.fullmatch(mime_type):
        raise invalid_notebook(location, "has data of a type that is no MIME type")
    if mime_type.endswith(("/json", "+json")):
        return _type_and_size(mime_type, len(json.dumps(content, ensure_ascii=False)))
    text = join_lines(content, f"{location} {mime_type}")
    return _type_and_size(mime_type, len(text) if _TEXT_MIME_TYPE.fullmatch(mime_type) else _decoded_size(text))


def _type_and_size(mime_type: str, size: int) -> str:
    shown = f"{size} bytes" if size < 1000 else f"{size / 1e3:.0f} kB" if size < 1e6 else f"{size / 1e6:.1f} MB"
    return f"[{mime_type.lower()}, {shown}]"


def _decoded_size(base64: str) -> int:
    """Returns the number of bytes that base64 text stands for, without decoding it."""
    return len("".join(base64.split()).rstrip("=")) * 3 // 4
