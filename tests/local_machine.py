"""Local runs as a person starts them, in a place of their own, for the end-to-end tests."""

import contextlib
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from local.embedded import EmbeddedServer
from local.postgres import Database

PROJECT = Path(__file__).resolve().parent.parent
SAMPLE_ROWS = 15_214
UNCHANGED_STATES = [
    *("NotifyStarted", "Extract", "SourceChanged?"),
    *("CheckTable", "TableIntact?", "NotifyUnchanged", "Succeed"),
]


@dataclass(frozen=True, kw_only=True)
class Result:
    code: int
    output: str
    report: dict[str, Any]

    @property
    def states(self) -> list[str]:
        return [state["name"] for state in self.report["states"]]

    @property
    def subjects(self) -> list[str]:
        return [notification["subject"] for notification in self.report["notifications"]]


@dataclass(frozen=True, kw_only=True)
class Machine:
    """A place for local runs of its own."""

    home: Path

    def start(self, *arguments: object) -> subprocess.Popen[str]:
        return subprocess.Popen(
            [sys.executable, "-m", "local", *map(str, arguments)],
            cwd=PROJECT,
            env=os.environ | {"EV_LOCAL_DIR": str(self.home)},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            start_new_session=True,
        )

    def run(self, *arguments: object) -> Result:
        report = self.home / "out.json"
        report.unlink(missing_ok=True)
        process = self.start("run", "--json", report, *arguments)
        output, _ = process.communicate(timeout=300)
        found = json.loads(report.read_text()) if report.exists() else {}
        return Result(code=process.returncode, output=output, report=found)

    @contextlib.contextmanager
    def database(self) -> Iterator[Database]:
        with EmbeddedServer(self.home / "dev" / "postgres") as server:
            yield server.database("ev_population", owner="ev_admin")

    def ask(self, query: str) -> list[tuple[Any, ...]]:
        with self.database() as database:
            return ask(database, query)

    def execute(self, statement: str) -> None:
        with self.database() as database, contextlib.closing(database.connect()) as connection:
            with connection.cursor() as cursor:
                cursor.execute(statement)
            connection.commit()

    def bucket(self) -> dict[str, bytes]:
        (folder,) = self.home.glob("dev/*/bucket")
        return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def ask(database: Database, query: str) -> list[tuple[Any, ...]]:
    with contextlib.closing(database.connect()) as connection, connection.cursor() as cursor:
        cursor.execute(query)
        return cursor.fetchall()


@contextlib.contextmanager
def new_machine() -> Iterator[Machine]:
    # Not below pytest's own directory: that is closed to the user that PostgreSQL runs as when we are root.
    with tempfile.TemporaryDirectory(prefix="ev-run-", ignore_cleanup_errors=True) as home:
        Path(home).chmod(0o755)
        yield Machine(home=Path(home))


def succeeded(result: Result) -> Result:
    assert result.code == 0, result.output
    assert result.report["status"] == "SUCCEEDED"
    return result
