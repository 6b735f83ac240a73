"""What the model reads of a notebook: real ones made by nbformat, and that any other is refused in one sentence."""

import json
from base64 import b64encode, encodebytes
from typing import Any

import nbformat
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from nbformat import v3, v4

from shared.domain.notebook import render_notebook
from shared.errors import InvalidRequest
from tests.examples import examples

PNG = b64encode(b"\x89PNG" + bytes(11_996)).decode()
PYTHON = {
    "kernelspec": {"name": "python3", "display_name": "Python 3", "language": "python"},
    "language_info": {"name": "python", "version": "3.11"},
}
COLAB = {
    "colab": {"provenance": [], "toc_visible": True},
    "kernelspec": {"name": "python3", "display_name": "Python 3"},
}

JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=12,
)
WORDS = st.sampled_from(
    ["code", "markdown", "raw", "stream", "error", "display_data", "execute_result"]
    + ["text/plain", "text/html", "image/png", "application/json"]
)
NO_TEXT = "is neither a string nor a list of strings"


def notebook(*cells: Any, metadata: Any = PYTHON) -> dict[str, Any]:
    """As nbformat writes it to a file: valid, with text as lists of lines."""
    made = v4.new_notebook(cells=list(cells), metadata=metadata)
    nbformat.validate(made)
    written: dict[str, Any] = json.loads(nbformat.writes(made))
    return written


def with_output(output: Any) -> dict[str, Any]:
    return {"nbformat": 4, "cells": [{"cell_type": "code", "source": "f()", "outputs": [output]}]}


def shown(output: Any) -> str:
    """What the model reads of one output."""
    text = render_notebook(notebook(v4.new_code_cell("f()", execution_count=1, outputs=[output])))
    head, _, tail = text.partition("\n### Output\n")
    assert head == "## Cell 1 (code, python, execution 1)\nf()"
    return tail


def test_a_notebook_of_every_kind_of_cell_and_output_reads_like_this() -> None:
    error = v4.new_output(
        "error",
        ename="ZeroDivisionError",
        evalue="division by zero",
        traceback=["\x1b[0;31m-----\x1b[0m", "\x1b[0;32m----> 1\x1b[0m 1/0", "ZeroDivisionError: division by zero"],
    )
    figure = v4.new_output("display_data", {"image/png": PNG, "text/plain": "<Figure size 640x480 with 1 Axes>"})
    table = v4.new_output(
        "execute_result", {"text/html": "<table><tr>…", "text/plain": "   a\n0  1"}, execution_count=3
    )
    text = render_notebook(
        notebook(
            v4.new_markdown_cell("# Sums\n\nA first look."),
            v4.new_code_cell(
                "import numpy as np\nprint(1)", execution_count=2, outputs=[v4.new_output("stream", text="1\n")]
            ),
            v4.new_code_cell("frame\nplot()", execution_count=3, outputs=[table, figure]),
            v4.new_raw_cell("as it is"),
            v4.new_code_cell("1/0", execution_count=4, outputs=[error]),
            v4.new_code_cell("later()"),
        )
    )
    assert text == (
        "## Cell 1 (markdown)\n# Sums\n\nA first look.\n\n"
        "## Cell 2 (code, python, execution 2)\nimport numpy as np\nprint(1)\n### Output\n1\n\n\n"
        "## Cell 3 (code, python, execution 3)\nframe\nplot()\n### Output\n   a\n0  1\n"
        "### Output\n<Figure size 640x480 with 1 Axes>\n[image/png, 12 kB]\n\n"
        "## Cell 4 (raw)\nas it is\n\n"
        "## Cell 5 (code, python, execution 4)\n1/0\n### Output\nZeroDivisionError: division by zero\n"
        "-----\n----> 1 1/0\nZeroDivisionError: division by zero\n\n"
        "## Cell 6 (code, python, not executed)\nlater()"
    )


def test_a_notebook_as_colab_saves_it_reads_like_this() -> None:
    frame = {
        "data": {
            "text/plain": ["   a\n", "0  1"],
            "text/html": ["\n", '  <div id="df-1">…'],
            "application/vnd.google.colaboratory.intrinsic+json": {"type": "dataframe", "summary": "{}"},
        },
        "execution_count": 5,
        "metadata": {},
        "output_type": "execute_result",
    }
    saved = {
        "nbformat": 4,
        "nbformat_minor": 0,
        "metadata": COLAB,
        "cells": [
            {"cell_type": "markdown", "source": ["# Title\n", "text"], "metadata": {"id": "x1"}},
            {
                "cell_type": "code",
                "source": ["%%time\n", "frame"],
                "metadata": {"colab": {"base_uri": "https://localhost:8080/"}, "id": "x2", "outputId": "o"},
                "execution_count": 5,
                "outputs": [{"output_type": "stream", "name": "stdout", "text": ["CPU times\n"]}, frame],
            },
            {"cell_type": "code", "source": [], "metadata": {"id": "x3"}, "execution_count": None, "outputs": []},
        ],
    }
    nbformat.validate(saved)
    assert render_notebook(saved) == (
        "## Cell 1 (markdown)\n# Title\ntext\n\n"
        "## Cell 2 (code, python3, execution 5)\n%%time\nframe\n"
        "### Output\nCPU times\n\n### Output\n   a\n0  1\n\n"
        "## Cell 3 (code, python3, not executed)\n"
    )


