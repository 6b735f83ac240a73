"""One output of a notebook's code cell as text: what a reader sees of it, cut when long, with images named only."""

import json
import re
from collections.abc import Mapping
from typing import Any

from shared.domain.notebook_text import joined, named, plain_terminal, refused, without_data_uris

MAX_OUTPUT_LENGTH = 2000
FORMS = ("text/plain", "text/markdown", "text/latex", "text/html")
"""Of one and the same output, the one that is read best first."""
JSON = "application/json"
COLABS_OWN_HINT = "application/vnd.google.colaboratory.intrinsic+json"
_PLACEHOLDER = re.compile(r"<IPython\.core\.display\.\w+ object>")


def output_text(output: Any, where: str) -> str:
    """At most MAX_OUTPUT_LENGTH characters of it and as many of names. Raises InvalidRequest."""
    if not isinstance(output, dict):
        raise refused(where, "is not an object")
    match output.get("output_type"):
        case "stream":
            return _cut(plain_terminal(joined(output.get("text"), f"{where} text")))
        case "error":
            return _cut(_error(output, where))
        case "display_data" | "execute_result":
            return _display(output.get("data"), where)
    raise refused(where, "is not a stream, display_data, execute_result or error")


def _error(output: Mapping[str, Any], where: str) -> str:
    """What went wrong comes first, for a long traceback is cut."""
    name, value, traceback = (output.get(field) for field in ("ename", "evalue", "traceback"))
    if not isinstance(name, str) or not isinstance(value, str):
        raise refused(where, "has an ename or evalue that is not a string")
    if not isinstance(traceback, list) or not all(isinstance(line, str) for line in traceback):
        raise refused(where, "has a traceback that is not a list of strings")
    return plain_terminal("\n".join([f"{name}: {value}", *traceback]))


def _display(data: Any, where: str) -> str:
    if not isinstance(data, dict):
        raise refused(where, "has data that is not an object")
    names = [named(kind, data[kind], where) for kind in data if kind not in (*FORMS, JSON, COLABS_OWN_HINT)]
    forms = [plain_terminal(joined(data[kind], f"{where} {kind}")) for kind in FORMS if kind in data]
    texts = [next((form for form in forms if not _PLACEHOLDER.fullmatch(form)), "")]
    if JSON in data:
        texts.append(without_data_uris(json.dumps(data[JSON], ensure_ascii=False)))
    return "\n".join(filter(None, [_cut("\n".join(filter(None, texts))), _cut("\n".join(names))]))


def _cut(text: str) -> str:
    if len(text) <= MAX_OUTPUT_LENGTH:
        return text
    return f"{text[:MAX_OUTPUT_LENGTH]}\n[… output cut: {len(text) - MAX_OUTPUT_LENGTH:,} more characters …]"
