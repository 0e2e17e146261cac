"""Lambda entry points: `stage` cleans one part and puts it beside the table; `publish` makes the parts the table.

stage    event:  {"bucket_name", "secret_arn", "manifest_key", "part"}
         answer: {"part", "rows", "rejected"}
publish  event:  {"bucket_name", "secret_arn", "manifest_key", "execution_id", "force"?}
         answer: {"status", "source", "loaded", "inserted", "updated", "removed", "unchanged", "rejected", "message"}
"""

import gzip
import zlib
from contextlib import suppress
from typing import Any, Final

from aws_lambda_powertools import Logger, Metrics
from aws_lambda_powertools.metrics import MetricUnit
from aws_lambda_powertools.utilities.typing import LambdaContext

from evdata import staging, transform
from evdata.dataset import DATASET
from evdata.environment import event_flag, event_number, event_text, number_setting
from evdata.errors import InputError, PipelineError, RawDataError
from evdata.manifest import Manifest, Part, Published, is_manifest_key, iso
from evdata.publishing import Guards, Publication
from evdata.raw_store import RawStore
from evdata.warehouse import Warehouse, migrate, translated

# What is left of a function's time when the database has to be done: enough to say so before Lambda says nothing.
RESERVE_SECONDS: Final = 15

logger = Logger()
metrics = Metrics()


@logger.inject_lambda_context
def stage(event: dict[str, Any], context: LambdaContext) -> dict[str, Any]:
    """Answer one item of the state machine's LoadParts state."""
    store, warehouse, manifest_key = _places(event, context)
    number = event_number(event, "part")
    try:
        manifest = store.manifest(manifest_key)
        part = manifest.part(number)
        cleaned = transform.clean_part(_inflate(store.part(part), part), DATASET)
        if cleaned.source_rows != part.rows:
            raise RawDataError(
                f"part {number} holds {cleaned.source_rows} rows, the manifest says {part.rows}. "
                "Run again with force to extract anew."
            )
        with warehouse.connect() as connection, translated():
            migrate(connection)
            staging.stage(connection, DATASET, manifest, number, cleaned)
    except PipelineError as error:
        # Publish tells the reason; if it cannot be left behind, this error still stands in the log and the Map run.
        with suppress(PipelineError), warehouse.connect() as connection, translated():
            migrate(connection)
            staging.write_failure(connection, manifest_key, number, f"{type(error).__name__}: {error}")
        raise
    metrics.add_metric("RowsStaged", MetricUnit.Count, cleaned.rows)
    metrics.flush_metrics()
    logger.info("part staged", extra={"part": number, "rows": cleaned.rows, "rejected": len(cleaned.rejected)})
    return {"part": number, "rows": cleaned.rows, "rejected": len(cleaned.rejected)}


@logger.inject_lambda_context
def publish(event: dict[str, Any], context: LambdaContext) -> dict[str, Any]:
    """Answer the state machine's Publish state."""
    store, warehouse, manifest_key = _places(event, context)
    execution_id = event_text(event, "execution_id")
    guards = Guards(
        max_rejected_fraction=number_setting("MAX_REJECTED_FRACTION", float),
        max_shrink_fraction=number_setting("MAX_SHRINK_FRACTION", float),
    )
    manifest = store.manifest(manifest_key)

    def read_raw(number: int, lines: list[int]) -> dict[int, dict[str, str]]:
        part = manifest.part(number)
        return transform.raw_rows(_inflate(store.part(part), part), lines)

    with warehouse.connect() as connection, translated():
        migrate(connection)
        outcome = Publication(
            connection, DATASET, manifest, execution_id=execution_id, force=event_flag(event, "force")
        ).run(guards, read_raw)
    if outcome.status != "superseded":
        store.put_published(_published(manifest, outcome.loaded + outcome.rejected, execution_id))
    for name in ("loaded", "inserted", "updated", "removed", "rejected"):
        metrics.add_metric(f"Rows{name.capitalize()}", MetricUnit.Count, getattr(outcome, name))
    metrics.add_metric("PublishSuccess", MetricUnit.Count, 1)
    metrics.flush_metrics()
    logger.info(outcome.message, extra={"answer": outcome.to_dict()})
    return outcome.to_dict()


def _places(event: dict[str, Any], context: LambdaContext) -> tuple[RawStore, Warehouse, str]:
    manifest_key = event_text(event, "manifest_key")
    if not is_manifest_key(manifest_key):
        raise InputError(
            f"the event's manifest_key is {manifest_key!r}, expected raw_data/date=YYYYMMDD/version=.../manifest.json"
        )
    seconds = context.get_remaining_time_in_millis() / 1000 - RESERVE_SECONDS
    store = RawStore(event_text(event, "bucket_name"))
    return store, Warehouse(event_text(event, "secret_arn"), statement_seconds=seconds), manifest_key


def _inflate(content: bytes, part: Part) -> bytes:
    try:
        return gzip.decompress(content)
    except (OSError, EOFError, zlib.error) as error:
        raise RawDataError(
            f"part {part.part} at {part.key} is not whole gzip ({error}). Run again with force."
        ) from error


def _published(manifest: Manifest, rows: int, execution_id: str) -> Published:
    return Published(
        dataset_id=manifest.dataset_id,
        dataset_version=iso(manifest.dataset_version),
        manifest_key=manifest.key,
        rows=rows,
        execution_id=execution_id,
    )