def test_a_string_and_a_list_of_lines_are_the_same_text() -> None:
    lines = notebook(v4.new_markdown_cell("a\nb"), v4.new_code_cell("c\nd"))
    strings = json.loads(json.dumps(lines))
    for cell in strings["cells"]:
        assert len(cell["source"]) == 2
        cell["source"] = "".join(cell["source"])
    assert render_notebook(strings) == render_notebook(lines)


@pytest.mark.parametrize(
    ("data", "text"),
    [
        ({"text/html": "<b>bold</b>", "text/plain": "<IPython.core.display.HTML object>"}, "<b>bold</b>"),
        ({"text/markdown": "**bold**", "text/plain": "<IPython.core.display.Markdown object>"}, "**bold**"),
        ({"text/latex": "$x$", "text/plain": "x"}, "x"),
        ({"application/json": {"a": [1]}, "text/plain": "<IPython.core.display.JSON object>"}, '{"a": [1]}'),
        ({"application/json": {"a": [1]}, "text/plain": "a tree"}, 'a tree\n{"a": [1]}'),
        ({"image/svg+xml": "<svg/>"}, "[image/svg+xml, 6 bytes]"),
        ({"image/jpeg": PNG[:400], "image/png": PNG * 200}, "[image/jpeg, 300 bytes]\n[image/png, 2.4 MB]"),
        ({"application/pdf": encodebytes(bytes(900)).decode()}, "[application/pdf, 900 bytes]"),
        (
            {"application/vnd.jupyter.widget-view+json": {"model_id": "1"}, "text/plain": "Slider(value=3)"},
            "Slider(value=3)\n[application/vnd.jupyter.widget-view+json, 17 bytes]",
        ),
    ],
)
def test_the_most_readable_form_of_an_output_is_shown(data: dict[str, Any], text: str) -> None:
    assert shown(v4.new_output("display_data", data)) == text


def test_colours_links_and_overwritten_progress_bars_are_gone() -> None:
    printed = "\x1b[1;31mred\x1b[0m \x1b]8;;http://x\x07link\x1b]8;;\x1b\\ \x1b(Bend\r\n 10%\r 50%\r100%\nnext"
    assert shown(v4.new_output("stream", text=printed)) == "red link end\n100%\nnext"


@pytest.mark.parametrize(
    "output",
    [
        v4.new_output("stream", text="x" * 3456),
        v4.new_output("display_data", {"text/plain": "x" * 3456}),
        v4.new_output("display_data", {"application/json": "x" * 3454}),
        v4.new_output("error", ename="E", evalue="v", traceback=["x" * 3000, "x" * 450]),
    ],
)
def test_a_long_output_is_cut_and_says_how_much_was(output: Any) -> None:
    text = shown(output)
    assert text.endswith("\n[… output cut: 1,456 more characters …]") and len(text) < 2050


def test_an_output_of_2000_characters_is_whole() -> None:
    assert shown(v4.new_output("stream", text="x" * 2000)) == "x" * 2000


def test_many_names_are_cut_too() -> None:
    many = {f"image/x-{number}": PNG for number in range(500)}
    text = shown(v4.new_output("display_data", many))
    assert text.startswith("[image/x-0, 12 kB]\n[image/x-1, 12 kB]") and len(text) < 2050


def test_the_error_stands_before_its_traceback_and_survives_the_cut() -> None:
    error = v4.new_output("error", ename="ValueError", evalue="bad", traceback=["x" * 9000])
    assert shown(error).startswith("ValueError: bad\nxxx")


@pytest.mark.parametrize(
    "written",
    [
        f"![a](data:image/png;base64,{PNG})",
        f'<img src="DATA:image/PNG;charset=utf-8;base64,{PNG}">',
        f"<img src='data:image/png;base64,\n{encodebytes(bytes(12_000)).decode()}'>",
    ],
)
def test_images_written_into_the_text_are_named(written: str) -> None:
    for cell in (v4.new_markdown_cell(written), v4.new_raw_cell(written), v4.new_code_cell(written)):
        text = render_notebook(notebook(cell))
        assert "[image/png, 12 kB]" in text and len(text) < 200
    assert "[image/png, 12 kB]" in shown(v4.new_output("stream", text=written))


