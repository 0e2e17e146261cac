"""Where the rows of a local run come from: the stand-in with a file or the sample, or a real Socrata server."""

import gzip
import hashlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Final
from urllib.parse import urlsplit

import requests

from local.errors import LocalError
from local.open_data import OpenData
from local.snapshot import DATASET_ID, SAMPLE, SAMPLE_NOTE, SAMPLE_UPDATED_AT, Snapshot

TIMEOUT_SECONDS: Final = (10, 60)
_LOOPBACK: Final = ("127.0.0.1", "localhost")


@dataclass(frozen=True, slots=True, kw_only=True)
class Source:
    """A base URL that answers as Socrata does, and what people should know about it."""

    url: str
    description: str
    version: int | None = None  # rowsUpdatedAt of what is served, epoch seconds; None where a portal decides
    digest: str | None = None  # of the file that is served, uncompressed
    note: str = ""  # what must be said of the rows wherever they are shown


@contextmanager
def stand_in(data: Path | None, *, dataset_id: str, rows_updated_at: int | None) -> Iterator[Source]:
    """The stand-in serving a file, or the sample. LocalError when the file will not do."""
    if data is None:
        moment = SAMPLE_UPDATED_AT if rows_updated_at is None else rows_updated_at
        snapshot = Snapshot.from_csv(SAMPLE, rows_updated_at=moment, dataset_id=dataset_id)
        what = "the bundled sample of real data,"
    else:
        # Which column another dataset goes by, its contract says, and the handlers refuse what lacks it.
        another = dataset_id != DATASET_ID
        key = None if another else "dol_vehicle_id"
        snapshot = Snapshot.from_csv(data, rows_updated_at=rows_updated_at, dataset_id=dataset_id, key=key)
        snapshot = replace(snapshot, title=data.name) if another else snapshot
        what = f"{data.name},"
    with OpenData(snapshot) as server:
        day = datetime.fromtimestamp(snapshot.rows_updated_at, UTC)
        yield Source(
            url=server.url,
            description=f"{what} {len(snapshot.rows):,} rows, version {day:%Y-%m-%d}",
            version=snapshot.rows_updated_at,
            digest=_digest(data or SAMPLE),
            note=SAMPLE_NOTE if data is None else "",
        )


def _digest(path: Path) -> str:
    """SHA-256 of a file's content, which is the same compressed or not."""
    with path.open("rb") as file:
        compressed = file.read(2) == b"\x1f\x8b"
    with gzip.open(path) if compressed else path.open("rb") as content:
        return hashlib.file_digest(content, "sha256").hexdigest()


def elsewhere(url: str, *, dataset_id: str) -> Source:
    """A Socrata server somewhere, asked once to be sure. LocalError says why it will not do."""
    parts = urlsplit(url)
    if parts.scheme not in {"http", "https"} or not parts.hostname or parts.path.strip("/") or parts.query:
        raise LocalError(f"--source must be the base URL of a Socrata server, such as https://data.wa.gov; got {url}.")
    if parts.scheme == "http" and parts.hostname not in _LOOPBACK:
        raise LocalError(f"--source must be https, as only this machine is trusted without; got {url}.")
    base = url.rstrip("/")
    not_socrata = f"--source {base} does not answer as a Socrata server does; name one, such as https://data.wa.gov."
    try:
        answer = requests.get(f"{base}/api/views/{dataset_id}.json", timeout=TIMEOUT_SECONDS)
    except requests.Timeout:
        raise LocalError(
            f"--source {base} does not answer in time; try again, or use the sample (no --source)."
        ) from None
    except requests.RequestException:
        raise LocalError(
            f"--source {base} cannot be reached; check the name and the network, or use the sample (no --source)."
        ) from None
    try:
        said = answer.json()
    except ValueError:
        if answer.status_code in {429, 500, 502, 503, 504}:
            raise LocalError(
                f"--source {base} is not available now (HTTP {answer.status_code}); try again later, "
                "or use the sample (no --source)."
            ) from None
        raise LocalError(not_socrata) from None
    if answer.status_code == 404 and isinstance(said, dict) and said.get("error"):
        raise LocalError(f"--source {base} has no dataset {dataset_id}; name one with --dataset-id.")
    if answer.status_code != 200:
        raise LocalError(f"--source {base} refuses to describe dataset {dataset_id} (HTTP {answer.status_code}).")
    if not isinstance(said, dict) or not isinstance(said.get("columns"), list):
        raise LocalError(not_socrata)
    return Source(url=base, description=f"{base}, “{said.get('name', dataset_id)}”")
