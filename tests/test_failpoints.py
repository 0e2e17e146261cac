"""A fault at every point of every handler; then Step Functions runs the state again, and all is as it should be.

Each scenario: a version stands in the table, the next is under way, one handler fails at one point in one way
(failpoints.py), its state is run again as components/workflow.py says, and the execution goes on to its end. Then
table, history, rejected rows and runs must equal the reference model, `published.json` must name the version, and
nothing may be left: no staging tables or rows, no locks, no sessions, no incomplete uploads.
"""

import itertools
import json
import os
import re
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any, Final

import boto3
import psycopg2
import pytest
import requests
from moto.server import ThreadedMotoServer

from components.workflow import TRANSIENT_ERRORS
from evdata.warehouse import drop_everything
from local.open_data import OpenData
from local.postgres import Database
from tests import database_state
from tests.fork_server import ForkServer, Invocation
from tests.handler_tools import BUCKET, REGION, Pipeline, build_pipeline
from tests.reference_model import Model
from tests.source_rows import Portal, SourceRow

FIRST: Final = datetime(2024, 1, 1, tzinfo=UTC)
PART_ROWS: Final = 4


@dataclass(frozen=True, slots=True)
class Fault:
    """What happens in a state's first invocation: at a point, by number, and how; `then` once more on the way out."""

    state: str
    point: int
    name: str
    kind: str
    then: tuple[int, str] | None = None

    @property
    def due(self) -> dict[int, str]:
        return {self.point: self.kind} | (dict([self.then]) if self.then else {})


class World:
    """A cloud, a source, a database and the handlers in processes; executions run in it, one version after another."""

    def __init__(self, pipeline: Pipeline, source: OpenData, functions: ForkServer) -> None:
        self._pipeline = pipeline
        self._source = source
        self._functions = functions
        self._model = Model()
        self._noted = ""
        self._versions = itertools.count(1)
        self._connection = psycopg2.connect(pipeline.database.url, options="-c timezone=UTC")
        self._connection.autocommit = True

    def close(self) -> None:
        self._connection.close()

    def run_next(self, fault: Fault | None = None, *, refused: bool = False) -> dict[str, Invocation]:
        """Run an execution on the next version to its end and compare everything.

        `refused`: more of the version's rows are bad than the guard lets pass. Returns each state's first invocation.
        """
        number = next(self._versions)
        at = FIRST + timedelta(days=number)
        portal = _portal(number, bad=5 if refused else 1)
        run = f"run {number}"
        self._source.snapshot = portal.snapshot(at)
        end = self._model.run(run, portal.version(at), part_rows=PART_ROWS)
        assert end == ("RefusedError" if refused else "published")

        first: dict[str, Invocation] = {}
        extracted = self._state("extract", {}, fault, first).answer
        assert extracted
        key = extracted["manifest_key"]
        for part in range(extracted["parts"]):
            assert self._state("stage", {"manifest_key": key, "part": part}, fault, first).answer
        published = self._state("publish", {"manifest_key": key, "execution_id": run}, fault, first)

        if published.answer:
            counts = {name: published.answer[name] for name in database_state.COUNTS}
            assert counts == {name: getattr(self._model.runs[run], name) for name in database_state.COUNTS}
            self._noted = run
        assert (published.error or "published") == end, published.message
        told = published.message or str(published.answer and published.answer["message"])
        # What the answer says of the report besides is not the run's: a report that failed fails nothing.
        told = re.split("\n(?=Report: |The report could not be written: )", told)[0]
        assert self._pipeline.query("SELECT message FROM pipeline_run WHERE execution_id = %s", run) == [(told,)]
        self._compare()
        return first

    def start_anew(self) -> None:
        """Take everything away: the next execution is the first that this database and this bucket see."""
        with self._pipeline.connection() as connection:
            drop_everything(connection)
        self._model = Model()
        bucket = boto3.resource("s3").Bucket(BUCKET)
        bucket.objects.all().delete()

    def _state(self, name: str, event: dict[str, Any], fault: Fault | None, first: dict[str, Invocation]) -> Invocation:
        """Run a state as the state machine does: again while its error may pass. The fault strikes once."""
        strikes = fault is not None and fault.state == name and name not in first
        for attempt in range(5):
            faults = fault.due if fault and strikes and attempt == 0 else {}
            invocation = self._functions.invoke(name, self._pipeline.event | event, self._pipeline.environment, faults)
            first.setdefault(name, invocation)
            if not invocation.killed and invocation.error not in TRANSIENT_ERRORS:
                return invocation
        raise AssertionError(f"{name} did not recover: {invocation.error}: {invocation.message}")

    def _compare(self) -> None:
        assert database_state.leftovers(self._connection, patience_seconds=20) == []
        assert database_state.found(self._connection) == database_state.expected(self._model)
        s3 = boto3.client("s3")
        assert s3.list_multipart_uploads(Bucket=BUCKET).get("Uploads", []) == []
        assert json.load(s3.get_object(Bucket=BUCKET, Key="published.json")["Body"])["execution_id"] == self._noted


