"""`python -m local report`: the report once more, from what stands in the database."""

import argparse
import os
from pathlib import Path
from typing import Any

from local.display import Display
from local.errors import LocalError
from local.snapshot import sample_note
from local.state import State, typed


def add_command(commands: Any, stack: dict[str, Any]) -> None:
    """Add `report` to the command line."""
    report = commands.add_parser("report", help="write the report as one HTML page, from the database")
    report.set_defaults(command=_report)
    report.add_argument("--stack", **stack)
    report.add_argument("--database-url", metavar="postgresql://…", help="another server than the embedded one")
    report.add_argument("--output", type=Path, metavar="FILE.html", help="default: .local/report.html")


def _report(options: argparse.Namespace, display: Display) -> int:
    given: Path | None = options.output
    if given and (given.is_dir() or not os.access(given if given.exists() else given.parent, os.W_OK)):
        raise LocalError(f"--output {given} cannot be written; name a file in a folder that exists.")
    output = given or State(options.stack).report
    from local.reading import reading  # noqa: PLC0415 - --help need not wait for it

    _refuse_without_views()
    with reading(options.stack, options.database_url, waiting=display.line) as cursor:
        from evdata.report.facts import read  # noqa: PLC0415 - `reading` has made the handlers' code importable
        from evdata.report.page import page  # noqa: PLC0415

        # All of it of one version, whatever is published meanwhile. That must be said before anything is asked.
        cursor.connection.rollback()
        cursor.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ")
        facts = read(cursor)
    version = facts.version
    note = sample_note(version.dataset_version, version.vehicles + version.rejected) if version else ""
    output.parent.mkdir(parents=True, exist_ok=True)  # the database may be another server's, with no run here yet
    output.write_text(page(facts, note=note), encoding="utf-8")
    if facts.version is None:
        display.line("No version has been published into this database yet; the page says so.")
    display.outcome(f"Written: {shown(output)}")
    return 0


def _refuse_without_views() -> None:
    from local.reading import contract  # noqa: PLC0415

    dataset = contract()
    from evdata.report.writing import has_report  # noqa: PLC0415 - `contract` has made the handlers' code importable

    if not has_report(dataset):
        raise LocalError(
            f"There is no report about {dataset.title}: the report is about electric vehicles, and needs their views. "
            "Ask the table instead: " + typed(f"query 'TABLE {dataset.table}'")
        )


def shown(path: Path) -> str:
    """A path as a person here would type it."""
    return str(path.relative_to(Path.cwd()) if path.is_relative_to(Path.cwd()) else path)
