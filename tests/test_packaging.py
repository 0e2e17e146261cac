"""The archives: small, the same every time, built once, and importable with nothing else beside them."""

import hashlib
import os
import platform
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

from components import packaging
from components.packaging import Architecture, Packages

HERE: Architecture = "arm64" if platform.machine() in ("arm64", "aarch64") else "x86_64"
MEGABYTE = 1_000_000


@pytest.fixture(scope="module")
def packages() -> Packages:
    return packaging.build(HERE)


def names_in(archive: Path) -> list[str]:
    with zipfile.ZipFile(archive) as opened:
        return opened.namelist()


def import_from(handlers: Path, layer: Path, folder: Path, statement: str) -> subprocess.CompletedProcess[str]:
    """Run a statement as Lambda would: the code and its layer on the path, the standard library, nothing else."""
    for archive in (handlers, layer):
        with zipfile.ZipFile(archive) as opened:
            opened.extractall(folder)
    path = [str(folder), str(folder / "python")]
    bootstrap = f"import sys; sys.path[:] = {path!r} + [p for p in sys.path if 'site-packages' not in p]; {statement}"
    environment = {
        "AWS_DEFAULT_REGION": "ap-northeast-1",
        "POWERTOOLS_METRICS_NAMESPACE": "test",
        "PATH": os.environ["PATH"],
    }
    return subprocess.run(
        [sys.executable, "-I", "-S", "-c", bootstrap], env=environment, capture_output=True, text=True, check=False
    )


@pytest.mark.parametrize(
    ("layer", "statement"),
    [
        ("extract_layer", "import extract; assert callable(extract.handler)"),
        ("load_layer", "import load; assert callable(load.stage); assert callable(load.publish)"),
        ("load_layer", "import alembic.command, sqlalchemy.dialects.postgresql.psycopg2"),
    ],
)
def test_every_handler_imports_from_its_own_archives_alone(
    packages: Packages, tmp_path: Path, layer: str, statement: str
) -> None:
    finished = import_from(packages.handlers, getattr(packages, layer), tmp_path, statement)
    assert finished.returncode == 0, finished.stderr


def test_the_report_is_drawn_from_the_archives_alone(packages: Packages, tmp_path: Path) -> None:
    assets = {name for name in names_in(packages.handlers) if name.startswith("evdata/report/assets/")}
    assert {name.rpartition("/")[2] for name in assets} >= {
        "page.html",
        "page.css",
        "page.js",
        "echarts.js",
        "NOTICE.txt",
    }
    statement = (
        "from evdata.report.facts import Facts; from evdata.report.page import page; "
        "assert 'registerMap' in page(Facts()), 'the library is missing'"
    )
    finished = import_from(packages.handlers, packages.load_layer, tmp_path, statement)
    assert finished.returncode == 0, finished.stderr


def test_the_extract_function_carries_no_pandas(packages: Packages, tmp_path: Path) -> None:
    heavy = ("pandas", "numpy", "psycopg2", "sqlalchemy")
    assert not [
        name for name in names_in(packages.extract_layer) if name.startswith(tuple(f"python/{h}" for h in heavy))
    ]
    statement = "import extract; assert not {'pandas', 'numpy', 'psycopg2'} & set(sys.modules), 'imported'"
    finished = import_from(packages.handlers, packages.extract_layer, tmp_path, statement)
    assert finished.returncode == 0, finished.stderr


def test_archives_are_small_enough_to_start_fast(packages: Packages) -> None:
    assert packages.extract_layer.stat().st_size <= 15 * MEGABYTE
    assert packages.load_layer.stat().st_size <= 50 * MEGABYTE
    with zipfile.ZipFile(packages.load_layer) as opened:
        assert sum(entry.file_size for entry in opened.infolist()) <= 200 * MEGABYTE


def test_entries_are_sorted_with_fixed_times_and_modes(packages: Packages) -> None:
    for archive in (packages.handlers, packages.extract_layer, packages.load_layer):
        with zipfile.ZipFile(archive) as opened:
            entries = opened.infolist()
        assert [entry.filename for entry in entries] == sorted(entry.filename for entry in entries)
        assert {entry.date_time for entry in entries} == {(1980, 1, 1, 0, 0, 0)}
        assert {entry.external_attr >> 16 for entry in entries} <= {0o100644, 0o100755}
        assert not [e.filename for e in entries if e.filename.endswith(".pyc") or "__pycache__" in e.filename]


def test_the_same_inputs_give_the_same_bytes_in_another_place_at_another_time(
    packages: Packages, tmp_path: Path
) -> None:
    shutil.copytree(packaging.PROJECT / "handlers", tmp_path / "handlers", ignore=shutil.ignore_patterns("__pycache__"))
    for path in (tmp_path / "handlers").rglob("*"):
        os.utime(path, (0, 0))
        path.chmod(0o700)
    # The load layer is built by the same code from a longer list; building it twice would cost everyone a minute.
    shutil.copy(tmp_path / "handlers" / "requirements-extract.txt", tmp_path / "handlers" / "requirements.txt")
    again = packaging.build(HERE, project=tmp_path)
    for mine, other in ((packages.handlers, again.handlers), (packages.extract_layer, again.extract_layer)):
        assert hashlib.sha256(mine.read_bytes()).digest() == hashlib.sha256(other.read_bytes()).digest()
        assert mine.name == other.name


def test_a_second_build_builds_nothing(packages: Packages, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise AssertionError("something was built again")

    monkeypatch.setattr(subprocess, "run", refuse)
    monkeypatch.setattr(packaging, "write_archive", refuse)
    assert packaging.build(HERE) == packages


def test_changed_code_gives_another_archive_and_leaves_the_layers(packages: Packages, tmp_path: Path) -> None:
    (tmp_path / ".build").mkdir()
    for layer in (packages.extract_layer, packages.load_layer):
        (tmp_path / ".build" / layer.name).symlink_to(layer)
    shutil.copytree(packaging.PROJECT / "handlers", tmp_path / "handlers", ignore=shutil.ignore_patterns("__pycache__"))
    with (tmp_path / "handlers" / "extract.py").open("a") as code:
        code.write("# changed\n")
    again = packaging.build(HERE, project=tmp_path)
    assert again.handlers.name != packages.handlers.name
    assert (again.extract_layer.name, again.load_layer.name) == (packages.extract_layer.name, packages.load_layer.name)


def test_a_package_that_cannot_be_had_is_named_and_leaves_no_archive(tmp_path: Path) -> None:
    handlers = tmp_path / "handlers"
    handlers.mkdir()
    digest = "0" * 64
    for name in ("requirements.txt", "requirements-extract.txt"):
        (handlers / name).write_text(f"idna==3.10 --hash=sha256:{digest}\n")
    with pytest.raises(packaging.PackagingError, match=r"(?s)requirements-extract\.txt for .*idna.*make lock"):
        packaging.build(HERE, project=tmp_path)
    assert not list((tmp_path / ".build").glob("layer*.zip"))


def test_the_extract_requirements_are_a_part_of_the_load_requirements() -> None:
    def pins(name: str) -> set[str]:
        lines = (packaging.PROJECT / "handlers" / name).read_text().splitlines()
        return {line.split(" ")[0] for line in lines if "==" in line}

    assert pins("requirements-extract.txt") <= pins("requirements.txt"), "one version of a package in all functions"
    assert pins("requirements-extract.txt")