def _portal(number: int, *, bad: int) -> Portal:
    """Version `number`: against the one before it one vehicle new, gone, changed, moved; one came twice, some bad."""
    return Portal(
        rows=(
            SourceRow(1, "moved house"),  # overruled by the last row, in another part
            SourceRow(2, ("plain", "another car")[number % 2]),
            SourceRow(3, point=("here", "a decimal moved")[number % 2]),
            *(SourceRow(99, defects=("no make",)) for _ in range(bad)),
            SourceRow(4, "odd text"),
            SourceRow(1000 + number),
            SourceRow(1),
        )
    )


@pytest.fixture(scope="module")
def cloud() -> Iterator[dict[str, str]]:
    """A moto cloud for processes: the environment that leads there."""
    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    yield {
        "AWS_ENDPOINT_URL": f"http://{host}:{port}",
        "AWS_ACCESS_KEY_ID": "testing",
        "AWS_SECRET_ACCESS_KEY": "testing",
        "AWS_DEFAULT_REGION": REGION,
        "AWS_CONFIG_FILE": os.devnull,
        "AWS_SHARED_CREDENTIALS_FILE": os.devnull,
        "AWS_EC2_METADATA_DISABLED": "true",
    }
    server.stop()


@pytest.fixture(scope="module")
def functions(cloud: dict[str, str], tmp_path_factory: pytest.TempPathFactory) -> Iterator[ForkServer]:
    with ForkServer(cloud, tmp_path_factory.mktemp("functions") / "log") as found:
        yield found


@pytest.fixture
def world(
    cloud: dict[str, str],
    functions: ForkServer,
    monkeypatch: pytest.MonkeyPatch,
    database: Database,
    open_data: Callable[..., OpenData],
) -> Iterator[World]:
    requests.post(f"{cloud['AWS_ENDPOINT_URL']}/moto-api/reset", timeout=10)
    for name, value in cloud.items():
        monkeypatch.setenv(name, value)
    source = open_data(_portal(0, bad=0).snapshot(FIRST))
    pipeline = build_pipeline(monkeypatch, database, source, part_rows=PART_ROWS, max_rejected=0.5)
    with closing(World(pipeline, source, functions)) as found:
        found.run_next()  # the tables, and a version to come from
        yield found


# How many faults are left out between two that are tried. Coprime to the numbers of kinds, so that kinds take turns.
SAMPLE: Final = 41
EVERY = pytest.mark.parametrize(
    "step", [pytest.param(SAMPLE, id="sampled"), pytest.param(1, id="all", marks=pytest.mark.exhaustive)]
)


@EVERY
@pytest.mark.parametrize("state", ["extract", "stage", "publish"])
def test_a_fault_anywhere_is_as_if_it_had_never_been(
    world: World, state: str, step: int, record_property: Callable[[str, object], None]
) -> None:
    _prove(world, _faults(state, world.run_next()[state]), step, record_property, f"of {state}")


@EVERY
def test_a_refusal_is_written_down_once_whatever_fails_on_the_way(
    world: World, step: int, record_property: Callable[[str, object], None]
) -> None:
    faults = _faults("publish", world.run_next(refused=True)["publish"])
    _prove(world, faults, step, record_property, "of a refusal", refused=True)


@EVERY
def test_a_fault_while_the_tables_are_first_made_is_made_good(
    world: World, step: int, record_property: Callable[[str, object], None]
) -> None:
    usual = {point.name for point in world.run_next()["stage"].points}
    world.start_anew()
    faults = [fault for fault in _faults("stage", world.run_next()["stage"]) if fault.name not in usual]
    assert len(faults) > 30, "the first stage makes the tables"
    _prove(world, faults, step, record_property, "of the migration", before=world.start_anew)


@EVERY
def test_a_second_fault_while_the_first_is_being_left_behind_for_publish_to_tell_is_made_good(
    world: World, step: int, record_property: Callable[[str, object], None]
) -> None:
    first = Fault("stage", 1, "before the manifest is read", "error")
    ending = world.run_next(first)["stage"]
    assert ending.error == "TransientError"
    faults = [
        Fault("stage", 1, fault.name, "error", then=(fault.point, fault.kind))
        for fault in _faults("stage", ending)
        if fault.point > 1
    ]
    _prove(world, faults, step, record_property, "of a failure being noted")


def _faults(state: str, invocation: Invocation) -> list[Fault]:
    """Every kind of fault at every point that the invocation met."""
    return [Fault(state, point.number, point.name, kind) for point in invocation.points for kind in point.kinds]


def _prove(
    world: World,
    faults: list[Fault],
    step: int,
    record_property: Callable[[str, object], None],
    what: str,
    *,
    refused: bool = False,
    before: Callable[[], None] = lambda: None,
) -> None:
    tried = faults[::step]
    for fault in tried:
        before()
        try:
            struck = world.run_next(fault, refused=refused)[fault.state]
            assert len(struck.points) >= fault.point, f"the fault never struck: {struck}"
        except AssertionError as error:
            error.add_note(f"after the fault: {fault}")
            raise
    kinds = Counter((*fault.due.values(),)[-1] for fault in tried)
    struck_how = ", ".join(f"{count} {kind}" for kind, count in kinds.items())
    points = len({(fault.point, fault.then) for fault in faults})
    found = f"of {len(faults)} faults at {points} points {len(tried)} struck ({struck_how}), all recovered from"
    record_property("proved", f"failpoints {what}: {found}")