def test_code_that_speaks_of_data_uris_stays() -> None:
    source = 'url = f"data:image/png;base64,{encoded}"'
    assert render_notebook(notebook(v4.new_code_cell(source))).endswith(source)


def test_pasted_images_are_named_with_their_file() -> None:
    cell = v4.new_markdown_cell("![a](attachment:a.png)", attachments={"a.png": {"image/png": PNG}})
    assert render_notebook(notebook(cell)).endswith("![a](attachment:a.png)\nAttachment a.png: [image/png, 12 kB]")


@pytest.mark.parametrize(
    ("metadata", "heading"),
    [
        ({}, "(code, not executed)"),
        ({"kernelspec": {"name": "ir", "display_name": "R", "language": "R"}}, "(code, R, not executed)"),
        ({"kernelspec": {"name": "ir", "display_name": "R"}}, "(code, ir, not executed)"),
        ({"language_info": {"name": "julia"}}, "(code, julia, not executed)"),
        ({"language_info": {"name": "two words\n## Cell 9"}}, "(code, not executed)"),
    ],
)
def test_the_language_comes_from_the_metadata(metadata: Any, heading: str) -> None:
    assert render_notebook(notebook(v4.new_code_cell("x"), metadata=metadata)) == f"## Cell 1 {heading}\nx"


def test_a_cell_may_have_a_language_of_its_own() -> None:
    cell = v4.new_code_cell("select 1", metadata={"vscode": {"languageId": "sql"}})
    assert render_notebook(notebook(cell)).startswith("## Cell 1 (code, sql, not executed)")


ERROR = {"output_type": "error", "ename": "E", "evalue": "v"}
CELL = {"cell_type": "code", "source": "canary", "outputs": []}


@pytest.mark.parametrize(
    ("wrong", "sentence"),
    [
        ({"cells": [CELL]}, "notebook has no nbformat number; send the .ipynb file's JSON"),
        ({"nbformat": "4", "cells": [CELL]}, "notebook has no nbformat number"),
        ({"nbformat": True, "cells": [CELL]}, "notebook has no nbformat number"),
        ({"nbformat": 2, "cells": [CELL]}, "older format than nbformat 4; open it in Colab or Jupyter, save it"),
        (json.loads(nbformat.writes(v3.new_notebook(worksheets=[v3.new_worksheet()]), version=3)), "older format"),
        ({"nbformat": 4, "worksheets": []}, "older format"),
        ({"nbformat": 5, "cells": [CELL]}, "newer format than nbformat 4; save it as nbformat 4"),
        ({"nbformat": 4}, "has no list of cells"),
        ({"nbformat": 4, "cells": {}}, "has no list of cells"),
        ({"nbformat": 4, "cells": []}, "notebook has no cells"),
        (notebook(v4.new_code_cell(" \n"), v4.new_markdown_cell("")), "notebook has nothing in its cells"),
        ({"nbformat": 4, "metadata": [], "cells": [CELL]}, "notebook metadata is not an object"),
    ],
)
def test_an_older_or_malformed_notebook_is_refused_with_what_to_do(wrong: dict[str, Any], sentence: str) -> None:
    with pytest.raises(InvalidRequest, match=sentence) as refusal:
        render_notebook(wrong)
    assert refusal.value.field == "notebook" and "canary" not in refusal.value.message


@pytest.mark.parametrize(
    ("cell", "sentence"),
    [
        ("canary", "notebook cell 2 is not an object"),
        ({**CELL, "cell_type": "canary"}, "notebook cell 2 is not a code, markdown or raw cell"),
        ({**CELL, "cell_type": []}, "notebook cell 2 is not a code, markdown or raw cell"),
        ({**CELL, "source": {"canary": 1}}, f"notebook cell 2 source {NO_TEXT}"),
        ({**CELL, "source": ["canary", 1]}, f"notebook cell 2 source {NO_TEXT}"),
        ({"cell_type": "markdown"}, f"notebook cell 2 source {NO_TEXT}"),
        ({**CELL, "metadata": "canary"}, "notebook cell 2 metadata is not an object"),
        ({**CELL, "execution_count": "canary"}, "notebook cell 2 has an execution_count that is not a whole number"),
        ({**CELL, "outputs": "canary"}, "notebook cell 2 has outputs that are not a list"),
        ({**CELL, "cell_type": "markdown", "attachments": ["canary"]}, "notebook cell 2 attachments is not an object"),
        ({**CELL, "cell_type": "raw", "attachments": {"canary": 1}}, "notebook cell 2 attachment is not an object"),
    ],
)
def test_a_malformed_cell_is_refused_by_its_number(cell: Any, sentence: str) -> None:
    with pytest.raises(InvalidRequest) as refusal:
        render_notebook({"nbformat": 4, "cells": [CELL, cell]})
    assert (refusal.value.field, refusal.value.message) == ("notebook", sentence)


