"""The whole pipeline on this machine: the program deployed, the state machine run, real rows in a real PostgreSQL.

The tests up to the line share one machine, run after run, in this order.
"""

import argparse
import gzip
import os
import re
import shlex
import signal
from collections.abc import Iterator
from pathlib import Path

import psutil  # type: ignore[import-untyped]
import pytest

from local.cli import _parser
from local.embedded import running_server
from local.snapshot import SAMPLE, SAMPLE_UPDATED_AT, Snapshot
from tests.local_machine import PROJECT, SAMPLE_ROWS, UNCHANGED_STATES, Machine, Result, new_machine, succeeded
from tests.test_docs_code import commands

SHARED = PROJECT.parent / "shared" / "data"


@pytest.fixture
def machine() -> Iterator[Machine]:
    with new_machine() as found:
        yield found


@pytest.fixture(scope="module")
def sampled() -> Iterator[Machine]:
    """One machine with the sample, run after run, by the tests below in this order."""
    with new_machine() as found:
        yield found


@pytest.fixture(scope="module")
def first(sampled: Machine) -> Result:
    return succeeded(sampled.run())


def test_the_first_run_publishes_every_vehicle(sampled: Machine, first: Result) -> None:
    none = dict.fromkeys(("updated", "removed", "unchanged", "rejected", "kept"), 0)
    assert first.report["counts"] == dict.fromkeys(("source", "loaded", "inserted"), SAMPLE_ROWS) | none
    assert sampled.ask("SELECT count(*), count(DISTINCT dol_vehicle_id) FROM electric_vehicle_us") == [
        (SAMPLE_ROWS, SAMPLE_ROWS)
    ]
    assert sampled.ask("SELECT status, loaded FROM pipeline_run") == [("published", SAMPLE_ROWS)]


def test_it_goes_through_every_state_and_says_so_to_people(first: Result) -> None:
    assert first.states == [
        "NotifyStarted",
        "Extract",
        "SourceChanged?",
        "NotifyExtracted",
        "LoadParts",
        "Publish",
        "NotifyLoaded",
        "Succeed",
    ]
    assert {state["status"] for state in first.report["states"]} == {"SUCCEEDED"}
    assert len(first.subjects) == 3, "started, extracted, loaded"
    assert f"{SAMPLE_ROWS:,} rows published" in first.subjects[-1]
    for text in ("Deploy", "LoadParts", "rows/s", "TESLA leads", "local psql", "SUCCEEDED"):
        assert text in first.output
    assert "In the table now. A sample: one in ten of the vehicles" in first.output
    assert first.report["notifications"][-1]["message"].startswith("A sample: one in ten of the vehicles")
    assert "\x1b" not in first.output, "colours for a reader that is no terminal"


def looks() -> list[str]:
    """Return every command of README, docs and --help that looks at the sample, as it is typed after `-m local`."""
    typed = [
        re.sub(r"\s+(#|>).*", "", match[1]).strip()
        for _, code in commands()
        for match in re.finditer(r"python -m local ((?:query|history|status|report)\b[^\n]*)", code)
        if "library_" not in code  # docs/adapting.md has another dataset
    ]
    for command in ("query", "history"):
        (kinds,) = (action for action in _parser()._actions if isinstance(action, argparse._SubParsersAction))
        argument = next(action for action in kinds.choices[command]._actions if "such as" in str(action.help))
        typed.append(f"{command} {str(argument.help).partition('such as ')[2]}")
    return sorted(set(typed))


def test_every_example_of_the_documents_and_of_help_works_on_the_sample(sampled: Machine, first: Result) -> None:
    examples = looks()
    assert {example.split()[0] for example in examples} >= {"query", "history", "status"}
    for example in examples:
        process = sampled.start(*shlex.split(example))
        output, _ = process.communicate(timeout=60)
        assert process.returncode == 0, f"{example}: {output}"
        assert output.strip(), f"{example} shows nothing"


def test_the_page_and_every_look_at_the_sample_say_that_it_is_one(sampled: Machine, first: Result) -> None:
    assert "15,214</b> electric vehicles are in this part of" in (sampled.home / "report.html").read_text()
    for command in ("status", "report"):
        output, _ = sampled.start(command).communicate(timeout=60)
        said = output if command == "status" else (sampled.home / "report.html").read_text()
        assert "A sample: one in ten of the vehicles that were registered on October 15, 2023." in said


