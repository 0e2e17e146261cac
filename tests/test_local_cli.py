"""The local run's command line: what it refuses, with which words and exit code, and that it then changed nothing."""

import contextlib
import io
import re
import signal
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from rich.console import Console

from evdata.warehouse import migrate
from local.cli import main
from local.display import Display
from local.errors import LocalError
from local.facts import facts
from local.misbehaviour import HangsUp, HtmlPage, Says
from local.open_data import OpenData
from local.postgres import Database
from local.source import elsewhere
from local.state import State, typed

type Run = Callable[..., tuple[int, str]]


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where the local run would keep its things; it need not exist."""
    monkeypatch.setenv("EV_LOCAL_DIR", str(tmp_path / "local"))
    return tmp_path / "local"


@pytest.fixture
def run(home: Path, capsys: pytest.CaptureFixture[str]) -> Iterator[Run]:
    """Runs the command line in this process: exit code and what it said on standard error."""
    handlers = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)}

    def call(*arguments: object) -> tuple[int, str]:
        try:
            code = main([str(argument) for argument in arguments])
        except SystemExit as stopped:
            code = int(stopped.code or 0)
        return code, capsys.readouterr().err

    yield call
    for number, handler in handlers.items():
        signal.signal(number, handler)


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ([], "COMMAND"),
        (["fly"], "invalid choice: 'fly'"),
        (["run", "--quickly"], "unrecognized arguments: --quickly"),
        (["run", "--database-url", "postgresql://u:p", "hunter2@h/db"], "unrecognized arguments: …\n"),
        (["run", "--stack", "nowhere"], "invalid choice: 'nowhere' (choose from"),
        (["run", "--dataset-id", "f6w7"], "'f6w7' is not a dataset's identifier, such as f6w7-q2d2"),
        (["run", "--rows-updated-at", "yesterday"], "'yesterday' is not a moment, such as 2023-10-15T00:00:00Z"),
        (["run", "--data", "a.csv", "--source", "https://data.wa.gov"], "not allowed with argument"),
        (["run", "--source", "https://data.wa.gov", "--rows-updated-at", "2023-10-15"], "not allowed with argument"),
        (["run", "--json"], "expected one argument"),
    ],
)
def test_wrong_usage_shows_the_usage_and_exits_with_2(run: Run, home: Path, arguments: list[str], said: str) -> None:
    code, error = run(*arguments)
    assert code == 2
    assert error.startswith("usage: python -m local")
    assert said in error
    assert not home.exists(), "something was begun"


def refused(result: tuple[int, str], said: str) -> None:
    """Assert one clear sentence, exit code 1 and no traceback."""
    code, error = result
    assert code == 1, error
    assert error.startswith("error: ")
    assert said in error
    assert error.count("\n") == 1, f"more than one line: {error}"


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (None, "there is no such file"),
        (b"", "is empty"),
        (b"\x89PNG\r\n\x1a\n\0\0", "is not text: line 3 has a NUL character"),
        (b"VIN (1-10),County\nABC,King\n", "has no column 'DOL Vehicle ID'"),
    ],
)
def test_a_file_that_will_not_do_is_refused_before_anything_is_begun(
    run: Run, home: Path, tmp_path: Path, content: bytes | None, said: str
) -> None:
    path = tmp_path / "data.csv"
    if content is not None:
        path.write_bytes(content)
    refused(run("run", "--data", path), said)
    assert not home.exists(), "something was begun"


@pytest.mark.parametrize(
    ("url", "said"),
    [
        ("data.wa.gov", "must be the base URL of a Socrata server, such as https://data.wa.gov"),
        ("ftp://data.wa.gov", "must be the base URL"),
        ("https://data.wa.gov/resource/f6w7-q2d2.csv", "must be the base URL"),
        ("http://data.wa.gov", "must be https"),
        ("http://127.0.0.1:1", "cannot be reached"),
    ],
)
def test_a_source_that_is_none_is_refused_before_anything_is_begun(run: Run, home: Path, url: str, said: str) -> None:
    refused(run("run", "--source", url), said)
    assert not home.exists(), "something was begun"


def test_a_source_without_the_dataset_is_refused_by_its_name(run: Run, open_data: Callable[..., OpenData]) -> None:
    refused(run("run", "--source", open_data().url, "--dataset-id", "aaaa-bbbb"), "has no dataset aaaa-bbbb")


@pytest.mark.parametrize(
    ("behaviour", "said"),
    [
        (HtmlPage(), "does not answer as a Socrata server does"),
        (HtmlPage(status=503), "is not available now (HTTP 503); try again later"),
        (HangsUp(), "cannot be reached"),
        (Says(status=403), "refuses to describe dataset f6w7-q2d2 (HTTP 403)"),
    ],
)
def test_a_source_that_answers_badly_is_refused_with_what_it_did(
    open_data: Callable[..., OpenData], behaviour: object, said: str
) -> None:
    with pytest.raises(LocalError) as caught:
        elsewhere(open_data(behaviours=[behaviour]).url, dataset_id="f6w7-q2d2")
    assert said in str(caught.value)


def test_a_source_that_is_there_is_known_by_the_dataset_s_name(open_data: Callable[..., OpenData]) -> None:
    url = open_data().url
    found = elsewhere(f"{url}/", dataset_id="f6w7-q2d2")
    assert found.url == url
    assert "Electric Vehicle Population Data" in found.description


@pytest.mark.parametrize("url", ["mysql://u:hunter2@h/db", "postgresql://u:hunter2@127.0.0.1:1/db"])
def test_a_database_that_cannot_be_had_is_refused_before_anything_is_begun(run: Run, home: Path, url: str) -> None:
    code, error = run("run", "--database-url", url)
    refused((code, error), "--database-url")
    assert "hunter2" not in error, "a password reached the screen"
    assert not home.exists(), "something was begun"


def test_a_report_that_cannot_be_written_is_refused_before_the_run_and_not_after(run: Run, tmp_path: Path) -> None:
    refused(run("run", "--json", tmp_path / "nowhere" / "out.json"), "cannot be written")
    refused(run("run", "--json", tmp_path), "cannot be written")


def test_psql_needs_a_database_and_says_how_to_make_one(run: Run) -> None:
    refused(run("psql"), typed("run"))


def test_two_runs_of_a_stack_in_one_checkout_wait_for_each_other(home: Path) -> None:
    told: list[str] = []
    ended = threading.Event()

    def second() -> None:
        with State("dev").locked(waiting=told.append):
            assert ended.is_set(), "two at once"

    with ThreadPoolExecutor(1) as pool:
        with State("dev").locked(waiting=told.append):
            waiter = pool.submit(second)
            with State("prod").locked(waiting=told.append):
                time.sleep(0.5)
            ended.set()
        waiter.result(timeout=10)
    (line,) = told
    assert re.search(r"another local run of stack dev .*process \d+, since .*waiting", line)


def test_a_run_that_waited_too_long_says_for_whom(home: Path) -> None:
    with (
        State("dev").locked(waiting=print),
        pytest.raises(LocalError, match=r"Another local run of stack dev .*process \d+, since .*--stack prod"),
    ):
        State("dev").locked(waiting=lambda _: None, patience=0.1).__enter__()


def test_output_that_no_terminal_reads_has_no_spinner_and_no_colours() -> None:
    text = io.StringIO()
    display = Display(Console(file=text, force_terminal=False, highlight=False, soft_wrap=True))
    with display.step("Deploy [x]") as step:
        step.detail = "3 things [y]"
    display.message("published", "10 rows\n\nExecution: https://console.aws.amazon.com/")
    display.outcome("SUCCEEDED")
    assert "\x1b" not in text.getvalue()
    assert "Deploy [x]" in text.getvalue()
    assert "3 things [y]" in text.getvalue(), "brackets were taken for markup"
    assert "console.aws" not in text.getvalue(), "the link leads where this run is not"


def test_fresh_drops_nothing_that_somebody_built_on_and_says_on_what(run: Run, database: Database) -> None:
    with contextlib.closing(database.connect()) as connection, connection.cursor() as cursor:
        migrate(connection)
        cursor.execute("CREATE VIEW mine AS SELECT make FROM electric_vehicle_us")
        connection.commit()
        refused(
            run("run", "--database-url", database.url, "--fresh"),
            "--fresh: PostgreSQL refused a statement: cannot drop table electric_vehicle_us because other objects "
            "depend on it: view mine depends on table electric_vehicle_us. Nothing was changed.",
        )
        cursor.execute("SELECT count(*) FROM mine, ev_growth")
        assert cursor.fetchone() == (0,)


@pytest.mark.parametrize("rows", [0, 1, 4])
def test_the_facts_are_the_table_s_own(database: Database, rows: int) -> None:
    assert facts(database) == [], "a database without the table has nothing to tell"
    vehicles = [
        ("Battery Electric Vehicle (BEV)", "TESLA", "King", "WA", None),
        ("Battery Electric Vehicle (BEV)", "TESLA", "King", "WA", 300),
        ("Plug-in Hybrid Electric Vehicle (PHEV)", "FORD", "Pierce", "WA", 20),
        ("Battery Electric Vehicle (BEV)", "NISSAN", None, "BC", 80),
    ]
    with contextlib.closing(database.connect()) as connection, connection.cursor() as cursor:
        cursor.execute(
            "CREATE TABLE electric_vehicle_us "
            "(vehicle_type text, make text, county text, state text, electric_range integer)"
        )
        for vehicle in vehicles[:rows]:
            cursor.execute("INSERT INTO electric_vehicle_us VALUES (%s, %s, %s, %s, %s)", vehicle)
        connection.commit()
    assert (
        facts(database)
        == {
            0: [],
            1: [
                "1 of 1 vehicles run on batteries alone, 0 are plug-in hybrids.",
                "TESLA leads with 1.",
                "100% are registered in King County: 1.",
            ],
            4: [
                "3 of 4 vehicles run on batteries alone, 1 are plug-in hybrids.",
                "TESLA leads with 2, before FORD (1) and NISSAN (1).",
                "50% are registered in King County: 2.",
            ],
        }[rows]
    )
