"""Where the embedded PostgreSQL keeps its files: in `.local` where it can, elsewhere where it cannot.

PostgreSQL's tools pass paths through a shell, a Unix socket's path has about a hundred characters, and PostgreSQL
refuses to run as root, so that another user must reach the files then. No mode of any folder is changed for that: where
the project's own place will not do, the files go to a folder of their own below the user's data directory, and `.local`
holds a link to it.
"""

import hashlib
import os
import pwd
import re
import shutil
from pathlib import Path
from typing import Final

from local.errors import LocalError

# Linux allows 107 bytes for a socket's path. https://man7.org/linux/man-pages/man7/unix.7.html
LONGEST_FOLDER: Final = 107 - len("/.s.PGSQL.65535.lock")
_PLAIN: Final = re.compile(r"[A-Za-z0-9/._+@,:-]+")
# Whom root runs the server as: PostgreSQL's own account where a package made one, or the account without rights.
_ACCOUNTS: Final = ("postgres", "nobody")


def server_account(data: Path) -> pwd.struct_passwd | None:
    """Return the account that the server runs as if we are root (the data's owner if there is one), None otherwise."""
    if os.geteuid() != 0:
        return None
    if data.exists() and (owner := data.stat().st_uid) != 0:
        return pwd.getpwuid(owner)
    for name in _ACCOUNTS:
        try:
            return pwd.getpwnam(name)
        except KeyError:
            continue
    raise LocalError(
        f"PostgreSQL does not run as root, and this machine has no user {' or '.join(_ACCOUNTS)} to run it as. "
        "Run this as another user, or use another server with --database-url."
    )


def for_data(data: Path) -> Path:
    """Return the folder for the server's data: `data` itself, or the one that a link at `data` leads to.

    Raises LocalError when there is no place that PostgreSQL could use.
    """
    if data.is_symlink():
        return data.resolve()
    found = data.resolve()
    if _why_not(found) is None and len(os.fsencode(found)) <= LONGEST_FOLDER:
        return found
    elsewhere = _elsewhere(found) / data.name
    data.parent.mkdir(parents=True, exist_ok=True)
    if data.exists():
        shutil.move(data, elsewhere)
    data.symlink_to(elsewhere)
    return elsewhere


def for_programs(package: Path) -> Path:
    """Return a copy of the package's folder that the server's user can run programs from: itself where that will do."""
    if _why_not(package, read=True) is None:
        return package
    digest = hashlib.sha256(f"{package}\0{package.stat().st_mtime_ns}".encode()).hexdigest()[:12]
    copy = _elsewhere(package) / digest / package.name
    if not copy.exists():
        unfinished = copy.parent.with_name(f"{digest}.{os.getpid()}")
        # The wheel's programs look for their libraries in the folder beside the package.
        for part in (package, package.with_name(f"{package.name}.libs")):
            if part.exists():
                shutil.copytree(part, unfinished / part.name)
        for path in unfinished.rglob("*"):
            path.chmod(path.stat().st_mode | (0o055 if path.is_dir() or path.parent.name == "bin" else 0o044))
        unfinished.chmod(0o755)
        try:
            unfinished.rename(copy.parent)
        except OSError:  # another process made the same copy meanwhile
            shutil.rmtree(unfinished)
    return copy


def _why_not(path: Path, *, read: bool = False) -> str | None:
    """Return why PostgreSQL could not use `path`, or None if it can."""
    if not _PLAIN.fullmatch(str(path)):
        return "PostgreSQL's tools cannot handle the characters in the path"
    if os.geteuid() == 0:
        for folder in path.parents:
            if folder.exists() and not folder.stat().st_mode & 0o001:
                return f"{folder} is closed to other users"
        if read and not all(part.stat().st_mode & 0o005 == 0o005 for part in (path, path / "pginstall" / "bin")):
            return f"{path} is closed to other users"
    return None


def _elsewhere(path: Path) -> Path:
    """Return a folder of ours for what cannot stand at `path`."""
    name = f"ev-population-{hashlib.sha256(os.fsencode(path)).hexdigest()[:12]}"
    usual = Path("/var/lib") if os.geteuid() == 0 else Path.home() / ".local" / "share"
    home = Path(os.environ.get("XDG_DATA_HOME") or usual)
    for parent in (home, usual, Path("/var/tmp"), Path("/tmp")):  # noqa: S108 - ours alone: checked below
        folder = parent / name
        if _why_not(folder / "x") or len(os.fsencode(folder)) > LONGEST_FOLDER - 20:
            continue
        try:
            folder.mkdir(parents=True, exist_ok=True, mode=0o711)
            if folder.is_symlink() or folder.stat().st_uid != os.geteuid():
                continue  # somebody else's, by accident or on purpose
            folder.chmod(0o711)
            if _why_not(folder / "x") is None:
                return folder
            folder.rmdir()  # what lies above it was made just now and is closed, as the umask says
        except OSError:
            continue
    raise LocalError(
        f"PostgreSQL cannot use {path} ({_why_not(path) or 'the path is too long for a socket'}), and no other place "
        "was found. Move the project, set EV_LOCAL_DIR, or use another server with --database-url."
    )
