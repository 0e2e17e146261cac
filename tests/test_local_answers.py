"""The commands that look: what they answer about a story known by hand, and that nothing they are asked can write."""

import contextlib
import csv
import dataclasses
import io
import json
import os
import re
import secrets
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Final

import pytest
from rich.console import Console

from evdata import warehouse
from local.cli import main
from local.display import Display
from local.postgres import Database
from local.state import typed
from tests.handler_tools import Pipeline
from tests.local_machine import PROJECT, Machine, new_machine
from tests.story import told

type Ask = Callable[..., tuple[int, str, str]]


@pytest.fixture(scope="module")
def story(postgres_server: Database) -> Iterator[Pipeline]:
    with told(postgres_server) as pipeline:
        yield pipeline


@pytest.fixture
def call(capfd: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Ask]:
    """Runs the command line in this process: exit code, standard output, standard error."""
    monkeypatch.setenv("EV_LOCAL_DIR", str(tmp_path / "local"))
    handlers = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)}

    def run(*arguments: object) -> tuple[int, str, str]:
        try:
            code = main([str(argument) for argument in arguments])
        except SystemExit as stopped:
            code = int(stopped.code or 0)
        return code, *capfd.readouterr()

    yield run
    for number, handler in handlers.items():
        signal.signal(number, handler)


@contextlib.contextmanager
def login(story: Pipeline, *grants: str) -> Iterator[Database]:
    """A user of the server, for as long as this lasts; `grants` say what else it is (after CREATE ROLE ... LOGIN)."""
    name = f"someone_{secrets.token_hex(4)}"
    story.execute(f"CREATE ROLE {name} LOGIN PASSWORD 'x' {' '.join(grants)}")
    try:
        yield dataclasses.replace(story.database, user=name, password="x")
    finally:
        story.execute(f"REASSIGN OWNED BY {name} TO CURRENT_USER; DROP OWNED BY {name}; DROP ROLE {name}")


@pytest.fixture(scope="module")
def analyst(story: Pipeline) -> Iterator[Database]:
    """The story's database, seen by a user who may do what the reading role may."""
    with login(story, "IN ROLE ev_reader") as found:
        yield found


@pytest.fixture
def ask(call: Ask, analyst: Database) -> Ask:
    """Runs a command on the story's database."""
    return lambda command, *arguments: call(command, "--database-url", analyst.url, *arguments)


# --- query ---


def test_an_answer_is_a_readable_table(ask: Ask) -> None:
    code, out, err = ask("query", "SELECT * FROM ev_by_county WHERE state <> 'OR' ORDER BY vehicles DESC, county")
    assert (code, err) == (0, "")
    assert out.splitlines() == [
        "county     state   vehicles   battery_electric   plug_in_hybrid",
        "─" * 63,
        "Pierce     WA             4                  3                1",
        "Clark      WA             1                  0                1",
        "King       WA             1                  1                0",
        "Thurston   WA             1                  1                0",
        "NULL       BC             1                  0                1",
        "  5 rows",
    ]


def test_every_type_is_told_as_postgresql_writes_it(ask: Ask) -> None:
    _, out, _ = ask(
        "query",
        "--csv",
        "SELECT timestamptz '2023-06-01 00:00Z' AS t, ARRAY['a', NULL] AS a, jsonb '{\"b\": 1}' AS j, true AS b, "
        "NULL::text AS n, '' AS e, 1.50 AS d, date '2023-06-01' AS day, 'say \"hi\", ünï' AS quoted;",
    )
    assert list(csv.reader(io.StringIO(out))) == [
        ["t", "a", "j", "b", "n", "e", "d", "day", "quoted"],
        ["2023-06-01 00:00:00+00", "{a,NULL}", '{"b": 1}', "t", "", "", "1.50", "2023-06-01", 'say "hi", ünï'],
    ]


