"""The notebook, executed cell by cell by a real kernel against a database that `serve` keeps up."""

from pathlib import Path
from typing import Any

import nbformat
import pytest

from local.state import PROJECT
from tests.local_machine import new_machine, succeeded
from tests.test_serve import serving

nbclient = pytest.importorskip("nbclient", reason="Jupyter's kernel is not installed: make test-all installs it")

pytestmark = pytest.mark.exhaustive


def test_the_notebook_answers_its_questions_and_draws_its_pictures(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    notebook: Any = nbformat.read(  # type: ignore[no-untyped-call]
        PROJECT / "notebooks" / "first-look.ipynb", as_version=4
    )
    assert not any(cell.get("outputs") for cell in notebook.cells), "it is committed without answers of an older run"
    with new_machine() as machine:
        succeeded(machine.run())
        with serving(machine) as served:
            monkeypatch.setenv("EV_DATABASE_URL", served.reader)
            monkeypatch.setenv("IPYTHONDIR", str(tmp_path))
            nbclient.NotebookClient(notebook, timeout=120).execute(cwd=str(tmp_path))
    outputs = [output for cell in notebook.cells for output in cell.get("outputs", [])]
    pictures = [output for output in outputs if "image/png" in output.get("data", {})]
    answers = [output["data"]["text/plain"] for output in outputs if output.output_type == "execute_result"]
    assert len(pictures) == 2
    assert len(answers) == 3
    assert "11914" in answers[0], "the sample's battery electric vehicles, as make local prints them"
    assert not [output for output in outputs if output.output_type == "error" or output.get("name") == "stderr"]
