"""Flattens a Jupyter notebook (nbformat 4, as Colab and Jupyter save it) to the text that a model reads."""

import re
from collections.abc import Iterator, Mapping
from typing import Any

from shared.domain.fields import is_deep
from shared.domain.notebook_output import output_text
from shared.domain.notebook_text import joined, named, refused, without_data_uris

NBFORMAT = 4
CELL_TYPES = ("code", "markdown", "raw")
SAVE_AGAIN = "open it in Colab or Jupyter, save it and send that"
_LANGUAGE = re.compile(r"[\w.+#-]{1,40}", re.ASCII)


def flattened(notebook: Mapping[str, Any]) -> str:
    """Cells in order, each under its number (from 1) and type; outputs cut at 2,000 characters, images named only.

    Raises InvalidRequest, which names the cell and what is wrong with it.
    """
    cells = _cells(notebook)
    language = _language(_mapping(notebook.get("metadata"), "notebook metadata"))
    texts = [_cell(cell, number, language) for number, cell in enumerate(cells, start=1)]
    if not any(_has_content(cell) for cell in cells):
        raise refused("notebook", "has nothing in its cells")
    return "\n\n".join(texts)


def _cells(notebook: Mapping[str, Any]) -> list[Any]:
    if is_deep(notebook):
        raise refused("notebook", "is nested too deeply")
    version = notebook.get("nbformat")
    if isinstance(version, bool) or not isinstance(version, int):
        raise refused("notebook", "has no nbformat number; send the .ipynb file's JSON as Colab or Jupyter saved it")
    if version < NBFORMAT or "worksheets" in notebook:
        raise refused("notebook", f"is of an older format than nbformat {NBFORMAT}; {SAVE_AGAIN}")
    if version > NBFORMAT:
        raise refused("notebook", f"is of a newer format than nbformat {NBFORMAT}; save it as nbformat {NBFORMAT}")
    cells = notebook.get("cells")
    if not isinstance(cells, list):
        raise refused("notebook", "has no list of cells; send the .ipynb file's JSON as Colab or Jupyter saved it")
    if not cells:
        raise refused("notebook", "has no cells")
    return cells


def _cell(cell: Any, number: int, language: str | None) -> str:
    where = f"notebook cell {number}"
    if not isinstance(cell, dict):
        raise refused(where, "is not an object")
    kind = cell.get("cell_type")
    if kind not in CELL_TYPES:
        raise refused(where, "is not a code, markdown or raw cell")
    metadata = _mapping(cell.get("metadata"), f"{where} metadata")
    source = without_data_uris(joined(cell.get("source"), f"{where} source"))
    if kind != "code":
        return "\n".join([f"## Cell {number} ({kind})", source, *_attachments(cell, where)])
    marks = [kind, _language(metadata) or language, _execution(cell, where)]
    heading = f"## Cell {number} ({', '.join(mark for mark in marks if mark)})"
    return "\n".join([heading, source, *_outputs(cell, where)])


def _outputs(cell: Mapping[str, Any], where: str) -> Iterator[str]:
    outputs = cell.get("outputs", [])
    if not isinstance(outputs, list):
        raise refused(where, "has outputs that are not a list")
    for number, output in enumerate(outputs, start=1):
        if text := output_text(output, f"{where}, output {number}"):
            yield f"### Output\n{text}"


def _attachments(cell: Mapping[str, Any], where: str) -> Iterator[str]:
    """Images that were pasted into a text cell: {file name: {type: base64}}."""
    for name, bundle in _mapping(cell.get("attachments"), f"{where} attachments").items():
        for kind, content in _mapping(bundle, f"{where} attachment").items():
            yield f"Attachment {' '.join(name.split())}: {named(kind, content, f'{where} attachment')}"


def _execution(cell: Mapping[str, Any], where: str) -> str | None:
    count = cell.get("execution_count")
    if count is None:
        return "not executed" if "execution_count" in cell and not cell.get("outputs") else None
    if isinstance(count, bool) or not isinstance(count, int) or count < 0:
        raise refused(where, "has an execution_count that is not a whole number")
    return f"execution {count}"


def _language(metadata: Mapping[str, Any]) -> str | None:
    """Where Jupyter, Visual Studio Code and Colab write it; Colab knows a kernel's name only."""
    for part, name in (
        ("vscode", "languageId"),
        ("language_info", "name"),
        ("kernelspec", "language"),
        ("kernelspec", "name"),
    ):
        section = metadata.get(part)
        language = section.get(name) if isinstance(section, dict) else None
        if isinstance(language, str) and _LANGUAGE.fullmatch(language):
            return language
    return None


def _has_content(cell: Mapping[str, Any]) -> bool:
    return bool("".join(cell["source"]).strip() or cell.get("outputs") or cell.get("attachments"))


def _mapping(value: Any, where: str) -> Mapping[str, Any]:
    if value is None:
        return {}
    if not isinstance(value, dict):
        raise refused(where, "is not an object")
    return value