def test_a_terminal_is_shown_the_beginning_of_a_long_answer_and_how_to_see_it_all(
    ask: Ask, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TTY_COMPATIBLE", "1")
    monkeypatch.setenv("NO_COLOR", "1")
    long = "SELECT n FROM generate_series(1, 12345) AS n"
    code, out, _ = ask("query", long)
    assert code == 0
    assert len(out.splitlines()) == 103
    assert "  100 of 12,345 rows shown. All of them: --all, --csv > FILE.csv or --json > FILE.json" in out
    assert len(ask("query", "--all", long)[1].splitlines()) == 12_348


def test_what_is_no_terminal_gets_every_row_every_column_and_every_character(ask: Ask) -> None:
    code, out, _ = ask(
        "query", "SELECT n, repeat('x', 200) AS wide, repeat('y', 200) || n AS last FROM generate_series(1, 150) n"
    )
    assert code == 0
    lines = out.splitlines()
    assert lines[0].split() == ["n", "wide", "last"]
    assert [line.split() for line in lines[2:-1]] == [[str(n), "x" * 200, "y" * 200 + str(n)] for n in range(1, 151)]


def test_a_whole_answer_can_be_had_as_json(ask: Ask) -> None:
    query = (
        "SELECT 1 AS whole, 2.50 AS decimal, true AS yes, NULL::text AS nothing, 'Doña \"Ana\"' AS text, "
        "'NaN'::float8 AS odd, date '2023-10-15' AS day UNION ALL "
        "SELECT 98052, -0.5, false, 'x', '', '-Infinity', '2024-01-01'"
    )
    code, out, _ = ask("query", "--json", query)
    assert code == 0
    assert json.loads(out) == [
        {
            "whole": 1,
            "decimal": 2.5,
            "yes": True,
            "nothing": None,
            "text": 'Doña "Ana"',
            "odd": "NaN",
            "day": "2023-10-15",
        },
        {
            "whole": 98052,
            "decimal": -0.5,
            "yes": False,
            "nothing": "x",
            "text": "",
            "odd": "-Infinity",
            "day": "2024-01-01",
        },
    ]
    assert json.loads(ask("query", "--json", "SELECT 1 AS n WHERE false")[1]) == []


def test_the_whole_of_a_long_answer_can_be_had_as_csv(ask: Ask) -> None:
    long = "SELECT n FROM generate_series(1, 12345) AS n"
    assert ask("query", "--csv", long)[1].splitlines() == ["n", *map(str, range(1, 12_346))]


@pytest.mark.parametrize(
    "statement", ["SELECT", "VALUES (1), (2)", "TABLE ev_growth", "SHOW server_version", "EXPLAIN SELECT 1"]
)
def test_whatever_answers_rows_may_be_asked(ask: Ask, statement: str) -> None:
    code, out, err = ask("query", statement)
    assert (code, err) == (0, "")
    assert "row" in out


def test_what_the_data_says_is_no_order_to_the_terminal(ask: Ask) -> None:
    _, out, _ = ask("query", "SELECT E'\\x1b[31mred\\n[bold]' AS what")
    assert "\x1b" not in out
    assert "\\x1b[31mred\\n[bold]" in out


def test_a_table_too_wide_for_the_terminal_is_shown_row_by_row_and_whole() -> None:
    text = io.StringIO()
    display = Display(Console(file=text, force_terminal=True, width=40, color_system=None, soft_wrap=True))
    display.table(["a", "b"], [["x" * 30, "y" * 30], [None, "z"]], numeric=[False, False])
    told = [line.rstrip() for line in text.getvalue().splitlines()]
    assert [re.sub(r"\x1b\[\d*m", "", line) for line in told] == [
        "row 1",
        f"  {'a':<20} {'x' * 30}",
        f"  {'b':<20} {'y' * 30}",
        "row 2",
        f"  {'a':<20} NULL",
        f"  {'b':<20} z",
    ]


WRITES: Final = [
    "DELETE FROM electric_vehicle_us",
    "DELETE FROM electric_vehicle_us RETURNING *",
    "WITH gone AS (DELETE FROM electric_vehicle_us RETURNING 1) SELECT * FROM gone",
    "UPDATE electric_vehicle_us SET make = 'X'",
    "INSERT INTO rejected_row SELECT * FROM rejected_row",
    "TRUNCATE electric_vehicle_us CASCADE",
    "DROP TABLE electric_vehicle_us CASCADE",
    "CREATE TABLE mine AS SELECT 1",
    "CREATE TEMP TABLE mine (n int)",
    "SELECT 1 INTO mine",
    "COMMIT; DELETE FROM electric_vehicle_us",
    "SELECT 1; DELETE FROM electric_vehicle_us; COMMIT",
    "ROLLBACK; BEGIN READ WRITE; DELETE FROM electric_vehicle_us; COMMIT; SELECT 1",
    "RESET ROLE; DELETE FROM electric_vehicle_us",
    "RESET ROLE",
    "SET ROLE postgres",
    "SET SESSION AUTHORIZATION DEFAULT",
    "SET TRANSACTION READ WRITE",
    "SELECT set_config('transaction_read_only', 'off', true)",
    "SELECT set_config('role', 'none', true), query_to_xml('DELETE FROM electric_vehicle_us', true, true, '')",
    "DO $$ BEGIN DELETE FROM electric_vehicle_us; END $$",
    "$$; DELETE FROM electric_vehicle_us; --",
    "'); DELETE FROM electric_vehicle_us; COMMIT; --",
    "EXPLAIN ANALYZE DELETE FROM electric_vehicle_us",
    "SELECT * FROM electric_vehicle_us FOR UPDATE",
    "LOCK TABLE electric_vehicle_us",
    "COPY electric_vehicle_us TO PROGRAM 'touch {trace}'",
    "COPY (SELECT 1) TO '{trace}'",
    "COPY electric_vehicle_us FROM STDIN",
    "SELECT lo_export(lo_from_bytea(0, 'x'), '{trace}')",
    "PREPARE p AS DELETE FROM electric_vehicle_us",
    "NOTIFY somebody",
    "VACUUM",
    "SELECT * FROM ev_pipeline_internal.part",
]  # fmt: skip


def _stands(story: Pipeline) -> list[tuple[object, ...]]:
    """Everything in the database that a query might have changed."""
    return story.query(
        # The size of the server's own tables is its own affair: it analyzes and vacuums when it likes.
        "SELECT relname, relfilenode, relacl::text, CASE WHEN relnamespace <> 'pg_catalog'::regnamespace "
        "THEN pg_relation_size(oid) END FROM pg_class WHERE relkind <> 't' ORDER BY 1, 2"
    ) + (story.query("SELECT xmin::text, e::text FROM electric_vehicle_us AS e ORDER BY 2"))


@pytest.mark.parametrize("statement", WRITES)
def test_nothing_that_is_asked_can_write(ask: Ask, story: Pipeline, tmp_path: Path, statement: str) -> None:
    trace = tmp_path / "trace"
    tmp_path.chmod(0o777)
    before = _stands(story)
    code, out, err = ask("query", statement.replace("{trace}", str(trace)))
    assert (code, out) == (1, ""), "told as refused, on standard error alone"
    assert err.startswith("error: ")
    assert err.count("\n") == 1, "more than one sentence or so"
    assert _stands(story) == before
    assert not trace.exists()


# Takes the login's own role back, then runs a statement in it by a function that the login has made before.
LEAVES: Final = "WITH role AS MATERIALIZED (SELECT set_config('role', 'none', true)) SELECT theirs($${}$$) FROM role"


@pytest.mark.parametrize(
    "statement",
    [
        "DELETE FROM public.electric_vehicle_us",
        "UPDATE public.electric_vehicle_us SET make = 'X'",
        "DROP VIEW public.ev_by_county",
        "SELECT set_config('transaction_read_only', 'off', true)",
        "COPY public.electric_vehicle_us TO PROGRAM 'true'",
        "SELECT nextval('theirs')",
        "CREATE TABLE public.mine (n int)",
        "COMMIT",
    ],
)
def test_a_login_that_takes_its_own_role_back_cannot_write_either(call: Ask, story: Pipeline, statement: str) -> None:
    with login(story, "IN ROLE ev_reader") as owner:
        story.execute(
            "CREATE SEQUENCE theirs; CREATE FUNCTION theirs(statement text) RETURNS text LANGUAGE plpgsql AS "
            "$$ DECLARE answer text; BEGIN EXECUTE statement INTO answer; RETURN answer; END $$"
        )
        story.execute(f"GRANT ALL ON ALL TABLES IN SCHEMA public TO {owner.user}")
        story.execute("GRANT ALL ON SEQUENCE theirs TO PUBLIC")
        try:
            before = _stands(story)
            _, out, _ = call("query", "--database-url", owner.url, LEAVES.format("SELECT current_user"))
            assert owner.user in out, "a query can leave the reading role"
            code, out, err = call("query", "--database-url", owner.url, LEAVES.format(statement))
            assert (code, out) == (1, ""), err
            assert _stands(story) == before
        finally:
            story.execute("DROP FUNCTION theirs(text); DROP SEQUENCE theirs")


@pytest.mark.parametrize(("grant", "told"), [("SUPERUSER", "a superuser"), ("REPLICATION", "a user who may replicate")])
def test_who_may_do_what_no_transaction_undoes_is_refused_by_query_alone(
    call: Ask, story: Pipeline, grant: str, told: str
) -> None:
    with login(story, grant, "IN ROLE ev_reader") as powerful:
        code, out, err = call("query", "--database-url", powerful.url, "SELECT 1")
        assert (code, out) == (1, "")
        assert f"logs in as {powerful.user}, {told}: a query could leave the read-only role" in err
        assert "IN ROLE ev_reader" in err
        assert call("status", "--database-url", powerful.url)[0] == 0, "our own questions leave nothing"


def test_an_answer_is_the_same_whatever_role_and_environment_set(
    call: Ask, story: Pipeline, monkeypatch: pytest.MonkeyPatch
) -> None:
    query = (
        "SELECT timestamptz '2023-06-01 00:00Z' AS t, 'Doña Ana' AS county, 0.1::float8 + 0.2 AS f, count(*) "
        "FROM ev_growth"
    )
    with login(story, "IN ROLE ev_reader") as someone:
        plain = call("query", "--database-url", someone.url, "--csv", query)
        for setting in (
            "TimeZone TO 'Pacific/Kiritimati'",
            "DateStyle TO German",
            "client_encoding TO LATIN1",
            "extra_float_digits TO -15",
            "search_path TO pg_temp",
        ):
            story.execute(f"ALTER ROLE {someone.user} SET {setting}")
        monkeypatch.setenv("PGCLIENTENCODING", "LATIN1")
        monkeypatch.setenv("PGOPTIONS", "-c search_path=pg_temp")
        assert call("query", "--database-url", someone.url, "--csv", query) == plain
        assert plain[1].splitlines()[1] == "2023-06-01 00:00:00+00,Doña Ana,0.30000000000000004,4"


def test_a_refusal_says_what_was_got_the_rule_and_the_way_out(call: Ask, ask: Ask) -> None:
    _, _, err = ask("query", "DELETE   FROM\nelectric_vehicle_us")
    assert err == (
        "error: query only reads, and got: DELETE FROM electric_vehicle_us (PostgreSQL: cannot open DELETE query as "
        "cursor). It takes one statement that reads what ev_reader may read, such as SELECT, WITH, VALUES, TABLE or "
        "EXPLAIN; nothing was changed. To write, or for several statements: psql with the same URL\n"
    )


@pytest.mark.parametrize(
    ("statement", "said"),
    [
        ("SELEC 1", 'PostgreSQL: syntax error at or near "SELEC" (at character 1 of the query).'),
        (
            "SELECT * FROM ev_by_country",
            'relation "ev_by_country" does not exist (at character 15 of the query). What there is to ask: docs/',
        ),
        ("SELECT 1/0", "PostgreSQL: division by zero."),
        ("SELECT n / (n - 101) FROM generate_series(1, 200) AS n", "PostgreSQL: division by zero."),
        ("-- nothing", "cannot open"),
    ],
)
def test_a_query_that_fails_is_told_in_a_sentence_and_exits_with_1(ask: Ask, statement: str, said: str) -> None:
    code, _, err = ask("query", statement)
    assert code == 1
    assert said in err
    assert err.count("\n") == 1


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["query"], "the following arguments are required: SQL"),
        (["query", "  "], "is blank; ask something, such as 'SELECT * FROM ev_by_county'"),
        (["query", "--csv", "--all", "SELECT 1"], "not allowed with argument"),
        (["query", "SELECT 1", "SELECT 2"], "unrecognized arguments: SELECT 2"),
        (["history"], "the following arguments are required: KEY"),
        (["history", "tesla"], "'tesla' is not a dol_vehicle_id, such as 244137120"),
        (["history", "0"], "'0' is not a dol_vehicle_id"),
        (["history", "-5"], "'-5' is not a dol_vehicle_id"),
        (["history", str(2**63)], "is not a dol_vehicle_id"),
        (["status", "now"], "unrecognized arguments: now"),
    ],
)
def test_wrong_usage_shows_the_usage_and_exits_with_2(call: Ask, arguments: list[str], said: str) -> None:
    code, out, err = call(*arguments)
    assert (code, out) == (2, "")
    assert err.startswith("usage: python -m local")
    assert said in err


