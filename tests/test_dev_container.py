"""The dev container: what it says must be what the project has."""

import json
import re

from local.serve import PORT
from local.state import PROJECT

CONTAINER = json.loads((PROJECT / ".devcontainer" / "devcontainer.json").read_text(encoding="utf-8"))


def test_it_has_the_python_that_the_project_asks_for() -> None:
    version = (PROJECT / ".python-version").read_text().strip()
    assert CONTAINER["image"].startswith(f"mcr.microsoft.com/devcontainers/python:{version}-")


def test_it_runs_make_local_once_it_is_open() -> None:
    assert CONTAINER["postAttachCommand"] == "make local"
    assert re.search(r"^local:", (PROJECT / "Makefile").read_text(), re.MULTILINE)


def test_it_forwards_the_port_of_serve() -> None:
    assert CONTAINER["forwardPorts"] == [PORT]
    assert list(CONTAINER["portsAttributes"]) == [str(PORT)]
