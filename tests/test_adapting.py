"""docs/adapting.md, followed to the letter in a copy of the project: another dataset, from contract to answer."""

import os
import re
import shutil
import subprocess
from pathlib import Path

import pytest

from tests.local_machine import new_machine
from tests.pulumi_mocks import PROJECT

PAGE = PROJECT / "docs" / "adapting.md"
LEFT_BEHIND = shutil.ignore_patterns(".*", "__pycache__", "Pulumi.*.yaml.bak")


def commands_on_this_machine() -> list[str]:
    """Return the page's commands, but for those that need AWS or say SERVER where a name belongs."""
    blocks = re.findall(r"^```console\n(.*?)^```", PAGE.read_text(), re.DOTALL | re.MULTILINE)
    commands = [line.removeprefix("$ ") for block in blocks for line in block.splitlines()]
    return [command for command in commands if not command.startswith("pulumi ")]


@pytest.mark.exhaustive
def test_another_dataset_is_loaded_by_what_the_page_says(tmp_path: Path) -> None:
    copy = tmp_path / "project"
    shutil.copytree(PROJECT, copy, ignore=LEFT_BEHIND)
    (copy / ".venv").symlink_to(PROJECT / ".venv")
    if (PROJECT / ".build").exists():
        shutil.copytree(PROJECT / ".build", copy / ".build")  # the layers are the same
    commands = commands_on_this_machine()
    assert [command.split()[0] for command in commands] == ["cp", ".venv/bin/python", ".venv/bin/python"]
    looks = [
        ".venv/bin/python -m local status",
        ".venv/bin/python -m local history WA-1",
        ".venv/bin/python -m local report || true",
    ]
    with new_machine() as machine:
        said = ""
        for command in [*commands, *looks]:
            done = subprocess.run(
                ["bash", "-c", command],
                cwd=copy,
                env=os.environ | {"EV_LOCAL_DIR": str(machine.home)},
                capture_output=True,
                text=True,
                check=False,
            )
            assert done.returncode == 0, f"{command}\n{done.stdout}\n{done.stderr}"
            said += done.stdout + done.stderr
    assert "Version 2024-05-01 00:00 UTC is published: 3 libraries." in said
    assert "SUCCEEDED" in said
    assert "Traceback" not in said
    assert "3 libraries of version 2024-05-01" in said, "status"
    assert "code WA-1" in said, "history, by a key that is text"
    assert "There is no report about Public libraries" in said
    assert re.search(r"1900-01-01\s+1\n2000-01-01\s+1\n", said), "the view's answer, decade by decade"


def test_the_data_of_the_example_fits_the_contract_of_the_example() -> None:
    commands = commands_on_this_machine()
    assert "cp tests/other_dataset.py handlers/evdata/dataset.py" in commands
    assert any("--data tests/libraries.csv" in command for command in commands)