# --- history ---


def life(ask: Ask, key: int) -> list[str]:
    code, out, err = ask("history", key)
    assert (code, err) == (0, "")
    _, _, lines = out.partition("What became of it, by versions of the source\n")
    return [line.strip() for line in lines.splitlines()]


def test_a_vehicle_that_never_changed_has_one_line(ask: Ask) -> None:
    assert life(ask, 1) == ["2023-06-01 00:00 → now               arrived"]
    _, out, _ = ask("history", 1)
    assert "dol_vehicle_id 1: 2020 HYUNDAI KONA" in out
    assert re.search(r"^  county +King$", out, re.MULTILINE)
    assert re.search(r"^  base_msrp +unknown$", out, re.MULTILINE)


def test_a_vehicle_that_moved_twice_has_each_move(ask: Ask) -> None:
    arrived, first, second = life(ask, 2)
    assert arrived == "2023-06-01 00:00 → 2023-07-01 00:00  arrived"
    assert first == (
        "2023-07-01 00:00 → 2023-08-01 00:00  changed: county King → Pierce; city Seattle → Tacoma; "
        "postal_code 98103 → 98402; legislative_district 43 → 27; electric_utility SEATTLE → TACOMA"
    )
    assert second.startswith("2023-08-01 00:00 → now               changed: county Pierce → Thurston; ")


