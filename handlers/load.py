"""Lambda entry points: `stage` cleans one part and puts it beside the table; `publish` makes the parts the table.

stage    event:  {"bucket_name", "secret_arn", "manifest_key", "part"}
         answer: {"part", "rows", "rejected"}
publish  event:  {"bucket_name", "secret_arn", "manifest_key", "execution_id", "force"?, "notes"?: [str], "check"?}
         answer: {"status", "source", "loaded", "inserted", "updated", "removed", "unchanged", "rejected", "kept",
                  "message", "headline"}
         and, once the data are published, the report about them
         with "check": true it publishes nothing, but answers whether the table is as the last run left it:
         {"status": "intact" | "damaged", "message", "headline"}
"""

from contextlib import suppress
from dataclasses import replace
from typing import Any, Final

from aws_lambda_powertools import Logger, Metrics
from aws_lambda_powertools.metrics import MetricUnit
from aws_lambda_powertools.utilities.typing import LambdaContext

from evdata import staging
from evdata.contract import Dataset
from evdata.dataset import DATASET
from evdata.environment import data_note, event_flag, event_number, event_text, event_texts, number_setting, told
from evdata.errors import InputError, PipelineError, RawDataError
from evdata.manifest import Part, Published, iso, version_of
from evdata.pages import PageError, inflate
from evdata.publishing import Guards, Outcome, Publication, refuse_unread
from evdata.raw_store import RawStore
from evdata.transform import Cleaned, clean_part, raw_rows
from evdata.upkeep import examine, prepare
from evdata.visible import visible_json
from evdata.warehouse import Warehouse, migrate, translated

# What is left of a function's time when the database has to be done: enough to say so before Lambda says nothing.
RESERVE_SECONDS: Final = 15
REPORT_SECONDS: Final = 240  # six aggregations in the database; over ten million rows they took 18 s

logger = Logger(json_serializer=visible_json)
metrics = Metrics()


@logger.inject_lambda_context
@told(logger)
def stage(event: dict[str, Any], context: LambdaContext) -> dict[str, Any]:
    """Answer one item of the state machine's LoadParts state."""
    store, warehouse, manifest_key = _places(event, context)
    number = event_number(event, "part")
    cleaned = stage_part(store, warehouse, DATASET, manifest_key, number)
    metrics.add_metric("RowsStaged", MetricUnit.Count, cleaned.rows)
    metrics.flush_metrics()
    answer = {"part": number, "rows": cleaned.rows, "rejected": len(cleaned.rejected)}
    logger.info("part staged", extra={"answer": answer})
    return answer


def stage_part(store: RawStore, warehouse: Warehouse, dataset: Dataset, manifest_key: str, number: int) -> Cleaned:
    """Check, clean and stage one part; when that fails, leave the reason behind for publish to tell."""
    try:
        manifest = store.manifest(manifest_key)
        manifest.require_row_ids()
        part = manifest.part(number)
        cleaned = clean_part(_inflate(store.part(part), part), dataset)
        if cleaned.source_rows != part.rows:
            raise RawDataError(
                f"part {number} holds {cleaned.source_rows} rows, the manifest says {part.rows}. "
                "Run again with force to extract anew."
            )
        with warehouse.connect() as connection, translated():
            prepare(connection, dataset)
            staging.stage(connection, dataset, manifest, number, cleaned)
    except PipelineError as error:
        # If the reason cannot be left behind, this error still stands in the log and in the Map run.
        with suppress(PipelineError), warehouse.connect() as connection, translated():
            migrate(connection)
            staging.write_failure(connection, manifest_key, number, f"{type(error).__name__}: {error}")
        raise
    return cleaned


@logger.inject_lambda_context
@told(logger)
def publish(event: dict[str, Any], context: LambdaContext) -> dict[str, Any]:
    """Answer the state machine's Publish state, and its CheckTable state."""
    store, warehouse, manifest_key = _places(event, context)
    if event_flag(event, "check"):
        return check(warehouse, DATASET, manifest_key)
    outcome = publish_version(
        store,
        warehouse,
        DATASET,
        manifest_key,
        execution_id=event_text(event, "execution_id"),
        force=event_flag(event, "force"),
        guards=Guards(
            max_rejected_fraction=number_setting("MAX_REJECTED_FRACTION", float),
            max_shrink_fraction=number_setting("MAX_SHRINK_FRACTION", float),
        ),
        notes=event_texts(event, "notes"),
    )
    for name in ("loaded", "inserted", "updated", "removed", "rejected", "kept"):
        metrics.add_metric(f"Rows{name.capitalize()}", MetricUnit.Count, getattr(outcome, name))
    if outcome.status != "superseded":  # a source stuck in the past is not fresh
        metrics.add_metric("PublishSuccess", MetricUnit.Count, 1)
    metrics.flush_metrics()
    if outcome.status != "superseded":
        told_of_report = report(store, warehouse, DATASET, seconds=min(_seconds_left(context), REPORT_SECONDS))
        outcome = replace(outcome, message="\n".join(filter(None, (data_note(), outcome.message, told_of_report))))
    logger.info(outcome.message, extra={"answer": outcome.to_dict()})
    return outcome.to_dict()


