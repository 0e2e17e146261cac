"""Local runs into another server than the embedded one: used as it is, and each database for itself."""

from collections.abc import Iterator

import pytest

from local.postgres import Database, temporary_database
from tests.local_machine import SAMPLE_ROWS, UNCHANGED_STATES, Machine, ask, new_machine, succeeded


@pytest.fixture
def machine() -> Iterator[Machine]:
    with new_machine() as found:
        yield found


@pytest.mark.exhaustive
def test_every_database_is_used_as_it_is_and_never_told_what_another_has_published(
    machine: Machine, postgres_server: Database
) -> None:
    with temporary_database(postgres_server) as one, temporary_database(postgres_server) as other:
        ask(one, "CREATE TABLE somebody_elses AS SELECT 1 AS x; COMMIT; SELECT 1")
        first = succeeded(machine.run("--database-url", one.url))
        assert first.report["counts"]["inserted"] == SAMPLE_ROWS
        assert ask(one, "SELECT count(*) FROM electric_vehicle_us") == [(SAMPLE_ROWS,)]
        assert not (machine.home / "dev" / "postgres").exists(), "the embedded server was started for nothing"
        assert one.name in first.output
        assert "has no database here yet" in machine.start("psql").communicate(timeout=30)[0]

        second = succeeded(machine.run("--database-url", other.url))
        assert second.report["counts"]["inserted"] == SAMPLE_ROWS, "it was told what another database has published"

        assert succeeded(machine.run("--database-url", one.url)).states == UNCHANGED_STATES

        fresh = succeeded(machine.run("--database-url", one.url, "--fresh"))
        assert fresh.report["counts"]["inserted"] == SAMPLE_ROWS
        assert ask(one, "SELECT count(*) FROM somebody_elses") == [(1,)], "--fresh took more than the pipeline's own"
        assert ask(other, "SELECT count(*) FROM pipeline_run") == [(1,)]