def test_the_report_has_all_that_contract_1_promises(first: Result) -> None:
    report = first.report
    assert (report["error"], report["cause"]) == (None, None)
    assert set(report["outputs"]) == {
        "bucketName",
        "secretArn",
        "databaseEndpoint",
        "stateMachineArn",
        "scheduleName",
        "topicArn",
        "dashboardUrl",
        "vpcId",
    }
    assert all(report["outputs"].values()), f"an output is empty: {report['outputs']}"
    assert set(report["states"][0]) == {"name", "status", "seconds"}
    assert set(report["notifications"][0]) == {"subject", "message"}
    assert report["seconds"]["total"] > report["seconds"]["execution"] > 0


def test_every_handler_stays_far_below_400_mb(first: Result) -> None:
    assert set(first.report["memory"]) == {"extract", "stage", "publish"}
    assert all(20 < megabytes < 400 for megabytes in first.report["memory"].values()), first.report["memory"]


def test_a_second_run_says_that_nothing_changed_and_writes_nothing(sampled: Machine, first: Result) -> None:
    bucket, runs = sampled.bucket(), "SELECT * FROM pipeline_run"
    touched = "SELECT max(xmin::text::bigint) FROM electric_vehicle_us"
    before = sampled.ask(runs), sampled.ask(touched)
    second = succeeded(sampled.run())
    assert second.states == UNCHANGED_STATES
    assert second.report["counts"] == {}
    assert "unchanged" in second.subjects[-1]
    assert set(second.report["memory"]) == {"extract", "publish"}, "a part was staged for nothing"
    assert (sampled.ask(runs), sampled.ask(touched)) == before
    assert sampled.bucket() == bucket


@pytest.mark.exhaustive
def test_a_table_dropped_by_hand_is_noticed_and_loaded_again_by_the_same_run(sampled: Machine, first: Result) -> None:
    sampled.execute("DROP TABLE electric_vehicle_us CASCADE")
    repaired = succeeded(sampled.run())
    assert repaired.states == [
        *("NotifyStarted", "Extract", "SourceChanged?", "CheckTable", "TableIntact?", "RepairTable"),
        *("Extract", "SourceChanged?", "NotifyExtracted", "LoadParts", "Publish", "NotifyLoaded", "Succeed"),
    ]
    assert repaired.report["counts"]["inserted"] == SAMPLE_ROWS
    assert "missing from the database: electric_vehicle_us, " in repaired.report["notifications"][-1]["message"]
    assert sampled.ask("SELECT count(*) FROM electric_vehicle_us_as_of(now())") == [(SAMPLE_ROWS,)]


@pytest.mark.exhaustive
def test_force_publishes_an_unchanged_source_again_and_changes_no_vehicle(sampled: Machine, first: Result) -> None:
    forced = succeeded(sampled.run("--force"))
    assert "LoadParts" in forced.states
    assert forced.report["counts"]["inserted"] == 0
    assert forced.report["counts"]["unchanged"] == SAMPLE_ROWS
    assert sampled.ask("SELECT count(*) FROM electric_vehicle_us_history") == [(0,)]


def test_a_version_that_is_refused_fails_the_execution_and_leaves_the_table_alone(
    sampled: Machine, first: Result, tmp_path: Path
) -> None:
    lines = gzip.decompress(SAMPLE.read_bytes()).decode().splitlines()
    spoilt = tmp_path / "spoilt.csv"
    spoilt.write_text("\n".join(lines).replace(",TESLA,", ",,"))
    failed = sampled.run("--data", spoilt, "--rows-updated-at", "2023-11-15T00:00:00Z")
    assert failed.code == 1
    assert failed.report["status"] == "FAILED"
    assert failed.report["error"] == "RefusedError"
    assert "7,106 of 15,214" in failed.report["cause"], "the numbers belong in the cause"
    assert failed.states[-1] == "LoadFailed"
    assert [state["status"] for state in failed.report["states"] if state["name"] == "Publish"] == ["FAILED"]
    assert "FAILED" in failed.subjects[-1]
    assert failed.report["cause"] in failed.report["notifications"][-1]["message"]
    assert "Traceback" not in failed.output
    assert sampled.ask("SELECT count(*) FROM electric_vehicle_us WHERE make = 'TESLA'") == [(7_106,)]


# ---


@pytest.mark.parametrize("signum", [signal.SIGTERM, pytest.param(signal.SIGINT, marks=pytest.mark.exhaustive)])
def test_a_run_lets_psql_look_on_has_others_wait_and_when_stopped_leaves_nothing_running(
    machine: Machine, signum: signal.Signals
) -> None:
    process = machine.start("run")
    assert process.stdout is not None
    seen = ""
    for line in process.stdout:
        seen += line
        if "✓ PostgreSQL" in line:
            break
    beside = machine.start("run")
    assert beside.stdout is not None
    assert any(
        f"another local run of stack dev is going on here (process {process.pid}," in told for told in beside.stdout
    )
    beside.terminate()
    assert beside.wait(timeout=30) == 128 + signal.SIGTERM
    beside.stdout.close()
    assert machine.start("psql", "-At", "-c", "SELECT 6 * 7").communicate(timeout=30)[0] == "42\n"

    for line in process.stdout:
        seen += line
        if "✓ Extract" in line:
            break
    family = psutil.Process(process.pid).children(recursive=True)
    process.send_signal(signum)
    seen += process.communicate(timeout=30)[0]
    assert process.returncode == 128 + signum, seen
    assert "Traceback" not in seen
    assert running_server(machine.home / "dev" / "postgres") is None, "PostgreSQL outlived the run"
    _, alive = psutil.wait_procs(family, timeout=5)
    assert alive == [], "a function outlived the run"


