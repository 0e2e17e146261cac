"""`make bench`: what a load costs against what PostgreSQL itself needs, and against other ways of loading.

All figures of a table are taken in one run on one machine, one server and one file, alternately, so that their ratios
hold where their seconds do not. No figure is a test: machines differ.
"""

import argparse
import contextlib
import json
import os
import platform
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, Final

import yaml
from rich.console import Console
from rich.table import Table

from benchmarks import baselines, data
from benchmarks.pipeline import Loader, Places
from evdata.row_ids import ROW_ID
from local.embedded import EmbeddedServer
from local.open_data import OpenData
from local.postgres import Database, database_at, temporary_database
from local.snapshot import Snapshot

PROJECT: Final = Path(__file__).resolve().parent.parent
FIRST_VERSION: Final = datetime(2023, 10, 15, tzinfo=UTC)
MEGABYTE: Final = 1_000_000

type Figures = dict[str, Any]


def main() -> None:
    options = _options()
    console = Console()
    with tempfile.TemporaryDirectory(prefix="bench-") as folder:
        report: Figures = {"machine": _machine()}
        with _server(options.database_url) as admin:
            with contextlib.closing(admin.connect()) as connection:
                report["machine"]["postgresql"] = connection.server_version
            if options.scale:
                report["scale"] = _scale(admin, Path(folder), options)
            else:
                report["load"] = _load(admin, Path(folder), options)
                report["extract"] = _extract(Path(folder), options)
                report["import"] = _imports(options.runs)
                report["local"] = _local()
    _show(console, report)
    if options.json:
        options.json.write_text(json.dumps(report, indent=1))


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument("--rows", type=int, default=150_482, help="rows to generate from the bundled sample")
    parser.add_argument("--data", type=Path, help="measure with this CSV export instead")
    parser.add_argument("--runs", type=int, default=3, help="runs of each figure; medians are shown")
    parser.add_argument("--part-rows", type=int, default=_default("partRows"), help="rows a part, as the stack has it")
    parser.add_argument("--width", type=int, default=_default("loadConcurrency"), help="parts staged at once, likewise")
    parser.add_argument("--scale", action="store_true", help="time and memory at --rows and at a tenth of them, only")
    parser.add_argument("--slow", action=argparse.BooleanOptionalAction, default=True, help="the slow baselines too")
    parser.add_argument("--database-url", help="another server; a user who may create databases")
    parser.add_argument("--json", type=Path, help="write every figure there")
    return parser.parse_args()


def _default(key: str) -> int:
    """Return what a stack has when it says nothing else."""
    return int(yaml.safe_load((PROJECT / "Pulumi.yaml").read_text())["config"][key]["default"])


@contextlib.contextmanager
def _server(url: str | None) -> Iterator[Database]:
    if url:
        yield database_at(url)
        return
    # Below the temporary folder's parent: the server's own user must reach it.
    home = Path(tempfile.mkdtemp(prefix="bench-pg-"))
    home.chmod(0o755)
    try:
        with EmbeddedServer(home / "pg", passing=True) as server:
            yield server.admin
    finally:
        shutil.rmtree(home, ignore_errors=True)


def _load(admin: Database, folder: Path, options: argparse.Namespace) -> Figures:
    rows = data.rows_of(options.data) if options.data else list(data.generated(options.rows))
    source = folder / "rows.csv"
    data.write_csv(source, rows)
    seconds: dict[str, list[float]] = {}
    memory: dict[str, list[int]] = {}

    def note(name: str, took: float | None) -> None:
        if took is not None:
            seconds.setdefault(name, []).append(took)

    for run in range(options.runs):
        with temporary_database(admin) as database, contextlib.closing(database.connect()) as connection:
            places = Places(folder / f"bucket-{run}", database)
            store = places.store()
            versions = {
                "first load": rows,
                "unchanged reload": rows,
                "reload, 2% changed": list(data.changed(rows, every=50)),
            }
            manifests = [
                data.write_version(store, version, FIRST_VERSION + timedelta(days=day), part_rows=options.part_rows)
                for day, version in enumerate(versions.values())
            ]
            note("bare COPY", baselines.bare_copy(connection, source))
            with Loader(places, width=options.width) as loader:
                for name, manifest in zip(versions, manifests, strict=True):
                    load = loader.load(manifest, name)
                    _expect(load.outcome.loaded == len(rows), f"{name}: {load.outcome}")
                    note(name, load.seconds)
                    note(f"{name}: stage", load.stage_seconds)
                    note(f"{name}: publish", load.publish_seconds)
                    memory.setdefault("stage", []).append(load.stage_memory)
                    memory.setdefault("publish", []).append(load.publish_memory)
            note("dlt merge", baselines.dlt_merge(database, source, folder / f"dlt-{run}"))
            if options.slow and run == 0:
                note("to_sql", baselines.to_sql(database, source))
                note("row by row", baselines.row_by_row(connection, source))
        shutil.rmtree(folder / f"bucket-{run}")
    return {
        "rows": len(rows),
        "seconds": seconds,
        "peak_memory": {name: max(values) for name, values in memory.items()},
    }


