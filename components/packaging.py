"""Reproducible Lambda archives: the handlers' code and one layer of pinned packages for each kind of function.

The same inputs give the same bytes: entries are sorted, times and modes fixed, packages come by hash from the lock
files, and nothing that a machine writes on its own (byte code, installer records) goes in. Archives lie under
`.build/`, named by the content of what they were made from, so that a second build finds them and does nothing.

uv installs for Lambda's platform from any other, without Docker.
"""

import hashlib
import shutil
import subprocess
import sys
import tempfile
import zipfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Literal

import uv

type Architecture = Literal["arm64", "x86_64"]

PROJECT: Final = Path(__file__).resolve().parent.parent
PYTHON_VERSION: Final = "3.12"

# What uv calls the platform. Lambda's python3.12 runs on Amazon Linux 2023, glibc 2.34, so wheels for 2.28 run there.
# https://docs.aws.amazon.com/lambda/latest/dg/lambda-runtimes.html
PLATFORMS: Final[dict[Architecture, str]] = {"arm64": "aarch64-manylinux_2_28", "x86_64": "x86_64-manylinux_2_28"}

# boto3 is packaged, so that the version tested is the version run; of botocore's 400 service models these are called.
BOTOCORE_SERVICES: Final = ("s3", "secretsmanager")

# What running needs not: tests shipped inside packages, stubs, C sources, and records of the machine that installed.
UNUSED_FOLDERS: Final = ("tests", "test", "__pycache__", "bin")
UNUSED_SUFFIXES: Final = (".pyc", ".pyi", ".pyx", ".pxd", ".c", ".h", ".a")
UNUSED_RECORDS: Final = ("RECORD", "INSTALLER", "REQUESTED", "direct_url.json", "uv_cache.json")

# Raised when the way of building changes, so that archives of the old way are not found again.
RECIPE: Final = "1"

_EPOCH: Final = (1980, 1, 1, 0, 0, 0)  # the earliest time that a zip can hold


class PackagingError(Exception):
    """The archives could not be built; the message says of what and why."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Packages:
    """Paths of the built archives.

    `handlers` holds all code of `handlers/` at its root and serves every function; a layer holds `python/` with the
    packages: `extract_layer` those of `requirements-extract.txt`, `load_layer` those of `requirements.txt`.
    """

    handlers: Path
    extract_layer: Path
    load_layer: Path


def build(architecture: Architecture, *, project: Path = PROJECT) -> Packages:
    """Build what is not built yet for `architecture` and return the archives' paths.

    Raises `PackagingError` when a package cannot be had for the platform.
    """
    source = project / "handlers"
    build_folder = project / ".build"
    return Packages(
        handlers=_handlers_archive(source, build_folder),
        extract_layer=_layer(source / "requirements-extract.txt", architecture, build_folder),
        load_layer=_layer(source / "requirements.txt", architecture, build_folder),
    )


def _handlers_archive(source: Path, build_folder: Path) -> Path:
    files = {
        name: path
        for name, path in _files(source)
        if "__pycache__" not in path.parts and not name.startswith("requirements")
    }
    digest = hashlib.sha256(RECIPE.encode())
    for name, path in sorted(files.items()):
        digest.update(f"{name}\0{hashlib.sha256(path.read_bytes()).hexdigest()}\n".encode())
    archive = build_folder / f"handlers-{digest.hexdigest()[:16]}.zip"
    if not archive.exists():
        write_archive(archive, files)
    return archive


def _layer(requirements: Path, architecture: Architecture, build_folder: Path) -> Path:
    platform = PLATFORMS[architecture]
    digest = hashlib.sha256(
        "\0".join((RECIPE, platform, PYTHON_VERSION, *BOTOCORE_SERVICES, requirements.read_text())).encode()
    )
    name = requirements.stem.replace("requirements", "layer")
    archive = build_folder / f"{name}-{architecture}-{digest.hexdigest()[:16]}.zip"
    if archive.exists():
        return archive
    build_folder.mkdir(exist_ok=True)
    with tempfile.TemporaryDirectory(dir=build_folder) as folder:
        _install(requirements, platform, Path(folder))
        files = {f"python/{name}": path for name, path in _files(Path(folder)) if _is_used(name)}
        write_archive(archive, files)
    return archive


def _install(requirements: Path, platform: str, target: Path) -> None:
    command = [
        *(uv.find_uv_bin(), "pip", "install", "--quiet"),
        *("--target", str(target), "--requirement", str(requirements), "--require-hashes"),
        *("--python-platform", platform, "--python-version", PYTHON_VERSION, "--only-binary", ":all:"),
        *("--python", sys.executable, "--link-mode", "copy", "--no-compile"),
    ]
    finished = subprocess.run(command, capture_output=True, text=True, check=False)  # noqa: S603 - our own command line
    if finished.returncode != 0:
        raise PackagingError(
            f"could not install {requirements.name} for {platform} and Python {PYTHON_VERSION}: every package must be "
            f"on the package index as a wheel, with the hash that the lock file names. uv said:\n"
            f"{finished.stderr.strip()}\n"
            "If a lock file is out of date, run `make lock`."
        )


def _files(folder: Path) -> Iterator[tuple[str, Path]]:
    for path in folder.rglob("*"):
        if path.is_file():
            yield path.relative_to(folder).as_posix(), path


def _is_used(name: str) -> bool:
    *folders, filename = name.split("/")
    if filename.endswith(UNUSED_SUFFIXES) or any(folder in UNUSED_FOLDERS for folder in folders):
        return False
    if folders and folders[-1].endswith(".dist-info") and filename in UNUSED_RECORDS:
        return False
    if folders[:2] == ["botocore", "data"] and len(folders) > 2:
        return folders[2] in BOTOCORE_SERVICES
    return folders[:1] != ["boto3"] or "examples" not in folders


def write_archive(archive: Path, files: dict[str, Path]) -> None:
    """Write `files` (name in the archive -> path) equal bytes for equal content, and never half an archive."""
    archive.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.NamedTemporaryFile(dir=archive.parent, suffix=".tmp", delete=False) as unfinished:
        try:
            with zipfile.ZipFile(unfinished, "w", zipfile.ZIP_DEFLATED, compresslevel=6) as target:
                for name, path in sorted(files.items()):
                    entry = zipfile.ZipInfo(name, date_time=_EPOCH)
                    entry.compress_type = zipfile.ZIP_DEFLATED
                    entry.create_system = 3  # Unix, whatever builds it, so that the modes count
                    entry.external_attr = (0o100755 if path.suffix == ".so" else 0o100644) << 16
                    with path.open("rb") as content, target.open(entry, "w") as sink:
                        shutil.copyfileobj(content, sink)
        except BaseException:
            Path(unfinished.name).unlink()
            raise
    Path(unfinished.name).replace(archive)


def main() -> None:
    """Build both architectures' archives and say where they are: `make package`."""
    for architecture in PLATFORMS:
        packages = build(architecture)
        for path in (packages.handlers, packages.extract_layer, packages.load_layer):
            sys.stdout.write(f"{path.stat().st_size / 1e6:6.1f} MB  {path.relative_to(PROJECT)}\n")


if __name__ == "__main__":
    main()
