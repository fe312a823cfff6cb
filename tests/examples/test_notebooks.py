"""The notebooks of docs/examples run from a built wheel, each in an empty folder, and are committed without outputs."""

from pathlib import Path

import pytest

FOLDER = Path(__file__).resolve().parents[2] / "docs/examples"
NOTEBOOKS = sorted(FOLDER.glob("*.ipynb"))
SHOWN = {
    "predict": (3, ["out/coffee.depth.png", "out/coffee.ply"]),
    "evaluate": (0, ["pairs/pairs.yaml", "scores/maps-tiny/report.html"]),
    "distill": (3, ["runs/my-photos/student.safetensors", "runs/my-photos/card.md"]),
}
"""Of each notebook: how many pictures it shows at least, and files that it leaves."""
SLOW = {"distill"}


def opened(path):
    nbformat = pytest.importorskip("nbformat", reason='nbclient is not installed: pip install -e ".[test]"')
    notebook = nbformat.read(path, as_version=4)
    nbformat.validate(notebook)
    return notebook


def test_every_notebook_is_known():
    assert {path.stem for path in NOTEBOOKS} == set(SHOWN)


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_a_notebook_is_small_and_committed_without_outputs(path):
    notebook = opened(path)
    assert path.stat().st_size < 20_000
    assert notebook.metadata.kernelspec.name == "python3"
    assert set(notebook.metadata) == {"kernelspec", "language_info"}
    first = notebook.cells[0]
    assert first.cell_type == "markdown" and first.source.startswith("# ")
    assert "pip install ccd-depth" in "".join(cell.source for cell in notebook.cells[:2])
    for cell in notebook.cells:
        if cell.cell_type == "code":
            assert not cell.outputs, f"{path.name} has outputs: clear them before committing"
            assert cell.execution_count is None


@pytest.mark.parametrize(
    "path",
    [pytest.param(path, id=path.stem, marks=[pytest.mark.slow] if path.stem in SLOW else []) for path in NOTEBOOKS],
)
def test_a_notebook_runs_from_the_wheel_in_an_empty_folder(path, built, tmp_path, monkeypatch):
    nbformat = pytest.importorskip("nbformat")
    nbclient = pytest.importorskip("nbclient", reason='nbclient is not installed: pip install -e ".[test]"')
    pytest.importorskip("ipykernel", reason='ipykernel is not installed: pip install -e ".[test]"')
    here = tmp_path / "here"
    here.mkdir()
    for name, value in {
        "PYTHONPATH": built / "site",
        "CCD_HOME": tmp_path / "home",
        "HF_HUB_OFFLINE": "1",
        "IPYTHONDIR": tmp_path / "ipython",
        "JUPYTER_RUNTIME_DIR": tmp_path / "runtime",
    }.items():
        monkeypatch.setenv(name, str(value))
    notebook = opened(path)
    inside = f"import ccd_cli; assert ccd_cli.__file__.startswith({str(built / 'site')!r}), ccd_cli.__file__"
    notebook.cells[0] = nbformat.v4.new_code_cell(inside)
    client = nbclient.NotebookClient(
        notebook, timeout=540, kernel_name="python3", resources={"metadata": {"path": str(here)}}
    )
    client.execute()  # raises with the cell and its traceback
    outputs = [output for cell in notebook.cells if cell.cell_type == "code" for output in cell.outputs]
    said = [output.text for output in outputs if output.output_type == "stream" and output.name == "stderr"]
    assert not said, "a reader sees warnings"
    pictures, files = SHOWN[path.stem]
    assert sum("image/png" in output.get("data", {}) for output in outputs) >= pictures
    for name in files:
        assert (here / name).stat().st_size > 0