@pytest.mark.parametrize(
    ("output", "reason"),
    [
        ("canary", "is not an object"),
        ({"output_type": "pyout"}, "is not a stream, display_data, execute_result or error"),
        ({"output_type": ["canary"]}, "is not a stream, display_data, execute_result or error"),
        ({"output_type": "stream"}, f"text {NO_TEXT}"),
        ({"output_type": "stream", "text": 1}, f"text {NO_TEXT}"),
        ({"output_type": "display_data", "data": ["canary"]}, "has data that is not an object"),
        ({"output_type": "execute_result"}, "has data that is not an object"),
        ({"output_type": "display_data", "data": {"text/plain": 1}}, f"text/plain {NO_TEXT}"),
        ({"output_type": "display_data", "data": {"image/png": {}}}, f"image/png {NO_TEXT}"),
        ({"output_type": "display_data", "data": {"canary": "x"}}, "has data of a type that is no MIME type"),
        ({"output_type": "error", "ename": "E"}, "has an ename or evalue that is not a string"),
        (ERROR, "has a traceback that is not a list of strings"),
        ({**ERROR, "traceback": [1]}, "has a traceback that is not a list of strings"),
    ],
)
def test_a_malformed_output_is_refused_by_its_number(output: Any, reason: str) -> None:
    with pytest.raises(InvalidRequest) as refusal:
        render_notebook(with_output(output))
    assert (refusal.value.field, refusal.value.message) == ("notebook", f"notebook cell 1, output 1 {reason}")


def fields(*names: str) -> st.SearchStrategy[dict[str, Any]]:
    return st.dictionaries(st.sampled_from(names), WORDS | JSON | st.lists(st.text(), max_size=3), max_size=len(names))


OUTPUTS = fields("output_type", "text", "ename", "evalue", "traceback") | st.fixed_dictionaries(
    {"output_type": st.sampled_from(["display_data", "execute_result"]), "data": st.dictionaries(WORDS, JSON) | JSON}
)
CELLS = fields("cell_type", "source", "attachments", "metadata") | st.fixed_dictionaries(
    {
        "cell_type": st.just("code"),
        "source": st.text(),
        "outputs": st.lists(OUTPUTS | JSON, max_size=3),
        "execution_count": st.none() | st.integers() | JSON,
    }
)
NOTEBOOKS = st.fixed_dictionaries(
    {"nbformat": st.just(4), "cells": st.lists(CELLS | JSON, max_size=4)}, optional={"metadata": JSON}
) | st.dictionaries(st.text() | st.sampled_from(["cells", "nbformat", "worksheets"]), JSON)


@settings(max_examples=examples(400), deadline=None)
@given(anything=NOTEBOOKS)
def test_any_json_is_text_or_refused_in_one_sentence(anything: dict[str, Any]) -> None:
    try:
        assert render_notebook(anything).startswith("## Cell 1 (")
    except InvalidRequest as refusal:
        assert refusal.field == "notebook"
        assert refusal.message.startswith("notebook ") and "\n" not in refusal.message and len(refusal.message) < 200


def test_a_notebook_that_is_nested_too_deeply_is_refused() -> None:
    deep: Any = "x"
    for _ in range(100_000):
        deep = [deep]
    json_output = {"output_type": "display_data", "data": {"application/json": deep}}
    for wrong in ({"nbformat": 4, "cells": deep}, with_output(json_output)):
        with pytest.raises(InvalidRequest, match="notebook is nested too deeply"):
            render_notebook(wrong)


@pytest.mark.parametrize(
    "hostile",
    [
        "\x1b[" * 200_000,
        "\x1b]" * 200_000,
        "\x1b[" + "0;" * 200_000,
        "data:" * 100_000,
        "data:a/b" + ";a=b" * 100_000,
        ("data:" + "a" * 126 + "/") * 3_000,
        "data:;base64," + "A" * 400_000,
        ("data:;base64," + "A" * 76 + "\n") * 4_000,
        "x\r" * 200_000,
        "\n" * 400_000,
    ],
    ids=range(10),
)
def test_text_made_to_be_slow_is_read_once(hostile: str) -> None:
    """With a pattern that goes over it again and again this would not end in the lifetime of a test."""
    text = render_notebook(with_output({"output_type": "stream", "text": hostile}))
    assert len(text) < 2200
