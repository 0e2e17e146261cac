"""The report into the bucket, after a publish."""

from evdata.contract import Dataset
from evdata.errors import DatabaseError
from evdata.raw_store import RawStore
from evdata.report.facts import VIEWS, read
from evdata.report.page import page
from evdata.warehouse import Warehouse, lock_report, translated


def has_report(dataset: Dataset) -> bool:
    """Whether the contract has the views that the report is drawn from; another dataset's need not."""
    return {view.name for view in dataset.views}.issuperset(VIEWS)


def write(store: RawStore, warehouse: Warehouse, *, seconds: float, note: str = "") -> str:
    """Write the report of the version that stands in the table, within `seconds`; return the key of the newest.

    `note` is shown above everything else.

    Raises `PipelineError` when the database or the bucket refuses.
    """
    with warehouse.connect() as connection, translated():
        connection.set_session(isolation_level="REPEATABLE READ")
        with connection.cursor() as cursor:
            cursor.execute("SET LOCAL statement_timeout TO %s", (f"{max(seconds, 1):.0f}s",))
            # Reports are written one at a time, each of what stands when its turn comes: an older one never overwrites
            # a newer one. The lock is kept until the connection is closed, so until the report lies in the bucket.
            lock_report(cursor)
            facts = read(cursor, seconds=seconds)
        if facts.version is None:
            raise DatabaseError("no version is published, so there is nothing to report")
        return store.put_report(facts.version.dataset_version, page(facts, note=note).encode())