def test_a_vehicle_that_left_and_came_back_has_both_stays_and_the_time_between(ask: Ask) -> None:
    arrived, away, back = life(ask, 3)
    assert arrived == "2023-06-01 00:00 → 2023-07-01 00:00  arrived"
    assert away == "2023-07-01 00:00 → 2023-08-01 00:00  away: not in the source"
    assert back.startswith("2023-08-01 00:00 → now               came back: county King → Pierce; ")


def test_a_number_that_changed_hands_is_told_as_another_vehicle(ask: Ask) -> None:
    _, handed = life(ask, 4)
    assert "changed, as another vehicle: the number changed hands: vin_code KM8K33AGXL → WBY8P6C05F; " in handed


def test_a_vehicle_that_left_is_told_as_it_was_and_as_away(ask: Ask) -> None:
    assert life(ask, 7) == [
        "2023-06-01 00:00 → 2023-08-01 00:00  arrived",
        "2023-08-01 00:00 → now               away: not in the source",
    ]


@pytest.mark.parametrize("key", [11, 80, 999], ids=["of a publication that was corrected", "rejected", "never seen"])
def test_a_vehicle_that_never_was_is_an_error_with_the_way_out(ask: Ask, key: int) -> None:
    code, out, err = ask("history", key)
    assert (code, out) == (1, "")
    assert err == (
        f"error: No row with dol_vehicle_id {key} is in electric_vehicle_us or ever was. "
        f"Some that are: {typed('query')} 'TABLE electric_vehicle_us LIMIT 5'\n"
    )