def check(warehouse: Warehouse, dataset: Dataset, manifest_key: str) -> dict[str, str]:
    """Say whether a published version still stands in the table as its run left it. Changes nothing."""
    with warehouse.connect() as connection, translated():
        condition = examine(connection, dataset, version_of(manifest_key))
    if condition.status == "intact":
        metrics.add_metric("SourceUnchanged", MetricUnit.Count, 1)
        metrics.flush_metrics()
    logger.info(condition.message, extra={"answer": condition.to_dict()})
    return condition.to_dict()


def publish_version(
    store: RawStore,
    warehouse: Warehouse,
    dataset: Dataset,
    manifest_key: str,
    *,
    execution_id: str,
    force: bool,
    guards: Guards,
    notes: tuple[str, ...] = (),
) -> Outcome:
    """Make the staged parts the table, then write down in the bucket which version stands there.

    `notes` go into the message. A version that the bucket says was published before, with as many rows, has passed the
    shrink guard then; what the table lost since is no reason to keep it out.
    """
    try:
        manifest = store.manifest(manifest_key)
    except RawDataError as error:
        with warehouse.connect() as connection, translated():
            migrate(connection)
            raise refuse_unread(connection, dataset, manifest_key, execution_id=execution_id, why=error) from error

    def read_raw(number: int, lines: list[int]) -> dict[int, dict[str, str]]:
        part = manifest.part(number)
        return raw_rows(_inflate(store.part(part), part), lines)

    published = store.published()
    accepted = published is not None and (published.dataset_id, published.dataset_version, published.rows) == (
        manifest.dataset_id,
        iso(manifest.dataset_version),
        manifest.rows,
    )
    with warehouse.connect() as connection, translated():
        prepare(connection, dataset)
        publication = Publication(
            connection,
            dataset,
            manifest,
            execution_id=execution_id,
            force=force or accepted,
            withdraw=lambda: store.withdraw(manifest),
            notes=notes,
        )
        outcome = publication.run(guards, read_raw)
    if outcome.status != "superseded":
        store.put_published(
            Published(
                dataset_id=manifest.dataset_id,
                dataset_version=iso(manifest.dataset_version),
                manifest_key=manifest.key,
                rows=outcome.source,
                execution_id=execution_id,
            )
        )
    return outcome


def report(store: RawStore, warehouse: Warehouse, dataset: Dataset, *, seconds: float) -> str:
    """Write the report about what stands; return what the message says of it. The data are published: never fails."""
    try:
        from evdata.report.writing import has_report, write  # noqa: PLC0415 - only publish has use for it

        if not has_report(dataset):
            return ""
        return f"Report: aws s3 cp s3://{store.bucket}/{write(store, warehouse, seconds=seconds, note=data_note())} ."
    except Exception as error:
        metrics.add_metric("ReportFailed", MetricUnit.Count, 1)
        metrics.flush_metrics()
        logger.exception("the report could not be written")
        why = str(error) if isinstance(error, PipelineError) else type(error).__name__
        return f"The report could not be written: {why}. The data are published; a run with force tries again."


def _places(event: dict[str, Any], context: LambdaContext) -> tuple[RawStore, Warehouse, str]:
    manifest_key = event_text(event, "manifest_key")
    try:
        version_of(manifest_key)
    except ValueError as error:
        raise InputError(f"the event's manifest_key is {error}") from error
    store = RawStore(event_text(event, "bucket_name"))
    return store, Warehouse(event_text(event, "secret_arn"), statement_seconds=_seconds_left(context)), manifest_key


def _seconds_left(context: LambdaContext) -> float:
    return context.get_remaining_time_in_millis() / 1000 - RESERVE_SECONDS


def _inflate(content: bytes, part: Part) -> bytes:
    try:
        return inflate(content)
    except PageError as error:
        raise RawDataError(
            f"part {part.part} at {part.key} is not whole gzip ({error}). Run again with force."
        ) from error
