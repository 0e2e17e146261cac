"""Create the project's virtual environment, or repair a half-made one. Standard library only: nothing is installed yet.

`make` runs this as `python3.12 -I local/environment.py VENV REQUIREMENTS...` when VENV is missing or out of date. It
installs the pinned uv with pip, and with uv everything that the requirements files name. Two calls at once wait for
each other. What can go wrong on somebody's machine ends in one sentence and exit code 1.
"""

import fcntl
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import NoReturn

VERSION = (3, 12)


def main(venv: Path, requirements: list[Path]) -> None:
    """Bring `venv` to what the requirements files say."""
    lock = os.open(".", os.O_RDONLY)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        _say(f"another make is setting up {venv}; waiting for it")
        fcntl.flock(lock, fcntl.LOCK_EX)
    except OSError:
        pass  # a file system without locks: two first calls at once are then the user's to avoid
    stamps = [venv / f".ready{path.stem.removeprefix('requirements')}" for path in requirements]
    python = venv / "bin" / "python"
    if not _is_ours(python):
        _create(venv)
        for stamp in venv.glob(".ready*"):
            stamp.unlink()
    uv = _install_uv(venv, python)
    for file, stamp in zip(requirements, stamps, strict=True):
        if not stamp.exists() or stamp.stat().st_mtime < file.stat().st_mtime:  # else another make got here first
            _say(f"installing the packages of {file}")
            _run(
                [uv, "pip", "install", "--python", python, "-r", file], f"the packages of {file} could not be installed"
            )
        stamp.touch()


def _is_ours(python: Path) -> bool:
    """Whether `python` is there, runs, and is Python 3.12."""
    try:
        told = subprocess.run(
            [python, "-I", "-c", "import sys; print(*sys.version_info[:2])"],
            capture_output=True,
            text=True,
            check=False,
        )
    except OSError:
        return False
    return told.stdout.split() == [str(number) for number in VERSION]


def _create(venv: Path) -> None:
    if venv.is_symlink():
        _stop(
            f"{venv} is a link to {venv.resolve()}, which is not a virtual environment of Python 3.12; remove the link"
        )
    if venv.exists():
        _say(f"{venv} is incomplete or of another Python; making it again")
        shutil.rmtree(venv)
    _say(f"creating {venv} with Python {sys.version.split()[0]}; this happens once and takes about a minute")
    _run(
        [sys.executable, "-m", "venv", venv],
        "the virtual environment could not be created; on Debian and Ubuntu: apt install python3.12-venv",
    )


def _install_uv(venv: Path, python: Path) -> Path:
    """Return the pinned uv, installed by pip unless it is there."""
    pinned = re.search(r"^uv==(\S+)", Path("requirements.txt").read_text(encoding="utf-8"), re.MULTILINE)
    assert pinned, "requirements.txt pins uv"  # noqa: S101 - `make lock` sees to it
    uv = venv / "bin" / "uv"
    try:
        found = subprocess.run([uv, "--version"], capture_output=True, text=True, check=False).stdout.split()
    except OSError:
        found = []
    if found[1:2] != [pinned[1]]:
        pip: list[str | Path] = [python, "-m", "pip", "--disable-pip-version-check"]
        if subprocess.run([*pip, "--version"], capture_output=True, check=False).returncode != 0:
            _run([python, "-m", "ensurepip"], "pip could not be installed into the virtual environment")
        _say(f"installing uv {pinned[1]}, which installs the rest")
        _run([*pip, "install", "--quiet", pinned[0]], "uv could not be installed from the package index")
    return uv


def _run(command: list[str | Path], failure: str) -> None:
    finished = subprocess.run(command, check=False)
    if finished.returncode != 0:
        _stop(f"{failure} (see above). Check the network and the free space, then run the same command again")


def _say(text: str) -> None:
    print(f"make: {text}", file=sys.stderr, flush=True)  # noqa: T201 - before anything better is installed


def _stop(text: str) -> NoReturn:
    _say(f"{text}.")
    sys.exit(1)


if __name__ == "__main__":
    try:
        main(Path(sys.argv[1]), [Path(name) for name in sys.argv[2:]])
    except KeyboardInterrupt:
        _stop("stopped; the next make goes on from here")
    except OSError as error:
        _stop(
            f"{error.filename or 'the environment'} cannot be written: {error.strerror}. "
            "Clone the project to a folder of yours"
        )
