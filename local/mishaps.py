"""What happened, in a sentence, when a command ended by an exception that nobody foresaw."""

import errno
import os
import pwd
import shutil
import traceback
from pathlib import Path
from typing import Final

from local.state import PROJECT, State

# Their messages are written for people.
_IN_WORDS: Final = {"SettingsError", "PackagingError", "RunError"}
_FULL_BYTES: Final = 20_000_000


def explain(error: Exception) -> str:
    """Return what to tell the user; the traceback goes to a file that the text names."""
    if type(error).__name__ in _IN_WORDS:
        return str(error)
    home = State("dev").home
    if (full := _full_disk(error, home)) is not None:
        return full
    if (
        isinstance(error, OSError)
        and error.filename
        and error.errno in (errno.EACCES, errno.EPERM, errno.EROFS, errno.ENOTDIR)
    ):
        return _closed(error, home)
    first = (str(error).strip().splitlines() or ["no message"])[0]
    return f"this is a defect of the program ({type(error).__name__}: {first}).{_traceback_kept(error, home)}"


def _full_disk(error: Exception, home: Path) -> str | None:
    places = {home, PROJECT, Path(os.environ.get("TMPDIR", "/tmp"))}  # noqa: S108 - only looked at
    for place in places:
        exists = next(folder for folder in (place, *place.parents) if folder.exists())
        if getattr(error, "errno", None) == errno.ENOSPC or shutil.disk_usage(exists).free < _FULL_BYTES:
            return (
                f"there is no space left on the disk of {exists} ({type(error).__name__}). Free some (a run of the "
                "sample needs about 500 MB), or set EV_LOCAL_DIR to a folder on another disk."
            )
    return None


def _closed(error: OSError, home: Path) -> str:
    path = Path(os.fsdecode(error.filename))
    owner = ""
    if path.exists():
        try:
            owner = f"; it belongs to {pwd.getpwuid(path.stat().st_uid).pw_name}"
        except KeyError:
            owner = f"; it belongs to user {path.stat().st_uid}"
    return (
        f"{path} cannot be used ({error.strerror}{owner}). Set EV_LOCAL_DIR to a folder of yours in place of {home}, "
        "or use your own checkout."
    )


def _traceback_kept(error: Exception, home: Path) -> str:
    file = home / "error.log"
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text("".join(traceback.format_exception(error)), encoding="utf-8")
    except OSError:
        return " Run it again with more space or rights to get a log."
    return f" The details are in {file}: please report them."
