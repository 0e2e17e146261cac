"""What stays between local runs, under `.local/<stack>/`, and who may touch it now.

lock                    held by the run that is going on
postgres/               the embedded server's data
<database>/bucket/      the raw bucket's objects, by the fingerprint of the database they belong to
<database>/published-file.sha256   the content of the file that was published last, if it was a file
logs/                   of the last run: one file a function, and moto's
../report.html          the report that was written last, of whatever stack
../functions/           unpacked archives, shared by all stacks
"""

import fcntl
import json
import os
import shlex
import shutil
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path
from typing import Any, Final, TextIO

from local.errors import LocalError

PROJECT: Final = Path(__file__).resolve().parent.parent
KEPT_VERSIONS: Final = 3
PATIENCE_SECONDS: Final = 600  # a run of the whole dataset takes half a minute


def typed(arguments: str) -> str:
    """Return a command of this program as it works when it is typed here: `.venv/bin/python -m local ARGUMENTS`."""
    python = Path(sys.executable)
    if python.is_relative_to(Path.cwd()):
        python = python.relative_to(Path.cwd())
    return f"{shlex.quote(str(python))} -m local {arguments}"


class State:
    """The directory of one stack. EV_LOCAL_DIR names another place than `.local`, as tests do."""

    def __init__(self, stack: str) -> None:
        self.home = Path(os.environ.get("EV_LOCAL_DIR") or PROJECT / ".local").resolve()
        self.folder = self.home / stack
        self.stack = stack

    @property
    def postgres(self) -> Path:
        """The embedded server's data."""
        return self.folder / "postgres"

    @property
    def logs(self) -> Path:
        """The last run's logs."""
        return self.folder / "logs"

    @property
    def functions(self) -> Path:
        """Unpacked archives."""
        return self.home / "functions"

    @property
    def report(self) -> Path:
        """The report that was written last."""
        return self.home / "report.html"

    def keep_report(self, bucket: Path) -> Path | None:
        """Put the bucket's newest report where a person finds it; None when there is none."""
        newest = bucket / "reports" / "latest.html"
        return Path(shutil.copy(newest, self.report)) if newest.exists() else None

    def bucket(self, fingerprint: str) -> Path:
        """The raw bucket's objects for one database."""
        return self.folder / fingerprint / "bucket"

    def published_version(self, fingerprint: str) -> str | None:
        """The version that was published last into one database, as its bucket says."""
        try:
            return str(json.loads((self.bucket(fingerprint) / "published.json").read_text())["dataset_version"])
        except (OSError, ValueError, KeyError):
            return None

    def published_digest(self, fingerprint: str) -> str | None:
        """The digest of the file that was published last into one database."""
        try:
            return (self.folder / fingerprint / "published-file.sha256").read_text().strip()
        except OSError:
            return None

    def remember_digest(self, fingerprint: str, digest: str | None) -> None:
        """Write down the digest of the file that was just published; None after a version from elsewhere."""
        path = self.folder / fingerprint / "published-file.sha256"
        if digest is None:
            path.unlink(missing_ok=True)
        else:
            path.write_text(f"{digest}\n")

    def forget(self, fingerprint: str | None = None) -> None:
        """Drop what is known of one database's bucket, or of every embedded one that ever was."""
        places = [self.folder / fingerprint] if fingerprint else self.folder.glob("embedded-*")
        for place in places:
            shutil.rmtree(place, ignore_errors=True)

    @contextmanager
    def locked(self, *, waiting: Callable[[str], None], patience: float = PATIENCE_SECONDS) -> Iterator[None]:
        """Be the only run of this stack in this checkout: wait for another, telling `waiting` for whom.

        LocalError after `patience` seconds.
        """
        self.folder.mkdir(parents=True, exist_ok=True)
        with (self.folder / "lock").open("a+") as lock:
            if not _taken(lock):
                lock.seek(0)
                holder = lock.read().strip() or "just begun"
                waiting(f"another local run of stack {self.stack} is going on here ({holder}); waiting for it to end")
                deadline = time.monotonic() + patience
                while not _taken(lock):
                    if time.monotonic() > deadline:
                        raise LocalError(
                            f"Another local run of stack {self.stack} is still going on here ({holder}): "
                            "end it, or run another stack (--stack prod) or another checkout."
                        )
                    time.sleep(0.2)
            lock.truncate(0)
            lock.write(f"process {os.getpid()}, since {datetime.now().astimezone():%H:%M:%S}\n")
            lock.flush()
            yield


def _taken(lock: TextIO) -> bool:
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def put_back(s3: Any, bucket: str, folder: Path) -> None:
    """Fill the new bucket with what the last run left."""
    for path in sorted(folder.rglob("*")) if folder.is_dir() else ():
        if path.is_file():
            s3.put_object(Bucket=bucket, Key=path.relative_to(folder).as_posix(), Body=path.read_bytes())


def take_away(s3: Any, bucket: str, folder: Path) -> None:
    """Keep the bucket's objects for the next run, all or (if we are killed here) those of the run before.

    Of raw data and reports only the last few versions are kept: there is no lifecycle here to expire them.
    """
    listed = s3.get_paginator("list_objects_v2").paginate(Bucket=bucket)
    keys = [item["Key"] for page in listed for item in page.get("Contents", ())]
    versions = sorted({"/".join(key.split("/")[:3]) for key in keys if key.startswith("raw_data/")})
    reports = sorted(key for key in keys if key.startswith("reports/version="))
    dropped = (*(f"{version}/" for version in versions[:-KEPT_VERSIONS]), *reports[:-KEPT_VERSIONS])
    unfinished = folder.with_name("bucket.unfinished")
    shutil.rmtree(unfinished, ignore_errors=True)
    unfinished.mkdir(parents=True)
    for key in keys:
        if key.startswith(dropped):
            continue
        path = unfinished / key
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(s3.get_object(Bucket=bucket, Key=key)["Body"].read())
    shutil.rmtree(folder, ignore_errors=True)
    unfinished.rename(folder)
