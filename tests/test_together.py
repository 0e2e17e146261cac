"""More than one at once: executions, readers, a rotation, a restart. Whoever meets, the table is one version, whole."""

import gzip
import hashlib
import json
import os
import shutil
import signal
import subprocess
import tempfile
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import boto3
import pytest
from botocore.awsrequest import AWSPreparedRequest
from moto.core.botocore_stubber import BotocoreStubber

from evdata import staging
from evdata.errors import RawDataError, TransientError
from evdata.raw_store import RawStore
from local.embedded import EmbeddedServer
from local.open_data import OpenData
from local.postgres import Database
from local.snapshot import Snapshot
from tests import database_state
from tests.handler_tools import BUCKET, Pipeline, build_pipeline
from tests.test_transform import vehicle

MONTHS = (1_685_577_600, 1_688_169_600, 1_690_848_000, 1_693_526_400)  # the first of June to September 2023

type Start = Callable[..., OpenData]


def version(number: int) -> Snapshot:
    """A version that every one of its rows names: its city is the version's own, and so is how many there are."""
    rows = [vehicle(key, city=f"Version {number}") for key in range(1, 40 + number)]
    return Snapshot.of(rows, rows_updated_at=MONTHS[number])


@pytest.fixture(autouse=True)
def one_request_at_a_time(monkeypatch: pytest.MonkeyPatch) -> None:
    """moto closes an object that is overwritten while another thread reads it. S3 does not."""
    lock, process = threading.Lock(), BotocoreStubber.process_request

    def locked(self: BotocoreStubber, request: AWSPreparedRequest) -> Any:
        with lock:
            return process(self, request)

    monkeypatch.setattr(BotocoreStubber, "process_request", locked)


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