def _scale(admin: Database, folder: Path, options: argparse.Namespace) -> Figures:
    """Load `--rows` and a tenth of them; flat means that a row costs the same and memory does not grow.

    Bare COPY beside it tells what of the growth is the server's: its log, its checkpoints, its disk.
    """
    figures: Figures = {}
    for rows in (options.rows // 10, options.rows):
        bucket, source = folder / f"bucket-{rows}", folder / "rows.csv"
        data.write_csv(source, data.generated(rows))
        with temporary_database(admin) as database, contextlib.closing(database.connect()) as connection:
            copy_seconds = baselines.bare_copy(connection, source)
        source.unlink()
        with temporary_database(admin) as database:
            places = Places(bucket, database)
            manifest = data.write_version(
                places.store(), data.generated(rows), FIRST_VERSION, part_rows=options.part_rows
            )
            with Loader(places, width=options.width) as loader:
                load = loader.load(manifest, "first")
                _expect(load.outcome.inserted == rows, str(load.outcome))
        shutil.rmtree(bucket)
        figures[str(rows)] = {
            "microseconds_per_row": load.seconds / rows * 1e6,
            "copy_microseconds_per_row": copy_seconds / rows * 1e6,
            "stage_seconds": load.stage_seconds,
            "publish_seconds": load.publish_seconds,
            "stage_memory": load.stage_memory,
            "publish_memory": load.publish_memory,
        }
    return figures


def _extract(folder: Path, options: argparse.Namespace) -> Figures:
    """Time extract against curl fetching the same pages to disk, from a stand-in that serves from memory."""
    rows = data.rows_of(options.data) if options.data else list(data.generated(options.rows))
    program = Path(__file__).with_name("extract_once.py")
    environment = os.environ | {"PYTHONPATH": f"{PROJECT}:{PROJECT / 'handlers'}", "AWS_DEFAULT_REGION": "us-east-1"}
    took: dict[str, list[float]] = {"extract": [], "curl": []}
    memory = 0
    snapshot = Snapshot.of([dict(zip(data.FIELDS, row, strict=True)) for row in rows])
    with OpenData(snapshot) as source:
        for run in range(options.runs + 1):
            finished = subprocess.run(
                [sys.executable, str(program), source.url, str(folder / f"raw-{run}"), str(options.part_rows)],
                env=environment, capture_output=True, text=True, check=True,
            )  # fmt: skip
            answer = json.loads(finished.stdout.splitlines()[-1])
            _expect(answer["rows"] == len(rows), finished.stdout)
            start = time.perf_counter()
            for offset in range(0, len(rows), options.part_rows):
                query = (
                    f"$select={','.join((ROW_ID, *data.FIELDS))}&$order=:id&$limit={options.part_rows}&$offset={offset}"
                )
                subprocess.run(
                    ["curl", "-sS", "--fail", "-H", "Accept-Encoding: gzip", "-o", str(folder / f"page-{offset}"),
                     f"{source.url}/resource/{source.snapshot.dataset_id}.csv?{query}"],
                    check=True,
                )  # fmt: skip
            if run:  # the first only warms the stand-in
                took["extract"].append(answer["seconds"])
                took["curl"].append(time.perf_counter() - start)
                memory = max(memory, answer["memory"])
    return {"seconds": took, "peak_memory": memory}


def _imports(runs: int) -> Figures:
    environment = os.environ | {"PYTHONPATH": str(PROJECT / "handlers"), "POWERTOOLS_METRICS_NAMESPACE": "bench"}
    environment |= {"AWS_DEFAULT_REGION": "us-east-1"}
    took: dict[str, list[float]] = {"pass": [], "pandas": [], "load": [], "extract": []}
    for run in range(runs + 1):
        for name, times in took.items():
            statement = name if name == "pass" else f"import {name}"
            start = time.perf_counter()
            subprocess.run([sys.executable, "-c", statement], env=environment, check=True)
            if run:
                times.append(time.perf_counter() - start)
    return {"seconds": took}


def _local() -> Figures:
    """Time `python -m local run` by its own report: cold, with nothing kept, and warm, once more with --force."""
    with tempfile.TemporaryDirectory(prefix="bench-local-") as folder:
        Path(folder).chmod(0o755)  # root runs PostgreSQL as another user
        report = Path(folder) / "run.json"
        command = [sys.executable, "-m", "local", "run", "--force", "--json", str(report)]
        environment = os.environ | {"EV_LOCAL_DIR": str(Path(folder) / "local")}
        figures: Figures = {}
        for name in ("cold", "warm"):
            subprocess.run(command, cwd=PROJECT, env=environment, check=True, capture_output=True)
            figures[name] = json.loads(report.read_text())["seconds"]
        return figures


def _show(console: Console, report: Figures) -> None:
    console.print(f"\n{report['machine']}\n")
    table = Table("what", "measured", "median", "min to max")

    def row(name: str, ratio: str, values: list[float], unit: str = "s") -> None:
        median = statistics.median(values)
        table.add_row(name, ratio, f"{median:.2f} {unit}", f"{min(values):.2f} to {max(values):.2f}")

    if load := report.get("load"):
        seconds = {name: values for name, values in load["seconds"].items() if values}
        middle = {name: statistics.median(values) for name, values in seconds.items()}
        for name, values in seconds.items():
            inverse = name in ("dlt merge", "to_sql", "row by row")
            ratio = middle[name] / middle["first load" if inverse else "bare COPY"]
            row(name, f"{ratio:.2f} x {'our first load' if inverse else 'bare COPY'}", values)
        for name, value in load["peak_memory"].items():
            row(f"peak memory of {name}", "", [value / MEGABYTE], "MB")
        if "dlt merge" not in seconds:
            table.add_row("dlt merge", "left out: make bench installs it", "", "")
    for name, figures in report.get("scale", {}).items():
        ours, bare = figures["microseconds_per_row"], figures["copy_microseconds_per_row"]
        row(f"{int(name):,} rows, a row by bare COPY", "", [bare], "µs")
        row(f"{int(name):,} rows, a row", f"{ours / bare:.2f} x bare COPY", [ours], "µs")
        row(f"{int(name):,} rows, peak memory of stage", "", [figures["stage_memory"] / MEGABYTE], "MB")
        row(f"{int(name):,} rows, peak memory of publish", "", [figures["publish_memory"] / MEGABYTE], "MB")
    if extract := report.get("extract"):
        took = extract["seconds"]
        row("curl, the same pages to disk", "", took["curl"])
        ratio = statistics.median(took["extract"]) / statistics.median(took["curl"])
        row("extract", f"{ratio:.2f} x curl", took["extract"])
        row("peak memory of extract", "", [extract["peak_memory"] / MEGABYTE], "MB")
    if imports := report.get("import"):
        pandas = statistics.median(imports["seconds"]["pandas"])
        for name in ("load", "extract"):
            values = imports["seconds"][name]
            row(f"import {name}", f"{statistics.median(values) / pandas:.2f} x import pandas", values)
    for name, took in report.get("local", {}).items():
        row(f"make local, {name}", "", [took["total"]])
        for phase, seconds in took.items():
            if phase != "total":
                row(f"make local, {name}: {phase}", f"{seconds / took['total']:.0%} of it", [seconds])
    console.print(table)


def _machine() -> Figures:
    return {
        "cores": os.cpu_count(),
        "system": platform.platform(),
        "python": platform.python_version(),
        "taken": f"{datetime.now(UTC):%Y-%m-%d %H:%M} UTC",
    }


def _expect(fact: bool, what: str) -> None:
    """A load that did not load what it was given is no measurement."""
    if not fact:
        raise SystemExit(f"not a fair figure: {what}")


if __name__ == "__main__":
    main()
