"""The notebook of the tutorial runs on fewer images, and prints what it shows."""

import os
import re
from pathlib import Path

import nbformat
import pytest
from nbclient import NotebookClient

from forked_python import forked_tools

NOTEBOOK = Path(__file__).parents[1] / "docs/tutorial.ipynb"
DIGITS = "load_digits(return_X_y=True)"


def printed_by_cells(notebook):
    """What each cell of code prints, one text per cell."""
    cells = [cell for cell in notebook.cells if cell.cell_type == "code"]
    return ["".join(output.get("text", "") for output in cell.outputs) for cell in cells]


def without_numbers(text):
    """Numbers, and the widths of columns, depend on the processor in their last digits."""
    return re.sub(r" +", " ", re.sub(r"[-+]?\d[\d.,]*", "#", text))


def accuracy(texts):
    (found,) = re.findall(r"^stack: accuracy ([\d.]+)", "".join(texts), flags=re.MULTILINE)
    return float(found)


@pytest.mark.dvc
def test_the_notebook_prints_what_it_shows(tmp_path):
    notebook = nbformat.read(NOTEBOOK, as_version=4)
    shown = printed_by_cells(notebook)
    (loads,) = (cell for cell in notebook.cells if DIGITS in cell.source)
    # More than the 1,000 images at which `fit` looks, as the notebook shows.
    loads.source = loads.source.replace(DIGITS, f"(array[:1010] for array in {DIGITS})")
    person = {f"GIT_{who}_NAME": "Test" for who in ("AUTHOR", "COMMITTER")}
    person |= {f"GIT_{who}_EMAIL": "test@example.org" for who in ("AUTHOR", "COMMITTER")}
    tools = f"{forked_tools()}{os.pathsep}{os.environ['PATH']}"
    NotebookClient(
        notebook,
        timeout=None,
        startup_timeout=600,  # on a busy machine
        resources={"metadata": {"path": str(tmp_path)}},
    ).execute(env=os.environ | person | {"PATH": tools})
    assert [without_numbers(text) for text in printed_by_cells(notebook)] == [
        without_numbers(text) for text in shown
    ]
    assert accuracy(printed_by_cells(notebook)) == pytest.approx(accuracy(shown), abs=0.05)
