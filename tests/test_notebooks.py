"""The course runs from top to bottom, is clean in git, and keeps its style."""

import ast
import asyncio
import re
import statistics
from collections.abc import Iterator
from pathlib import Path

import nbformat
import pytest
from jupyter_client.manager import AsyncKernelManager
from nbclient import NotebookClient
from nbclient.exceptions import CellExecutionError
from nbconvert import HTMLExporter, MarkdownExporter
from nbformat import NotebookNode
from nbformat.v4 import new_code_cell, new_notebook, new_output

from workbench.compare.tables import text_table
from workbench.course.table import Table

FOLDER = Path(__file__).parents[1] / "notebooks"
NOTEBOOKS = sorted(path.stem for path in FOLDER.glob("*.ipynb"))
SMALL = {
    "01_reconstruct": {"RESOLUTION": "64", "NUM_FRAMES": 4},
    "02_inside_the_dc_ae": {
        "FULL_SHAPE": (1, 3, 8, 64, 64),
        "FRAMES": 4,
        "SIDE": 64,
        "TOKENS": (64, 128),
    },
    "03_data": {"BUCKETS": {"64px_ar1:1": {8: (0.5, 1), 4: (1.0, 2)}}},
    "04_train_stage_1": {"HAND_STEPS": 2, "STEPS": 2, "MORE_STEPS": 3, "PUBLISHED": "debug"},
    "05_train_stage_2": {
        "HAND_STEPS": 2,
        "DUEL_STEPS": 2,
        "STEPS": 2,
        "CHANNELS": 16,
        "BUCKETS": {"64px_ar1:1": {4: (1.0, 1)}},
    },
    "06_tiling": {
        "RESOLUTION": "96",
        "NUM_FRAMES": 4,
        "TILE": 64,
        "FULL": "tiny",
        "CHOICES": ((8, 64), (8, 128)),
        "OVERLAPS": (0.0, 0.5),
    },
    "07_compare": {"MODELS": "tiny,dct", "RESOLUTION": "64", "NUM_FRAMES": 2},
    "08_latents_for_diffusion": {"RESOLUTION": "128", "NUM_FRAMES": 4},
    "09_diffusability": {"RESOLUTION": "64", "NUM_FRAMES": 8, "STEPS": 3},
}
"""Parameters with which a notebook takes seconds."""

_HELPERS = ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef | ast.Lambda
_MAGIC = re.compile(r"^\s*[%!].*$", re.MULTILINE)


@pytest.fixture(scope="module")
def kernel() -> Iterator[AsyncKernelManager]:
    """One kernel for notebooks that leave nothing to each other, so that torch is imported once."""
    manager = AsyncKernelManager(kernel_name="python3")
    yield manager
    asyncio.run(manager.shutdown_kernel(now=True))


@pytest.mark.parametrize("name", NOTEBOOKS)
def test_runs_from_top_to_bottom(name, tmp_path, kernel):
    notebook = execute(name, {**SMALL[name], "OUT": str(tmp_path)}, kernel)
    assert all(cell.execution_count for cell in code_cells(notebook))
    assert not re.search(r"\bnan\b", "".join(printed(notebook)))
    assert figures(notebook)
    for data in figures(notebook):  # shown in an exported page too, without a request
        assert "Plotly.newPlot" in data["text/html"]
        assert "cdn.plot.ly" not in data["text/html"]


@pytest.mark.slow
@pytest.mark.parametrize("name", NOTEBOOKS)
def test_runs_as_it_is_within_minutes(name, tmp_path):
    execute(name, {"OUT": str(tmp_path)})


def test_a_command_that_fails_fails_its_cell(kernel):
    command = "%%bash\npython -m workbench evaluate --dataset.data_path nowhere.csv"
    notebook = new_notebook(cells=[new_code_cell("%load_ext course"), new_code_cell(command)])
    with pytest.raises(CellExecutionError, match="returned non-zero exit status 2"):
        run(notebook, kernel)


