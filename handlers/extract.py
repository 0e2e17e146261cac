"""Lambda entry point: copy one pinned version of the dataset from the source to S3, or find that nothing changed.

Event:  {"bucket_name": str, "secret_arn": str, "force"?: bool, "repairs"?: str}
Answer: {"status": "extracted" | "unchanged", "dataset_version", "manifest_key", "rows", "parts", "bytes", "message",
"headline", "notes": [str]}
"""

import math
import os
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any, Final

from aws_lambda_powertools import Logger, Metrics
from aws_lambda_powertools.metrics import MetricUnit
from aws_lambda_powertools.utilities.typing import LambdaContext
from botocore.exceptions import BotoCoreError, ClientError

from evdata.aws import aws_error, secrets_client
from evdata.contract import Dataset, Match
from evdata.dataset import DATASET
from evdata.environment import event_flag, event_text, number_setting, setting, told
from evdata.errors import InputError, SourceError, TransientError
from evdata.manifest import Manifest, iso
from evdata.raw_store import RawStore
from evdata.row_ids import ROW_ID_COLUMN, DistinctIds
from evdata.socrata import Metadata, Page, Socrata
from evdata.visible import visible, visible_json

logger = Logger(json_serializer=visible_json)
metrics = Metrics()

# What is left of the function's time when asking stops: enough to say why, in words, before Lambda ends it without any.
RESERVE_SECONDS: Final = 20

# How far the source's clock may be ahead of ours.
FUTURE: Final = timedelta(days=1)

# A publish takes the staging tables of all parts away in one transaction, at 13 locks each; PostgreSQL's default of
# max_locks_per_transaction has room for some 6,400 at 100 connections. Seen to end at 1,250 parts.
MOST_PARTS: Final = 500


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """What the state machine goes on with. `headline` ends the subject of the mail whose body is `message`."""

    status: str
    dataset_version: str
    manifest_key: str
    rows: int
    parts: int
    bytes: int
    message: str
    headline: str
    notes: tuple[str, ...] = ()  # what the message of the published version must say too

    def to_dict(self) -> dict[str, Any]:
        return {name: getattr(self, name) for name in self.__slots__} | {"notes": list(self.notes)}


@logger.inject_lambda_context
@told(logger)
def handler(event: dict[str, Any], context: LambdaContext) -> dict[str, Any]:
    """Answer the state machine's Extract state."""
    store = RawStore(event_text(event, "bucket_name"))
    source = Socrata(
        setting("SOURCE_URL"),
        setting("DATASET_ID"),
        budget=lambda: context.get_remaining_time_in_millis() / 1000 - RESERVE_SECONDS,
        app_token=_app_token(os.environ.get("APP_TOKEN_SECRET_ARN")),
    )
    answer = extract(
        source,
        store,
        DATASET,
        part_rows=number_setting("PART_ROWS", int),
        max_age_days=number_setting("MAX_SOURCE_AGE_DAYS", int),
        force=event_flag(event, "force"),
        repairs=event_text(event, "repairs") if "repairs" in event else None,
    )
    # Whether an unchanged source means that the table is right is for CheckTable to say, and to count.
    metrics.add_metric("SourceAgeDays", MetricUnit.NoUnit, _age_days(datetime.fromisoformat(answer.dataset_version)))
    if answer.status == "extracted":
        metrics.add_metric("RowsExtracted", MetricUnit.Count, answer.rows)
        metrics.add_metric("BytesExtracted", MetricUnit.Bytes, answer.bytes)
    metrics.flush_metrics()
    logger.info(answer.message, extra={"answer": answer.to_dict()})
    return answer.to_dict()


def extract(
    source: Socrata,
    store: RawStore,
    dataset: Dataset,
    *,
    part_rows: int,
    max_age_days: int,
    force: bool,
    repairs: str | None = None,
) -> Answer:
    """Bring the source's present version to the store, whole and proven, in parts of `part_rows` rows.

    A version that was published already costs one request. One that lies whole in the store already is not copied
    again, unless `force` asks for it. `repairs` says what was wrong with a table that this run loads again, so the
    answer is never "unchanged" then. Raises `TransientError` when the source changed while it was being copied.
    """
    before = source.metadata()
    if before.rows_updated_at > datetime.now(UTC) + FUTURE:
        raise SourceError(
            f"{source.source} says that it was updated on {_day(before)}, which is yet to come. It is not copied: no "
            "true version could follow one that is newer than all. Run again when the source has mended its date."
        )
    match = dataset.match(before.types)
    published = store.published()
    version = iso(before.rows_updated_at)
    old = _old(before, max_age_days)
    if published and not force and (published.dataset_id, published.dataset_version) == (source.dataset_id, version):
        return Answer(
            status="unchanged",
            dataset_version=version,
            manifest_key=published.manifest_key,
            rows=published.rows,
            parts=0,
            bytes=0,
            message="\n".join((_unchanged(before, published.rows), *old)),
            headline=f"unchanged, {published.rows:,} rows of {before.rows_updated_at:%Y-%m-%d}",
        )
    manifest = None if force else store.whole_version(before.rows_updated_at)
    copied = manifest is None or manifest.dataset_id != source.dataset_id
    if copied or manifest is None:
        manifest = _copy(source, store, before, match, part_rows=part_rows)
        store.put_manifest(manifest)
    reasons = (repairs,) if repairs else ()
    return Answer(
        status="extracted",
        dataset_version=version,
        manifest_key=manifest.key,
        rows=manifest.rows,
        parts=len(manifest.parts),
        bytes=manifest.bytes,
        message=_message(dataset, before, match, manifest, copied=copied, notes=(*reasons, *old)),
        headline=f"{manifest.rows:,} rows of {before.rows_updated_at:%Y-%m-%d} extracted",
        notes=(*reasons, *_unknown(match), *old),
    )