# --- status ---


def test_the_status_tells_versions_rejections_refusals_and_how_fresh_it_all_is(ask: Ask) -> None:
    code, out, err = ask("status")
    assert (code, err) == (0, "")
    assert "  9 vehicles of version 2023-09-01 00:00 UTC, published just now\n" in out
    assert re.search(r"  the source last changed [\d,]+ days ago as far as is known here\n", out)
    assert "  2 of its rows rejected; they stand in rejected_row. Most often: make is missing (2)\n" in out
    assert "\nRuns refused: 1\n  just now: version 2023-07-02 00:00 UTC refused: 2 vehicles" in out
    assert "  published just now, version 2023-09-01 00:00 UTC\n" in out
    _, _, versions = out.partition("Versions published: 4\n")
    assert [line.split() for line in versions.splitlines()[2:]] == [
        ["2023-09-01", "00:00", "UTC", "9", "0", "2", "0", "2", "0"],
        ["2023-08-01", "00:00", "UTC", "9", "1", "4", "1", "0", "0"],
        ["2023-07-01", "00:00", "UTC", "9", "1", "2", "1", "0", "0"],
        ["2023-06-01", "00:00", "UTC", "9", "9", "0", "0", "1", "0"],
    ]


# --- The embedded database ---


@pytest.fixture(scope="module")
def machine() -> Iterator[Machine]:
    """A place with an embedded database that has the tables and no run yet; its server does not run."""
    with new_machine() as found:
        with found.database() as database, contextlib.closing(database.connect()) as connection:
            warehouse.migrate(connection)
        yield found


