"""The strings inside a notebook: lines joined, colours taken out, and what is no text replaced by its name and size."""

import json
import re
from typing import Any

from shared.errors import InvalidRequest

_KIND = re.compile(r"[\w.+-]{1,127}/[\w.+-]{1,127}", re.ASCII)
_TEXTUAL = re.compile(r"text/.*|.*[/+](?:json|xml|javascript)", re.ASCII)
_ESCAPE = re.compile(r"\x1b(?:\[[0-?]*[ -/]*[@-~]|\][^\x07\x1b\n]*(?:\x07|\x1b\\)?|[ -/]*[0-~]?)")
"""Colours, cursor movements and links of a terminal (ECMA-48, and xterm's links)."""
_DATA_URI = re.compile(
    r"data:(?P<kind>[\w.+-]{1,127}/[\w.+-]{1,127})?(?:;[\w.+-]{1,127}=[\w.+-]{1,127}){0,8};base64,"
    r"(?P<content>\s{0,8}(?:[A-Za-z0-9+/]{76}\r?\n)*[A-Za-z0-9+/_%-]+={0,2})",
    re.ASCII | re.IGNORECASE,
)
"""On one line, or in lines of 76 as Python's base64.encodebytes makes them."""


def refused(where: str, reason: str) -> InvalidRequest:
    return InvalidRequest(f"{where} {reason}", field="notebook")


def joined(text: Any, where: str) -> str:
    """nbformat writes text as one string or as a list of lines. Raises InvalidRequest."""
    if isinstance(text, str):
        return text
    if isinstance(text, list) and all(isinstance(line, str) for line in text):
        return "".join(text)
    raise refused(where, "is neither a string nor a list of strings")


def plain_terminal(text: str) -> str:
    """As a terminal shows it in the end: no escape sequences, of a line that was written over only the last writing."""
    lines = _ESCAPE.sub("", text).split("\n")
    return without_data_uris("\n".join(line.rstrip("\r").rpartition("\r")[2] for line in lines))


def without_data_uris(text: str) -> str:
    return _DATA_URI.sub(lambda found: _name(found["kind"] or "text/plain", _decoded_size(found["content"])), text)


def named(kind: str, content: Any, where: str) -> str:
    """`[image/png, 12 kB]` for a piece of data of that type. Raises InvalidRequest."""
    if not _KIND.fullmatch(kind):
        raise refused(where, "has data of a type that is no MIME type")
    if kind.endswith(("/json", "+json")):
        return _name(kind, len(json.dumps(content, ensure_ascii=False)))
    text = joined(content, f"{where} {kind}")
    return _name(kind, len(text) if _TEXTUAL.fullmatch(kind) else _decoded_size(text))


def _name(kind: str, size: int) -> str:
    shown = f"{size} bytes" if size < 1000 else f"{size / 1e3:.0f} kB" if size < 1e6 else f"{size / 1e6:.1f} MB"
    return f"[{kind.lower()}, {shown}]"


def _decoded_size(base64: str) -> int:
    return len("".join(base64.split()).rstrip("=")) * 3 // 4
