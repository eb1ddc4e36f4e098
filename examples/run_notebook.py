"""Execute a notebook of this folder in a temporary directory and write its outputs back, without colours and warnings.

python examples/run_notebook.py examples/from_manifest_to_report.ipynb
"""

import os
import re
import sys
import tempfile
from pathlib import Path

import nbformat
from nbclient import NotebookClient
from nbformat import NotebookNode

ROOT = Path(__file__).resolve().parents[1]
SECONDS = 600  # that a cell may take
COLOURS = re.compile(r"\x1b\[[0-9;]*m")


def execute(path: Path, directory: Path) -> NotebookNode:
    """The notebook with fresh outputs; its cells run in `directory`.

    Raises:
        nbclient.exceptions.CellExecutionError: a cell failed.
    """
    notebook: NotebookNode = nbformat.read(path, as_version=4)
    environment = {
        **os.environ,
        "PATH": os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]]),  # of mmer-pipe
        "PYTHONPATH": str(ROOT),
        "OMP_NUM_THREADS": "1",  # the same numbers on any number of cores
    }
    resources = {"metadata": {"path": str(directory)}}
    NotebookClient(notebook, timeout=SECONDS, resources=resources, record_timing=False).execute(env=environment)
    for cell in notebook.cells:
        if cell.cell_type == "code":
            cell.outputs = _clean(cell.outputs)
    notebook.metadata.pop("language_info", None)
    return notebook


def _clean(outputs: list[NotebookNode]) -> list[NotebookNode]:
    """Outputs without colours, warnings and progress, those of one stream in one piece."""
    kept: list[NotebookNode] = []
    for output in outputs:
        if output.output_type == "stream":
            if output.name == "stderr":
                continue
            if kept and kept[-1].output_type == "stream":
                kept[-1].text += output.text
                continue
        kept.append(output)
    for output in kept:
        if output.output_type == "stream":
            lines = COLOURS.sub("", output.text).strip("\n").splitlines()
            output.text = "".join(f"{line.rstrip()}\n" for line in lines)
    return kept


def main(paths: list[str]) -> None:
    """Execute these notebooks in place."""
    for name in paths:
        with tempfile.TemporaryDirectory() as directory:
            notebook = execute(Path(name), Path(directory))
        nbformat.write(notebook, name)


if __name__ == "__main__":
    main(sys.argv[1:])