@pytest.fixture
def here(call: Ask, machine: Machine, monkeypatch: pytest.MonkeyPatch) -> Ask:
    """Runs a command on the machine's own database."""
    monkeypatch.setenv("EV_LOCAL_DIR", str(machine.home))
    return call


def running(machine: Machine) -> bool:
    return (machine.home / "dev" / "postgres" / "postmaster.pid").exists()


@pytest.mark.parametrize("command", [["query", "SELECT 1"], ["history", "1"], ["status"]], ids=" ".join)
def test_before_any_run_each_says_how_to_start_one(call: Ask, command: list[str]) -> None:
    assert call(*command) == (
        1,
        "",
        f"error: Stack dev has no database here yet; make one with: {typed('run')}\n",
    )


@pytest.mark.parametrize("command", [["query", "SELECT 1"], ["history", "1"], ["status"]], ids=" ".join)
def test_a_database_that_no_run_has_reached_says_so(call: Ask, database: Database, command: list[str]) -> None:
    code, out, err = call(*command, "--database-url", database.url)
    assert (code, out) == (1, "")
    assert err == (
        f"error: No run has come as far as the database {database.name} yet; start one with: {typed('run')}\n"
    )


def test_before_the_first_publication_the_status_is_a_sentence(here: Ask) -> None:
    assert here("status") == (
        0,
        f"  No run has come as far as publishing yet: the table is empty. Start one: {typed('run')}\n",
        "",
    )


def test_the_server_is_started_for_the_question_and_stopped_after_it(here: Ask, machine: Machine) -> None:
    assert here("query", "--csv", "SELECT count(*) AS vehicles FROM electric_vehicle_us") == (0, "vehicles\n0\n", "")
    assert not running(machine)
    assert here("query", "SELECT 1 / 0")[0] == 1
    assert not running(machine), "a failure must stop it as well"


def test_a_server_that_a_run_has_going_is_asked_and_left_running(here: Ask, machine: Machine) -> None:
    with machine.database():
        assert here("query", "--csv", "SELECT count(*) AS vehicles FROM ev_growth") == (0, "vehicles\n0\n", "")
        assert running(machine)


def test_who_asks_is_nobody_who_could_become_the_superuser(here: Ask, machine: Machine) -> None:
    _, out, _ = here(
        "query", "--csv", "SELECT session_user, current_user, rolsuper FROM pg_roles WHERE rolname = session_user"
    )
    assert out.splitlines()[1] == "ev_analyst,ev_reader,f"
    trace = machine.home / "trace"
    export = f"SELECT lo_export(lo_from_bytea(0, ''x''), ''{trace}'')"
    for role in ("none", "postgres"):
        code, _, err = here(
            "query", f"SELECT set_config('role', '{role}', true), query_to_xml('{export}', true, true, '')"
        )
        assert code == 1, err
    assert not trace.exists()


def test_a_reader_who_has_had_enough_of_a_long_answer_is_no_error(machine: Machine) -> None:
    command = f"{sys.executable} -m local query --csv 'SELECT n FROM generate_series(1, 300000) AS n' | head -2"
    done = subprocess.run(
        ["bash", "-o", "pipefail", "-c", command],
        cwd=PROJECT, env=os.environ | {"EV_LOCAL_DIR": str(machine.home)},
        capture_output=True, text=True, check=False, timeout=60,
    )  # fmt: skip
    assert (done.returncode, done.stdout, done.stderr) == (0, "n\n1\n", "")


def test_ctrl_c_ends_a_long_question_at_once(machine: Machine) -> None:
    process = machine.start("query", "SELECT pg_sleep(60)")
    deadline = time.monotonic() + 30
    while not running(machine) and time.monotonic() < deadline:
        time.sleep(0.05)
    time.sleep(1)
    process.send_signal(signal.SIGINT)
    output, _ = process.communicate(timeout=15)
    assert process.returncode == 130, output
    assert "Traceback" not in output
    assert not running(machine)
