"""More than one at once: executions, readers, a rotation, a restart. Whoever meets, the table is one version, whole."""

import json
import tempfile
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import boto3
import pytest

from evdata import staging
from evdata.errors import TransientError
from local.embedded import EmbeddedServer
from local.open_data import OpenData
from local.postgres import Database
from local.snapshot import Snapshot
from tests.handler_tools import Pipeline, build_pipeline
from tests.test_transform import vehicle

MONTHS = (1_685_577_600, 1_688_169_600, 1_690_848_000, 1_693_526_400)  # the first of June to September 2023

type Start = Callable[..., OpenData]


def version(number: int) -> Snapshot:
    """A version that every one of its rows names: its city is the version's own, and so is how many there are."""
    rows = [vehicle(key, city=f"Version {number}") for key in range(1, 40 + number)]
    return Snapshot.of(rows, rows_updated_at=MONTHS[number])


@pytest.fixture
def source(open_data: Start) -> OpenData:
    return open_data(version(0))


@pytest.fixture
def pipeline(aws: None, monkeypatch: pytest.MonkeyPatch, database: Database, source: OpenData) -> Pipeline:
    return build_pipeline(monkeypatch, database, source, part_rows=10)


def table(pipeline: Pipeline) -> list[tuple[Any, ...]]:
    return pipeline.query(
        "SELECT count(*), count(DISTINCT dol_vehicle_id), min(city), max(city) FROM electric_vehicle_us"
    )


def whole(number: int) -> list[tuple[Any, ...]]:
    return [(39 + number, 39 + number, f"Version {number}", f"Version {number}")]


def extracted(pipeline: Pipeline) -> str:
    answer = pipeline.extract()
    for part in range(answer["parts"]):
        pipeline.stage(answer["manifest_key"], part)
    return str(answer["manifest_key"])


@pytest.mark.parametrize("first", [True, False], ids=["into an empty table", "over a version"])
def test_two_executions_at_once_publish_the_version_once(pipeline: Pipeline, source: OpenData, first: bool) -> None:
    number = 0 if first else 1
    if not first:
        pipeline.run("before")
        source.snapshot = version(1)
    together = threading.Barrier(2)

    def run(execution: str) -> dict[str, Any]:
        together.wait()
        return pipeline.run(execution, force=True)

    with ThreadPoolExecutor(2) as pool:
        answers = list(pool.map(run, ["one", "other"]))

    assert {answer["status"] for answer in answers} <= {"published", "unchanged"}
    assert sum(answer["inserted"] for answer in answers) == (39 if first else 1), "each vehicle is new once"
    assert all(answer["source"] == 39 + number for answer in answers)
    assert table(pipeline) == whole(number)
    assert pipeline.query("SELECT count(*) FROM electric_vehicle_us_history") == [(0 if first else 39,)]
    assert pipeline.query("SELECT tablename FROM pg_tables WHERE schemaname = 'staging' ORDER BY 1") == [
        ("part",),
        ("rejected",),
    ]


def test_a_state_started_twice_for_one_execution_publishes_once(pipeline: Pipeline) -> None:
    key = extracted(pipeline)
    with ThreadPoolExecutor(2) as pool:
        answers = [started.result() for started in [pool.submit(pipeline.publish, key, "one") for _ in range(2)]]
    assert answers[0] == answers[1]
    assert pipeline.query("SELECT execution_id, inserted FROM pipeline_run") == [("one", 39)]


def test_a_late_older_execution_is_superseded_wherever_it_comes_in(pipeline: Pipeline, source: OpenData) -> None:
    older = extracted(pipeline)
    source.snapshot = version(1)
    newer = extracted(pipeline)
    with ThreadPoolExecutor(2) as pool:
        late = pool.submit(pipeline.publish, newer, "newer")
        late.result()
        assert pool.submit(pipeline.publish, older, "older").result()["status"] == "superseded"
    assert table(pipeline) == whole(1)


