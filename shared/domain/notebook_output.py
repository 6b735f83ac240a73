"""Renders one output of a notebook's code cell as text: truncated when it is long, images by type and size only."""

import json
import re
from collections.abc import Mapping
from typing import Any

from shared.domain.notebook_text import (
    describe_data,
    invalid_notebook,
    join_lines,
    replace_data_uris,
    strip_terminal_codes,
)

MAX_OUTPUT_LENGTH = 2000
TEXT_TYPES = ("text/plain", "text/markdown", "text/latex", "text/html")
"""A display output has the same content in several types; the first of these types that it has is shown."""
JSON_TYPE = "application/json"
COLAB_TABLE_TYPE = "application/vnd.google.colaboratory.intrinsic+json"
"""Colab adds this type to tables for its own interactive view; it repeats what the text types say."""
_OBJECT_REPR = re.compile(r"<IPython\.core\.display\.\w+ object>")
"""The plain text of an output that has its content in another type."""


def render_output(output: Any, location: str) -> str:
    """Returns at most MAX_OUTPUT_LENGTH characters of content and as many of types and sizes, each with a mark if cut.

    `output` is one entry of a cell's `outputs` in nbformat 4. `location` names it in errors, such as "notebook cell 2,
    output 1". Raises InvalidRequest for anything else.
    """
    if not isinstance(output, dict):
        raise invalid_notebook(location, "is not an object")
    match output.get("output_type"):
        case "stream":
            return _truncate(strip_terminal_codes(join_lines(output.get("text"), f"{location} text")))
        case "error":
            return _truncate(_render_error(output, location))
        case "display_data" | "execute_result":
            return _render_display(output.get("data"), location)
    raise invalid_notebook(location, "is not a stream, display_data, execute_result or error")


def _render_error(output: Mapping[str, Any], location: str) -> str:
    """Renders {ename, evalue, traceback: [line]}. Name and message come first, because a long traceback is cut."""
    name, message, traceback = (output.get(field) for field in ("ename", "evalue", "traceback"))
    if not isinstance(name, str) or not isinstance(message, str):
        raise invalid_notebook(location, "has an ename or evalue that is not a string")
    if not isinstance(traceback, list) or not all(isinstance(line, str) for line in traceback):
        raise invalid_notebook(location, "has a traceback that is not a list of strings")
    return strip_terminal_codes("\n".join([f"{name}: {message}", *traceback]))


def _render_display(data: Any, location: str) -> str:
    """Renders {MIME type: content}: the most readable text type, JSON, then type and size of everything else."""
    if not isinstance(data, dict):
        raise invalid_notebook(location, "has data that is not an object")
    shown_as_text = (*TEXT_TYPES, JSON_TYPE, COLAB_TABLE_TYPE)
    descriptions = [describe_data(kind, data[kind], location) for kind in data if kind not in shown_as_text]
    texts = [strip_terminal_codes(join_lines(data[kind], f"{location} {kind}")) for kind in TEXT_TYPES if kind in data]
    content = [next((text for text in texts if not _OBJECT_REPR.fullmatch(text)), "")]
    if JSON_TYPE in data:
        content.append(replace_data_uris(json.dumps(data[JSON_TYPE], ensure_ascii=False)))
    return "\n".join(filter(None, [_truncate("\n".join(filter(None, content))), _truncate("\n".join(descriptions))]))


def _truncate(text: str) -> str:
    if len(text) <= MAX_OUTPUT_LENGTH:
        return text
    return f"{text[:MAX_OUTPUT_LENGTH]}\n[… output cut: {len(text) - MAX_OUTPUT_LENGTH:,} more characters …]"
