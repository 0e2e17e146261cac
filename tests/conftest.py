"""What every test may ask for: a database of its own, a moto cloud, a Socrata stand-in. Nothing leaves the machine."""

import os
import shutil
import signal
import tempfile
import uuid
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

from local.embedded import EmbeddedServer
from local.open_data import Behaviour, OpenData
from local.postgres import Database, database_at, temporary_database
from local.snapshot import Snapshot
from tests.moto_cloud import moto_cloud

pytest_plugins = ["tests.summary"]

# Powertools reads these when a handler is imported, so they stand before any test module does that.
os.environ |= {"POWERTOOLS_SERVICE_NAME": "test", "POWERTOOLS_METRICS_NAMESPACE": "ev-population-test"}
# Started in the background of a shell we would ignore Ctrl-C, and so would every process that we start.
signal.signal(signal.SIGINT, signal.default_int_handler)

# Tests lose nothing when the machine loses power, so the server need not wait for the disk.
FAST = {"fsync": "off", "synchronous_commit": "off", "full_page_writes": "off", "max_wal_size": "2GB"}

# Files whose tests share what is dear to make: they stay on one worker. The marks that pytest-xdist has for it do
# nothing under pytest 9.2: https://github.com/pytest-dev/pytest-xdist/issues/1386
KEPT_TOGETHER = {"tests/test_aws_models.py", "tests/test_engine.py", "tests/test_end_to_end.py"}


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> Any:
    """Give out tests one by one, and the files above whole, the largest first."""
    from xdist.scheduler import LoadScopeScheduling  # type: ignore[import-untyped]

    class Scheduler(LoadScopeScheduling):  # type: ignore[misc]
        def _split_scope(self, nodeid: str) -> str:
            file = nodeid.partition("::")[0]
            return file if file in KEPT_TOGETHER else nodeid

    return Scheduler(config, log)


@pytest.fixture(scope="session")
def postgres_server(request: pytest.FixtureRequest) -> Iterator[Database]:
    """A superuser's way into a PostgreSQL shared by the whole session, workers included.

    EV_TEST_DATABASE_URL names another server (a superuser's URL), so that the suite runs on other versions too.
    """
    if url := os.environ.get("EV_TEST_DATABASE_URL"):
        yield database_at(url)
        return
    worker = getattr(request.config, "workerinput", None)
    session = worker["testrunuid"] if worker else uuid.uuid4().hex
    # Not below pytest's own directory: that is closed to the user that the server runs as when we are root.
    home = Path(tempfile.gettempdir()) / f"ev-{session[:12]}"
    home.mkdir(exist_ok=True)
    try:
        with EmbeddedServer(home / "pg", settings=FAST, passing=True) as server:
            yield server.admin
    finally:
        if not (home / "pg").exists():
            shutil.rmtree(home, ignore_errors=True)


@pytest.fixture
def database(postgres_server: Database) -> Iterator[Database]:
    """An empty database of the test's own, dropped afterwards."""
    with temporary_database(postgres_server) as found:
        yield found


@pytest.fixture
def aws(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """A moto cloud in this process, empty, with keys that open nothing anywhere."""
    with moto_cloud(monkeypatch):
        yield


@pytest.fixture
def open_data() -> Iterator[Callable[..., OpenData]]:
    """A factory of Socrata stand-ins, stopped afterwards.

    `open_data(source=None, *, behaviours=(), app_tokens=None, **of)`: the source is a Snapshot, a CSV file, rows as
    mappings by heading, or nothing for the bundled sample; `of` is passed on to `Snapshot.of` or `Snapshot.from_csv`.
    """
    with ExitStack() as stack:

        def start(
            source: Snapshot | Path | Sequence[Mapping[str, str | None]] | None = None,
            *,
            behaviours: Sequence[Behaviour] = (),
            app_tokens: Sequence[str] | None = None,
            **of: Any,
        ) -> OpenData:
            match source:
                case None:
                    snapshot = Snapshot.sample()
                case Snapshot():
                    snapshot = source
                case Path():
                    snapshot = Snapshot.from_csv(source, **of)
                case _:
                    snapshot = Snapshot.of(source, **of)
            return stack.enter_context(OpenData(snapshot, behaviours=behaviours, app_tokens=app_tokens))

        yield start