def test_a_reader_sees_one_version_or_the_next_and_never_a_mix(pipeline: Pipeline, source: OpenData) -> None:
    pipeline.run("0")
    seen: list[tuple[Any, ...]] = []
    over = threading.Event()

    def read() -> None:
        with pipeline.connection() as connection, connection.cursor() as cursor:
            while not over.is_set():
                cursor.execute("SELECT count(*), min(city), max(city) FROM electric_vehicle_us")
                seen.append(cursor.fetchone())
                connection.commit()

    reader = threading.Thread(target=read)
    reader.start()
    try:
        for number in (1, 2, 3):
            source.snapshot = version(number)
            pipeline.run(str(number))
    finally:
        over.set()
        reader.join()
    observed = list(dict.fromkeys(seen))
    assert observed == [(39 + number, f"Version {number}", f"Version {number}") for number in range(4)]
    assert len(seen) > 50, "it looked often"


def test_a_rotation_between_stage_and_publish_is_not_noticed(pipeline: Pipeline) -> None:
    secrets = boto3.client("secretsmanager")
    name = f"ev_{pipeline.database.name[:20]}"
    # The tests' server asks for no password, so what rotates here is the user: the old one may no longer log in.
    for suffix in ("old", "new"):
        pipeline.execute(f"CREATE ROLE {name}_{suffix} LOGIN SUPERUSER")
    try:
        for suffix, other, step in (("old", "new", "stage"), ("new", "old", "publish")):
            pipeline.execute(f"ALTER ROLE {name}_{suffix} LOGIN; ALTER ROLE {name}_{other} NOLOGIN")
            secrets.put_secret_value(
                SecretId="credentials",
                SecretString=json.dumps({"username": f"{name}_{suffix}", "password": "unused"}),
            )
            if step == "stage":
                key = extracted(pipeline)
            else:
                assert pipeline.publish(key, "rotated")["loaded"] == 39
        assert table(pipeline) == whole(0)
    finally:
        pipeline.execute(f"REASSIGN OWNED BY {name}_old, {name}_new TO CURRENT_USER")
        pipeline.execute(f"DROP OWNED BY {name}_old, {name}_new; DROP ROLE {name}_old, {name}_new")


@contextmanager
def server_of_our_own() -> Iterator[tuple[EmbeddedServer, Path]]:
    home = Path(tempfile.mkdtemp(prefix="ev-restart-"))
    home.chmod(0o755)
    server = EmbeddedServer(home / "pg", shared=False)
    with server:
        yield server, home


def test_postgresql_restarted_in_the_middle_of_a_copy_costs_a_retry(
    aws: None, monkeypatch: pytest.MonkeyPatch, source: OpenData
) -> None:
    with server_of_our_own() as (server, _):
        database = server.database("restarted", owner="owner")
        pipeline = build_pipeline(monkeypatch, database, source, part_rows=10)
        answer = pipeline.extract()
        key = answer["manifest_key"]
        pipeline.stage(key, 0)
        restarted = threading.Event()

        class RestartsTheServer:
            """The rows of a part, and a restart of the server after the first bytes."""

            def __init__(self, content: bytes) -> None:
                self._content = content

            def read(self, size: int = -1) -> bytes:
                if not restarted.is_set():
                    piece, self._content = self._content[:100], self._content[100:]
                    restarted.set()
                    return piece
                if self._content:
                    server.__exit__()
                    server.__enter__()
                piece, self._content = self._content, b""
                return piece

        with monkeypatch.context() as patched:
            patched.setattr(staging, "io", SimpleNamespace(BytesIO=RestartsTheServer))
            with pytest.raises(TransientError):
                pipeline.stage(key, 1)
        assert restarted.is_set()

        for part in range(answer["parts"]):  # a restart empties UNLOGGED tables if it was not a gentle one
            pipeline.stage(key, part)
        assert pipeline.publish(key, "after the restart")["loaded"] == 39
        assert table(pipeline) == whole(0)
