"""A version of the dataset as it lies in S3: its keys, and the manifest that makes it exist.

    raw_data/date=YYYYMMDD/version=YYYYMMDDTHHMMSSZ/part-00000.csv.gz ... parts.json, manifest.json

The manifest is written last: a version without one does not exist. `date` is the day of the version, so that a
version has one place, whenever it was extracted.
"""

import json
import re
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import asdict, dataclass, fields
from datetime import UTC, datetime
from typing import Any, Final

from evdata.errors import RawDataError
from evdata.row_ids import ROW_ID

PUBLISHED_KEY: Final = "published.json"
REPORTS: Final = "reports"
LATEST_REPORT_KEY: Final = f"{REPORTS}/latest.html"
_MANIFEST_KEY: Final = re.compile(r"raw_data/date=\d{8}/version=(\d{8}T\d{6}Z)/manifest\.json")


@dataclass(frozen=True, slots=True, kw_only=True)
class Part:
    """A part: `rows` data rows in `bytes` of gzip-compressed CSV at `key`, whose digest is `sha256` (hexadecimal)."""

    part: int
    key: str
    rows: int
    bytes: int
    sha256: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Manifest:
    """What was extracted: `rows` of `dataset_id` as of `dataset_version` (the source's `rowsUpdatedAt`), in parts."""

    dataset_id: str
    source: str
    dataset_version: datetime
    extracted_at: datetime
    columns: tuple[dict[str, str], ...]  # Socrata's name, fieldName and dataTypeName of each column extracted
    rows: int
    parts: tuple[Part, ...]

    @property
    def key(self) -> str:
        return key_of(self.dataset_version)

    @property
    def parts_key(self) -> str:
        return f"{prefix(self.dataset_version)}/parts.json"

    @property
    def bytes(self) -> int:
        return sum(part.bytes for part in self.parts)

    @property
    def has_row_ids(self) -> bool:
        """Whether the parts have `:id`, without which nobody can tell that pages overlapped."""
        return any(column["fieldName"] == ROW_ID for column in self.columns)

    def require_row_ids(self) -> None:
        """Raise `RawDataError` for a version that an earlier release copied, without `:id`."""
        if not self.has_row_ids:
            raise RawDataError(
                f"{self.key} was extracted by an earlier release, without :id, so nobody can tell whether a row is "
                "missing. The next run extracts the version again."
            )

    def part(self, number: int) -> Part:
        """Return the part of that number, or raise `RawDataError` naming those there are."""
        for part in self.parts:
            if part.part == number:
                return part
        raise RawDataError(f"manifest {self.key} has no part {number}; it has parts 0 to {len(self.parts) - 1}")

    def to_json(self) -> str:
        return json.dumps(
            asdict(self) | {"dataset_version": iso(self.dataset_version), "extracted_at": iso(self.extracted_at)},
            indent=1,
        )

    def parts_to_json(self) -> str:
        """Return the array of parts alone: what the state machine's Map reads."""
        return json.dumps([asdict(part) for part in self.parts])

    @classmethod
    def from_json(cls, text: str, key: str) -> "Manifest":
        """Read the manifest at `key`. Raises `RawDataError` when it is not one, not that key's, or does not add up."""
        try:
            document: Mapping[str, Any] = json.loads(text)
            manifest = cls(
                dataset_id=document["dataset_id"],
                source=document["source"],
                dataset_version=parse_time(document["dataset_version"]),
                extracted_at=parse_time(document["extracted_at"]),
                columns=tuple(
                    {name: column[name] for name in ("name", "fieldName", "dataTypeName")}
                    for column in document["columns"]
                ),
                rows=document["rows"],
                parts=tuple(_of_right_types(Part(**part)) for part in document["parts"]),
            )
            _of_right_types(manifest)
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise RawDataError(
                f"{key} is not a manifest ({type(error).__name__}: {error}). Run again with force to extract anew."
            ) from error
        if manifest.key != key:
            raise RawDataError(
                f"manifest {key} is that of another version, {iso(manifest.dataset_version)}. Run again with force to "
                "extract anew."
            )
        counted = sum(part.rows for part in manifest.parts)
        if not manifest.parts:
            raise RawDataError(f"manifest {key} names no parts. Run again with force to extract anew.")
        if counted != manifest.rows or [part.part for part in manifest.parts] != list(range(len(manifest.parts))):
            raise RawDataError(
                f"manifest {key} does not add up: it names {manifest.rows} rows, its {len(manifest.parts)} parts hold "
                f"{counted}. Run again with force to extract anew."
            )
        return manifest


@dataclass(frozen=True, slots=True, kw_only=True)
class Published:
    """Which version stands in the table: `published.json` at the bucket's root, so that extract needs no database."""

    dataset_id: str
    dataset_version: str
    manifest_key: str
    rows: int
    execution_id: str

    def to_json(self) -> str:
        return json.dumps(asdict(self), indent=1)

    @classmethod
    def from_json(cls, text: str) -> "Published":
        """Read what `to_json` wrote. Raises ValueError for anything else."""
        try:
            return _of_right_types(cls(**json.loads(text)))
        except TypeError as error:
            raise ValueError(f"not a record of what was published: {error}") from error


def _of_right_types[T: (Part, Manifest, Published)](record: T) -> T:
    """Return the record. Raises TypeError when JSON held another type where a text or a number belongs."""
    for field in fields(record):
        value = getattr(record, field.name)
        if field.type in (str, int) and type(value) is not field.type:
            raise TypeError(f"{field.name} is {value!r}")
    return record


def prefix(version: datetime) -> str:
    """Return where a version lies, without a slash at the end."""
    return f"raw_data/date={version:%Y%m%d}/version={version:%Y%m%dT%H%M%SZ}"


def part_key(version: datetime, number: int) -> str:
    return f"{prefix(version)}/part-{number:05d}.csv.gz"


def key_of(version: datetime) -> str:
    """Return where the manifest of a version lies."""
    return f"{prefix(version)}/manifest.json"


def report_key(version: datetime) -> str:
    """Return where the report of a version lies."""
    return f"{REPORTS}/version={version.astimezone(UTC):%Y%m%dT%H%M%SZ}.html"


def version_of(key: str) -> datetime:
    """Return the version whose manifest lies at `key`. Raises ValueError when no manifest can."""
    found = _MANIFEST_KEY.fullmatch(key)
    with suppress(ValueError):  # a day that no month has
        version = datetime.strptime(found[1] if found else "", "%Y%m%dT%H%M%SZ").replace(tzinfo=UTC)
        if key_of(version) == key:
            return version
    raise ValueError(f"{key!r}, expected raw_data/date=YYYYMMDD/version=YYYYMMDDTHHMMSSZ/manifest.json")


def iso(moment: datetime) -> str:
    """Return a moment as UTC to the second: 2023-10-15T00:00:00Z."""
    return f"{moment.astimezone(UTC):%Y-%m-%dT%H:%M:%SZ}"


def parse_time(text: str) -> datetime:
    """Read what `iso` wrote. Raises ValueError for anything without a zone."""
    moment = datetime.fromisoformat(text)
    if moment.tzinfo is None:
        raise ValueError(f"{text!r} has no time zone")
    return moment.astimezone(UTC)