def _copy(source: Socrata, store: RawStore, before: Metadata, match: Match, *, part_rows: int) -> Manifest:
    """Copy every row to parts, or raise: the copy counts only if the source stood still and every row arrived."""
    expected = source.count()
    if expected == 0:
        raise SourceError(
            f"{source.source} has no rows. An empty dataset is never published; look at the source, and run again when "
            "it has rows."
        )
    if expected > MOST_PARTS * part_rows:
        raise InputError(
            f"{expected} rows in parts of {part_rows} would be {math.ceil(expected / part_rows)} parts; one publish "
            f"takes {MOST_PARTS}. Set partRows to {math.ceil(expected / MOST_PARTS)} or more, 100000 at most; "
            "docs/scale.md says what lies beyond."
        )
    described = {column["fieldName"]: column for column in before.columns}
    columns = (ROW_ID_COLUMN, *(described[field] for field in match.select))
    parts, ids = [], DistinctIds()
    for number, page in enumerate(_pages(source, columns, expected, part_rows)):
        parts.append(store.put_part(before.rows_updated_at, number, page.content, page.rows))
        ids.add(page.ids)
    rows = sum(part.rows for part in parts)
    after, count_after = source.metadata(), source.count()
    moved = (after.rows_updated_at, count_after) != (before.rows_updated_at, expected)
    if not moved and (distinct := ids.count()) != rows:
        raise TransientError(
            f"{source.source} gave the same row more than once: {rows} rows were copied with {distinct} distinct :ids, "
            "so pages overlapped and other rows are missing. The copy is invalid; it starts again."
        )
    if moved or rows != expected:
        raise TransientError(
            f"{source.source} changed while it was being copied: version {iso(before.rows_updated_at)} with {expected} "
            f"rows before, {iso(after.rows_updated_at)} with {count_after} after, {rows} rows copied. The copy is "
            "void; it starts anew."
        )
    return Manifest(
        dataset_id=source.dataset_id,
        source=source.source,
        dataset_version=before.rows_updated_at,
        extracted_at=datetime.now(UTC),
        columns=columns,
        rows=rows,
        parts=tuple(parts),
    )


def _pages(source: Socrata, columns: tuple[dict[str, str], ...], expected: int, part_rows: int) -> Iterator[Page]:
    """Yield pages until `expected` rows came. A server that caps the page size gives more, smaller ones."""
    received = 0
    while received < expected:
        page = source.page(columns, offset=received, limit=part_rows)
        if page.rows == 0:
            return  # fewer rows than counted: the caller compares
        received += page.rows
        logger.info("page read", extra={"rows": page.rows, "bytes": len(page.content), "received": received})
        yield page


def _message(
    dataset: Dataset, metadata: Metadata, match: Match, manifest: Manifest, *, copied: bool, notes: tuple[str, ...]
) -> str:
    how = "copied" if copied else "found whole in S3 from an earlier run,"
    count = len(manifest.parts)
    size = f"{count} part{'' if count == 1 else 's'}, {manifest.bytes / 1e6:.1f} MB compressed"
    lines = [f"Version {_day(metadata)} of '{visible(metadata.name)}': {manifest.rows:,} rows {how} in {size}."]
    if match.missing:
        lines.append(f"Gone from the source, NULL in the table: {', '.join(match.missing)}.")
    lines += [*_unknown(match), *notes]
    lines.append(f"Source: {dataset.attribution}.")
    return "\n".join(lines)


def _unchanged(metadata: Metadata, rows: int) -> str:
    return f"The source is unchanged: version {_day(metadata)} with {rows:,} rows was published already."


def _unknown(match: Match) -> tuple[str, ...]:
    return (f"New in the source, not loaded: {', '.join(map(visible, match.unknown))}.",) if match.unknown else ()


def _old(metadata: Metadata, max_age_days: int) -> tuple[str, ...]:
    days = _age_days(metadata.rows_updated_at)
    warning = (
        f"Warning: the source has had no new version for {math.floor(days):,} days; maxSourceAgeDays is {max_age_days}."
        " The dataset may have moved, or may no longer be updated."
    )
    return (warning,) if days >= max_age_days else ()


def _age_days(version: datetime) -> float:
    return (datetime.now(UTC) - version) / timedelta(days=1)


def _day(metadata: Metadata) -> str:
    return f"{metadata.rows_updated_at:%Y-%m-%d %H:%M} UTC"


def _app_token(secret_arn: str | None) -> str | None:
    if not secret_arn:
        return None
    try:
        return secrets_client().get_secret_value(SecretId=secret_arn)["SecretString"]
    except (ClientError, BotoCoreError) as error:
        raise aws_error(error, f"read the app token from {secret_arn}") from error
