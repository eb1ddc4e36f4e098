"""The notebooks of examples/ run, and their committed output reveals nothing about the machine."""

import re
from pathlib import Path

import nbformat
import pytest

from examples.run_notebook import execute

ROOT = Path(__file__).resolve().parents[2]
NOTEBOOKS = sorted((ROOT / "examples").glob("*.ipynb"))
OF_A_MACHINE = re.compile(r"/(home|tmp|root|work|Users|private)/|site-packages|Warning")


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_committed_outputs_are_clean(path):
    notebook = nbformat.read(path, as_version=4)
    cells = [cell for cell in notebook.cells if cell.cell_type == "code"]
    assert all(cell.execution_count for cell in cells)
    for output in (output for cell in cells for output in cell.outputs):
        assert output.output_type != "error"
        assert output.get("name") != "stderr"
        text = output.get("text") or output.get("data", {}).get("text/plain", "")
        assert not OF_A_MACHINE.search(text), text


@pytest.mark.slow
@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_notebook_runs(path, tmp_path):
    notebook = execute(path, tmp_path)
    assert (tmp_path / "runs" / "report" / "report.html").is_file()
    assert all(cell.execution_count for cell in notebook.cells if cell.cell_type == "code")