@pytest.mark.exhaustive
@pytest.mark.parametrize(
    ("name", "rows", "checks"),
    [
        ("a", 130_443, {}),
        (
            "b",
            150_482,
            {
                "count(DISTINCT dol_vehicle_id)": 150_482,
                "count(*) FILTER (WHERE vehicle_type LIKE '%(BEV)')": 116_807,
                "count(*) FILTER (WHERE vehicle_type LIKE '%(PHEV)')": 33_675,
                "count(*) FILTER (WHERE electric_range IS NULL)": 69_698,
                "count(base_msrp)": 3_455,
                "count(*) FILTER (WHERE postal_code IS NULL)": 3,
                "count(*) FILTER (WHERE length(postal_code) <> 5)": 0,
                "count(*) FILTER (WHERE length(census_tract) <> 11)": 0,
            },
        ),
        ("c-no-base-msrp", 16_662, {"count(base_msrp)": 0}),
    ],
)
def test_the_whole_dataset_lands_in_the_table(machine: Machine, name: str, rows: int, checks: dict[str, int]) -> None:
    data = SHARED / f"ev-population-{name}.csv.gz"
    if not data.exists():
        pytest.skip(f"needs the real dataset at {data}")
    result = succeeded(machine.run("--fresh", "--data", data, "--rows-updated-at", "2023-10-15T00:00:00Z"))
    counts = result.report["counts"]
    assert (counts["source"], counts["loaded"], counts["inserted"], counts["rejected"]) == (rows, rows, rows, 0)
    assert max(result.report["memory"].values()) < 400, result.report["memory"]
    if checks:
        assert machine.ask(f"SELECT {', '.join(checks)} FROM electric_vehicle_us") == [tuple(checks.values())]


@pytest.mark.exhaustive
def test_fresh_starts_from_nothing(machine: Machine) -> None:
    first = succeeded(machine.run())
    assert first.report["counts"]["inserted"] == SAMPLE_ROWS
    fresh = succeeded(machine.run("--fresh"))
    assert fresh.report["counts"]["inserted"] == SAMPLE_ROWS
    assert machine.ask("SELECT count(*) FROM pipeline_run") == [(1,)]
    assert len(list(machine.home.glob("dev/*/bucket"))) == 1, "the bucket of the database that is gone is still there"


@pytest.mark.exhaustive
def test_a_file_is_known_by_its_content_and_not_by_its_date_alone(machine: Machine, tmp_path: Path) -> None:
    with gzip.open(SAMPLE, "rt", encoding="utf-8", newline="") as sample:
        lines = sample.read().splitlines(keepends=True)
    file = tmp_path / "export.csv"
    dated = ("--data", file, "--rows-updated-at", "2023-10-15T00:00:00Z")
    file.write_text("".join(lines[:2001]), encoding="utf-8", newline="")
    assert succeeded(machine.run(*dated)).report["counts"]["inserted"] == 2000
    again = succeeded(machine.run(*dated))
    assert again.report["counts"] == {}, "the same content of the same date is unchanged"
    file.write_text("".join(lines[:1901]), encoding="utf-8", newline="")
    other = succeeded(machine.run(*dated))
    assert other.report["counts"]["removed"] == 100, "other content takes the place of what had its date"
    assert "other content: it takes that version's place" in other.output
    older = succeeded(machine.run("--data", file, "--rows-updated-at", "2023-01-01"))
    assert (
        "Nothing was loaded: the table holds a newer version. To load this one, start empty with --fresh"
        in older.output
    )
    assert machine.ask("SELECT count(*) FROM electric_vehicle_us") == [(1900,)]


def test_a_file_without_a_date_of_its_own_is_never_taken_for_the_sample(tmp_path: Path) -> None:
    file = tmp_path / "export.csv"
    file.write_text("DOL Vehicle ID\n1\n")
    os.utime(file, (SAMPLE_UPDATED_AT, SAMPLE_UPDATED_AT))
    assert Snapshot.from_csv(file).rows_updated_at != SAMPLE_UPDATED_AT