@pytest.mark.parametrize("exporter", [HTMLExporter, MarkdownExporter])
def test_a_table_stays_one_in_an_exported_page(exporter):
    table = Table([{"model": "<dct>", "PSNR, dB": 23.456}, {"model": "tiny", "PSNR, dB": None}], "two models")
    data = {"text/html": table._repr_html_(), "text/plain": repr(table)}
    cell = new_code_cell("table", outputs=[new_output("display_data", data)])
    page, _ = exporter().from_notebook_node(new_notebook(cells=[cell]))
    assert "<caption>two models</caption><thead><tr><th>model</th><th>PSNR, dB</th></tr></thead>" in page
    assert '<td style="text-align: left">&lt;dct&gt;</td><td style="text-align: right">23.46</td>' in page
    assert repr(table).splitlines() == ["two models", *text_table(table._rows).splitlines()]


@pytest.mark.parametrize("name", NOTEBOOKS)
def test_is_clean_in_git(name):
    notebook = read(name)
    nbformat.validate(notebook)
    for cell in code_cells(notebook):
        assert not cell.outputs
        assert cell.execution_count is None
    assert len({cell.id for cell in notebook.cells}) == len(notebook.cells)
    assert {path.stem for path in FOLDER.glob("*.ipynb")} == set(SMALL)


@pytest.mark.parametrize("name", NOTEBOOKS)
def test_prose_comes_before_every_cell_and_cells_are_short(name):
    notebook = read(name)
    for before, cell in zip([None, *notebook.cells], notebook.cells, strict=False):
        if cell.cell_type == "code":
            assert before.cell_type == "markdown", cell.source
    assert statistics.median(len(cell.source.splitlines()) for cell in code_cells(notebook)) <= 12
    assert len(parameter_cells(notebook)) == 1


@pytest.mark.parametrize("name", NOTEBOOKS)
def test_cells_define_no_helpers(name):
    for cell in code_cells(read(name)):
        code = "" if cell.source.startswith("%%") else _MAGIC.sub("", cell.source)
        assert not any(isinstance(node, _HELPERS) for node in ast.walk(ast.parse(code))), cell.source


def read(name: str) -> NotebookNode:
    return nbformat.read(FOLDER / f"{name}.ipynb", as_version=4)


def code_cells(notebook: NotebookNode) -> list[NotebookNode]:
    return [cell for cell in notebook.cells if cell.cell_type == "code"]


def printed(notebook: NotebookNode) -> list[str]:
    outputs = [output for cell in code_cells(notebook) for output in cell.outputs]
    return [output.text for output in outputs if output.output_type == "stream"]


def parameter_cells(notebook: NotebookNode) -> list[NotebookNode]:
    return [cell for cell in notebook.cells if "parameters" in cell.metadata.get("tags", [])]


def figures(notebook: NotebookNode) -> list[dict[str, object]]:
    """The outputs that are Plotly figures, in all forms that are kept of them."""
    outputs = [output for cell in code_cells(notebook) for output in cell.outputs if "data" in output]
    return [output.data for output in outputs if "application/vnd.plotly.v1+json" in output.data]


def execute(name: str, parameters: dict[str, object], kernel: AsyncKernelManager | None = None) -> NotebookNode:
    """Run a notebook with these parameters, those that it has, after its own."""
    notebook = read(name)
    cell = parameter_cells(notebook)[0]
    names = {node.id for node in ast.walk(ast.parse(cell.source)) if isinstance(node, ast.Name)}
    assert set(parameters) - names <= {"OUT"}, "a parameter that the notebook does not have"
    lines = [f"{key} = {value!r}" for key, value in parameters.items() if key in names]
    notebook.cells.insert(notebook.cells.index(cell) + 1, new_code_cell("\n".join(lines)))
    return run(notebook, kernel)


def run(notebook: NotebookNode, kernel: AsyncKernelManager | None = None) -> NotebookNode:
    """Run it in its own folder, as JupyterLab does: in a kernel of its own, or in this one without what is in it."""
    if kernel is not None:
        notebook.cells.insert(0, new_code_cell("%reset -f"))
    return NotebookClient(notebook, km=kernel, timeout=900, resources={"metadata": {"path": str(FOLDER)}}).execute()
