"""Renders a Jupyter notebook (nbformat 4, as Colab and Jupyter save it) as the text that a model reads."""

import re
from collections.abc import Iterator, Mapping
from typing import Any

from shared.domain.fields import is_nested_too_deeply
from shared.domain.notebook_output import render_output
from shared.domain.notebook_text import describe_data, invalid_notebook, join_lines, replace_data_uris

NBFORMAT = 4
CELL_TYPES = ("code", "markdown", "raw")
SAVE_AGAIN = "open it in Colab or Jupyter, save it and send that"
_LANGUAGE_NAME = re.compile(r"[\w.+#-]{1,40}", re.ASCII)
"""Names outside this pattern are ignored: a name with a line break could imitate the heading of a cell."""


def render_notebook(notebook: Mapping[str, Any]) -> str:
    """Returns the cells in order, each under a heading with its number (from 1) and type.

    `notebook` is the parsed JSON of an .ipynb file. Outputs are cut at 2,000 characters; images appear by type and
    size only. Raises InvalidRequest, which names the cell and what is wrong with it.
    """
    cells = _read_cells(notebook)
    language = _read_language(_require_mapping(notebook.get("metadata"), "notebook metadata"))
    texts = [_render_cell(cell, number, language) for number, cell in enumerate(cells, start=1)]
    if not any(_has_content(cell) for cell in cells):
        raise invalid_notebook("notebook", "has nothing in its cells")
    return "\n\n".join(texts)


def _read_cells(notebook: Mapping[str, Any]) -> list[Any]:
    """Returns the cells, which are not checked yet. Raises InvalidRequest when this is no nbformat 4 notebook."""
    if is_nested_too_deeply(notebook):
        raise invalid_notebook("notebook", "is nested too deeply")
    version = notebook.get("nbformat")
    if isinstance(version, bool) or not isinstance(version, int):
        reason = "has no nbformat number; send the .ipynb file's JSON as Colab or Jupyter saved it"
        raise invalid_notebook("notebook", reason)
    if version < NBFORMAT or "worksheets" in notebook:
        raise invalid_notebook("notebook", f"is of an older format than nbformat {NBFORMAT}; {SAVE_AGAIN}")
    if version > NBFORMAT:
        reason = f"is of a newer format than nbformat {NBFORMAT}; save it as nbformat {NBFORMAT}"
        raise invalid_notebook("notebook", reason)
    cells = notebook.get("cells")
    if not isinstance(cells, list):
        reason = "has no list of cells; send the .ipynb file's JSON as Colab or Jupyter saved it"
        raise invalid_notebook("notebook", reason)
    if not cells:
        raise invalid_notebook("notebook", "has no cells")
    return cells


def _render_cell(cell: Any, number: int, language: str | None) -> str:
    """Renders heading, source and outputs or attachments; `language` is the notebook's programming language."""
    location = f"notebook cell {number}"
    if not isinstance(cell, dict):
        raise invalid_notebook(location, "is not an object")
    cell_type = cell.get("cell_type")
    if cell_type not in CELL_TYPES:
        raise invalid_notebook(location, "is not a code, markdown or raw cell")
    metadata = _require_mapping(cell.get("metadata"), f"{location} metadata")
    source = replace_data_uris(join_lines(cell.get("source"), f"{location} source"))
    if cell_type != "code":
        return "\n".join([f"## Cell {number} ({cell_type})", source, *_render_attachments(cell, location)])
    labels = [cell_type, _read_language(metadata) or language, _read_execution(cell, location)]
    heading = f"## Cell {number} ({', '.join(label for label in labels if label)})"
    return "\n".join([heading, source, *_render_outputs(cell, location)])


def _render_outputs(cell: Mapping[str, Any], location: str) -> Iterator[str]:
    outputs = cell.get("outputs", [])
    if not isinstance(outputs, list):
        raise invalid_notebook(location, "has outputs that are not a list")
    for number, output in enumerate(outputs, start=1):
        if text := render_output(output, f"{location}, output {number}"):
            yield f"### Output\n{text}"


def _render_attachments(cell: Mapping[str, Any], location: str) -> Iterator[str]:
    """Describes the images that were pasted into a text cell, {file name: {MIME type: base64}}, one line each."""
    for name, contents in _require_mapping(cell.get("attachments"), f"{location} attachments").items():
        for mime_type, content in _require_mapping(contents, f"{location} attachment").items():
            description = describe_data(mime_type, content, f"{location} attachment")
            yield f"Attachment {' '.join(name.split())}: {description}"


def _read_execution(cell: Mapping[str, Any], location: str) -> str | None:
    """Returns "execution 3", "not executed", or None when the cell does not say."""
    count = cell.get("execution_count")
    if count is None:
        return "not executed" if "execution_count" in cell and not cell.get("outputs") else None
    if isinstance(count, bool) or not isinstance(count, int) or count < 0:
        raise invalid_notebook(location, "has an execution_count that is not a whole number")
    return f"execution {count}"


def _read_language(metadata: Mapping[str, Any]) -> str | None:
    """Returns the programming language of a notebook or cell, or None when its metadata names none.

    Visual Studio Code, Jupyter and older Jupyter each write it to a place of their own. Colab writes only the name of
    a kernel, such as python3 or ir.
    """
    for section_name, field in (
        ("vscode", "languageId"),
        ("language_info", "name"),
        ("kernelspec", "language"),
        ("kernelspec", "name"),
    ):
        section = metadata.get(section_name)
        language = section.get(field) if isinstance(section, dict) else None
        if isinstance(language, str) and _LANGUAGE_NAME.fullmatch(language):
            return language
    return None


def _has_content(cell: Mapping[str, Any]) -> bool:
    return bool("".join(cell["source"]).strip() or cell.get("outputs") or cell.get("attachments"))


def _require_mapping(value: Any, location: str) -> Mapping[str, Any]:
    """Returns a JSON object, {} for None. Raises InvalidRequest for any other value."""
    if value is None:
        return {}
    if not isinstance(value, dict):
        raise invalid_notebook(location, "is not an object")
    return value
