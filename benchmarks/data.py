"""Data to measure with: a file, or the bundled sample multiplied to any size, distributions kept and keys unique."""

import csv
import gzip
import hashlib
import io
import itertools
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

from botocore.exceptions import ClientError

from evdata.dataset import DATASET
from evdata.manifest import Manifest, Part
from evdata.raw_store import RawStore
from evdata.row_ids import ROW_ID, ROW_ID_COLUMN
from local.snapshot import SAMPLE
from local.soda import row_id

FIELDS: Final = tuple(column.field for column in DATASET.source_columns)
KEY: Final = FIELDS.index("dol_vehicle_id")
KEY_PRIME: Final = 479_001_599  # about the largest key of the real dataset, and so the most rows that can be generated
CITY: Final = FIELDS.index("city")

type Row = tuple[str, ...]


def rows_of(path: Path) -> list[Row]:
    """Return a CSV export's rows with the contract's fields in its order."""
    with gzip.open(path, "rt", newline="") if path.suffix == ".gz" else path.open(newline="") as text:
        reader = csv.reader(text)
        places = {DATASET.field_of(name): place for place, name in enumerate(next(reader))}
        order = [places.get(field) for field in FIELDS]
        return [tuple("" if place is None else row[place] for place in order) for row in reader]


def generated(count: int) -> Iterator[Row]:
    """Yield `count` rows: the sample again and again, each time under keys of its own. Any size, in little memory."""
    sample = rows_of(SAMPLE)
    for number in range(count):
        row = sample[number % len(sample)]
        # Each number once, in no order, as the source's own keys come: a multiple of one modulo a prime.
        yield (*row[:KEY], str(number * 7_919_317 % KEY_PRIME + 1), *row[KEY + 1 :])


def changed(rows: Iterator[Row] | list[Row], *, every: int) -> Iterator[Row]:
    """Yield the rows, one in `every` with another city."""
    for number, row in enumerate(rows):
        yield (*row[:CITY], "Elsewhere", *row[CITY + 1 :]) if number % every == 0 else row


def write_csv(path: Path, rows: Iterator[Row] | list[Row]) -> None:
    """Write rows as one plain CSV file with a header: what the baselines read."""
    with path.open("w", newline="") as target:
        writer = csv.writer(target)
        writer.writerow(FIELDS)
        writer.writerows(rows)


def write_version(store: RawStore, rows: Iterator[Row] | list[Row], version: datetime, *, part_rows: int) -> Manifest:
    """Lay a version down as extract would: parts as the source sends them, every value quoted, then the manifest."""
    parts: list[Part] = []
    for number, batch in enumerate(itertools.batched(rows, part_rows)):
        text = io.StringIO(newline="")
        writer = csv.writer(text, quoting=csv.QUOTE_ALL, lineterminator="\n")
        writer.writerow((ROW_ID, *FIELDS))
        writer.writerows((row_id(number * part_rows + place), *row) for place, row in enumerate(batch))
        content = gzip.compress(text.getvalue().encode(), compresslevel=6, mtime=0)
        parts.append(store.put_part(version, number, content, len(batch)))
    manifest = Manifest(
        dataset_id=DATASET.dataset_id,
        source="benchmark",
        dataset_version=version,
        extracted_at=datetime.now(UTC),
        columns=(ROW_ID_COLUMN, *({"name": f, "fieldName": f, "dataTypeName": "text"} for f in FIELDS)),
        rows=sum(part.rows for part in parts),
        parts=tuple(parts),
    )
    store.put_manifest(manifest)
    return manifest


class FolderS3:
    """As much of an S3 client as `RawStore` uses, over a folder: what is measured is the pipeline, not a cloud."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def get_object(self, *, Bucket: str, Key: str) -> dict[str, Any]:  # noqa: N803 - boto3's names
        path = self._folder / Bucket / Key
        if not path.exists():
            raise ClientError({"Error": {"Code": "NoSuchKey", "Message": Key}}, "GetObject")
        return {"Body": path.open("rb")}

    def put_object(self, *, Bucket: str, Key: str, Body: bytes, **_: str) -> dict[str, Any]:  # noqa: N803
        path = self._folder / Bucket / Key
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(Body)
        return {"ETag": hashlib.md5(Body, usedforsecurity=False).hexdigest()}
