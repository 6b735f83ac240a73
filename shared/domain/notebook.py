"""Flattens a Jupyter notebook (nbformat 4) to the text that a model reads."""

from collections.abc import Mapping
from typing import Any

from shared.errors import InvalidRequest

LONGEST_OUTPUT = 2000
CUT_MARK = "\n[… output cut …]"


def flattened(notebook: Mapping[str, Any]) -> str:
    """Cells in order, each under its number and type; outputs over 2,000 characters are cut, images named only."""
    cells = notebook.get("cells")
    if not isinstance(cells, list) or not cells:
        raise InvalidRequest("notebook has no cells; send the .ipynb file's JSON", field="notebook")
    return "\n\n".join(_cell(number, cell) for number, cell in enumerate(cells, start=1))


def _cell(number: int, cell: Any) -> str:
    if not isinstance(cell, dict) or cell.get("cell_type") not in ("code", "markdown", "raw"):
        raise InvalidRequest(f"notebook cell {number} is not a code, markdown or raw cell", field="notebook")
    source = _joined(cell.get("source"), number)
    outputs = cell.get("outputs", []) if cell["cell_type"] == "code" else []
    if not isinstance(outputs, list):
        raise InvalidRequest(f"notebook cell {number} has outputs that are not a list", field="notebook")
    written = [text for text in (_output(output, number) for output in outputs) if text]
    return "\n".join([f"## Cell {number} ({cell['cell_type']})", source, *(f"### Output\n{text}" for text in written)])


def _output(output: Any, number: int) -> str:
    if not isinstance(output, dict):
        raise InvalidRequest(f"notebook cell {number} has an output that is not an object", field="notebook")
    data = output.get("data")
    data = data if isinstance(data, dict) else {}
    images = [f"[{kind}]" for kind in data if str(kind).startswith("image/")]
    if output.get("output_type") == "error":
        text = f"{output.get('ename', 'Error')}: {output.get('evalue', '')}"
    else:
        text = _joined(output.get("text", data.get("text/plain")), number)
    if len(text) > LONGEST_OUTPUT:
        text = text[:LONGEST_OUTPUT] + CUT_MARK
    return "\n".join(filter(None, [text, *images]))


def _joined(text: Any, number: int) -> str:
    """nbformat writes text as one string or as a list of lines."""
    if text is None:
        return ""
    if isinstance(text, str):
        return text
    if isinstance(text, list) and all(isinstance(line, str) for line in text):
        return "".join(text)
    raise InvalidRequest(
        f"notebook cell {number} holds text that is neither a string nor a list of lines", field="notebook"
    )
