"""`python -m local report`: the page from what stands in the database, and what it says when there is none."""

import signal
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from local.cli import main
from local.open_data import OpenData
from local.postgres import Database
from local.state import State, typed
from tests.handler_tools import Pipeline, build_pipeline
from tests.report_cases import CASES, facts_of, publish_all
from tests.test_report import sound
from tests.test_transform import vehicle

type Run = Callable[..., tuple[int, str, str]]


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Iterator[Run]:
    """Runs the command line in this process: exit code, standard output, standard error."""
    monkeypatch.setenv("EV_LOCAL_DIR", str(tmp_path / "local"))
    handlers = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)}

    def call(*arguments: object) -> tuple[int, str, str]:
        code = main([str(argument) for argument in arguments])
        said = capsys.readouterr()
        return code, said.out, said.err

    yield call
    for number, handler in handlers.items():
        signal.signal(number, handler)


@pytest.fixture
def source(open_data: Callable[..., OpenData]) -> OpenData:
    return open_data([vehicle(1)])


@pytest.fixture
def pipeline(aws: None, monkeypatch: pytest.MonkeyPatch, database: Database, source: OpenData) -> Pipeline:
    return build_pipeline(monkeypatch, database, source)


def test_it_writes_the_page_and_says_where(run: Run, pipeline: Pipeline, source: OpenData, tmp_path: Path) -> None:
    publish_all(pipeline, source, CASES["two versions"])
    page = tmp_path / "page.html"
    code, said, _ = run("report", "--database-url", pipeline.database.url, "--output", page)
    assert code == 0
    assert f"Written: {page}" in said
    assert "60 electric vehicles" in sound(page.read_text()).text
    assert len(facts_of(pipeline).versions) == 2, "it only reads"


def test_without_a_file_named_it_lies_where_runs_leave_theirs(run: Run, pipeline: Pipeline, source: OpenData) -> None:
    publish_all(pipeline, source, CASES["one version"])
    assert run("report", "--database-url", pipeline.database.url)[0] == 0
    assert "55 electric vehicles" in sound(State("dev").report.read_text()).text


def test_tables_without_a_version_make_a_page_that_says_so(
    run: Run, pipeline: Pipeline, source: OpenData, tmp_path: Path
) -> None:
    pipeline.stage(pipeline.extract()["manifest_key"], 0)
    code, said, _ = run("report", "--database-url", pipeline.database.url, "--output", tmp_path / "page.html")
    assert code == 0
    assert "No version has been published into this database yet" in said
    assert "has been published yet" in sound((tmp_path / "page.html").read_text()).text


def test_a_database_that_no_run_has_reached_is_refused_in_words(run: Run, database: Database, tmp_path: Path) -> None:
    code, _, error = run("report", "--database-url", database.url, "--output", tmp_path / "page.html")
    assert code == 1
    assert f"start one with: {typed('run')}" in error
    assert not (tmp_path / "page.html").exists()


def test_a_stack_without_a_database_is_told_how_to_make_one(run: Run) -> None:
    code, _, error = run("report")
    assert code == 1
    assert f"make one with: {typed('run')}" in error


def test_a_file_that_cannot_be_written_is_refused_before_the_database_is_asked(run: Run, tmp_path: Path) -> None:
    for unwritable in (tmp_path, tmp_path / "nowhere" / "page.html"):
        code, _, error = run("report", "--output", unwritable)
        assert code == 1
        assert "cannot be written; name a file in a folder that exists" in error


def test_a_run_leaves_its_report_where_a_person_finds_it(run: Run, tmp_path: Path) -> None:
    state = State("dev")
    bucket = tmp_path / "bucket"
    assert state.keep_report(bucket) is None, "a run that published nothing yet has none"
    state.home.mkdir()
    (bucket / "reports").mkdir(parents=True)
    (bucket / "reports" / "latest.html").write_text("the page")
    kept = state.keep_report(bucket)
    assert kept == state.report
    assert kept.name == "report.html"
    assert kept.read_text() == "the page"