def leftovers(pipeline: Pipeline) -> list[str]:
    with pipeline.connection() as connection:
        connection.autocommit = True
        return database_state.leftovers(connection)


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
    assert pipeline.query("SELECT tablename FROM pg_tables WHERE schemaname = 'ev_pipeline_internal' ORDER BY 1") == [
        ("made",),
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


@pytest.mark.parametrize("number", [0, 1], ids=["the first version", "another version"])
def test_two_executions_of_two_versions_end_with_the_newer_one(
    pipeline: Pipeline, source: OpenData, number: int
) -> None:
    if number:
        pipeline.run("before")
    source.snapshot = version(1)
    older = extracted(pipeline)
    source.snapshot = version(2)
    newer = extracted(pipeline)
    with ThreadPoolExecutor(2) as pool:
        started = [pool.submit(pipeline.publish, key, run) for key, run in ((newer, "newer"), (older, "older"))]
        answers = [execution.result()["status"] for execution in started]
    assert answers in (["published", "published"], ["published", "superseded"])
    assert table(pipeline) == whole(2)
    assert leftovers(pipeline) == []


def test_a_part_that_a_twin_could_not_stage_does_not_spoil_the_one_that_was_staged(
    pipeline: Pipeline, monkeypatch: pytest.MonkeyPatch
) -> None:
    key = extracted(pipeline)

    def out_of_reach(*_: object) -> None:
        raise TransientError("the twin's S3 is out of reach")

    with monkeypatch.context() as patched:
        patched.setattr(RawStore, "part", out_of_reach)
        with pytest.raises(TransientError):
            pipeline.stage(key, 2)
    assert pipeline.publish(key, "one")["loaded"] == 39


def test_a_copy_that_is_overwritten_while_it_is_staged_is_refused_and_the_next_run_publishes(
    pipeline: Pipeline, source: OpenData
) -> None:
    pipeline.run("before")
    source.snapshot = version(1)
    key = pipeline.extract()["manifest_key"]
    pipeline.stage(key, 0)
    # A twin copies the same version anew, from a server that compresses otherwise: it has come to the second part.
    s3 = boto3.client("s3")
    part = key.replace("manifest.json", "part-00001.csv.gz")
    rows = gzip.decompress(s3.get_object(Bucket=BUCKET, Key=part)["Body"].read())
    s3.put_object(Bucket=BUCKET, Key=part, Body=gzip.compress(rows, 9))
    with pytest.raises(RawDataError, match="part 1 was changed after it was extracted"):
        pipeline.stage(key, 1)
    for number in (2, 3):
        pipeline.stage(key, number)
    with pytest.raises(RawDataError, match="part 1 was changed after it was extracted"):
        pipeline.publish(key, "one")
    assert table(pipeline) == whole(0)
    assert pipeline.run("the next", force=True)["status"] == "published"
    assert table(pipeline) == whole(1)
    assert leftovers(pipeline) == []


# --- A server of our own: passwords count, and it may be stopped ---


OWN_SERVER = pytest.mark.xdist_group("own server")  # so that one process starts it


@dataclass(frozen=True, slots=True)
class OwnServer:
    server: EmbeddedServer
    data: Path

    def restart(self) -> None:
        """As maintenance does: sessions are ended, everything is written down."""
        self.server.__exit__()
        self.server.__enter__()

    def crash(self) -> None:
        """As a failover does: nothing is written down, what was committed is recovered."""
        postmaster = int((self.data / "postmaster.pid").read_text().split()[0])
        os.kill(postmaster, signal.SIGQUIT)
        with suppress(subprocess.SubprocessError):
            self.server.__exit__()
        self.server.__enter__()


@pytest.fixture(scope="module")
def own_server() -> Iterator[OwnServer]:
    home = Path(tempfile.mkdtemp(prefix="ev-own-"))
    home.chmod(0o755)
    try:
        with EmbeddedServer(home / "pg", settings={"fsync": "off"}) as server:
            yield OwnServer(server, home / "pg")
    finally:
        shutil.rmtree(home, ignore_errors=True)


@pytest.fixture
def own_pipeline(
    aws: None, monkeypatch: pytest.MonkeyPatch, own_server: OwnServer, source: OpenData, request: pytest.FixtureRequest
) -> Pipeline:
    name = hashlib.sha256(request.node.name.encode()).hexdigest()[:12]
    database = own_server.server.database(f"db_{name}", owner=f"owner_{name}")
    return build_pipeline(monkeypatch, database, source, part_rows=10)


@OWN_SERVER
def test_a_rotation_between_stage_and_publish_is_not_noticed(own_pipeline: Pipeline, own_server: OwnServer) -> None:
    key = extracted(own_pipeline)
    old = own_pipeline.database
    new = own_server.server.database(old.name, owner=old.user)  # with a password made anew
    with pytest.raises(TransientError, match="authentication failed"):
        own_pipeline.publish(key, "between the rotation and the secret that tells of it")
    boto3.client("secretsmanager").put_secret_value(
        SecretId="credentials", SecretString=json.dumps({"username": new.user, "password": new.password})
    )
    assert own_pipeline.publish(key, "rotated")["loaded"] == 39
    assert table(replace(own_pipeline, database=new)) == whole(0)


@OWN_SERVER
def test_postgresql_restarted_in_the_middle_of_a_copy_costs_that_part_a_retry(
    own_pipeline: Pipeline, own_server: OwnServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    extraction = own_pipeline.extract()
    key = extraction["manifest_key"]
    own_pipeline.stage(key, 0)
    restarted = []

    class RestartsTheServer:
        """The rows of a part, and a restart of the server after the first bytes."""

        def __init__(self, content: bytes) -> None:
            self._pieces = iter([content[:100], content[100:], b""])

        def read(self, _: int) -> bytes:
            piece = next(self._pieces)
            if piece and len(piece) != 100:
                own_server.restart()
                restarted.append(len(piece))
            return piece

    with monkeypatch.context() as patched:
        patched.setattr(staging, "io", SimpleNamespace(BytesIO=RestartsTheServer))
        with pytest.raises(TransientError):
            own_pipeline.stage(key, 1)
    assert restarted, "the server was restarted while the rows were on their way"
    for part in range(1, extraction["parts"]):
        own_pipeline.stage(key, part)
    assert own_pipeline.publish(key, "after the restart")["loaded"] == 39
    assert table(own_pipeline) == whole(0)
    assert leftovers(own_pipeline) == []


@OWN_SERVER
def test_a_crash_that_empties_what_was_staged_is_noticed_and_the_next_execution_publishes(
    own_pipeline: Pipeline, own_server: OwnServer, source: OpenData
) -> None:
    own_pipeline.run("before")
    source.snapshot = version(1)
    key = extracted(own_pipeline)
    own_server.crash()  # staging tables are UNLOGGED: recovery empties them
    with pytest.raises(RawDataError, match=r"0 rows staged and 0 rejected make 0, the manifest says 40"):
        own_pipeline.publish(key, "after the crash")
    assert table(own_pipeline) == whole(0)
    assert own_pipeline.run("the next")["status"] == "published"
    assert table(own_pipeline) == whole(1)
    assert leftovers(own_pipeline) == []
