"""One local run: everything started, the program deployed, the state machine run, everything stopped."""

import json
import platform
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

from local.display import Display
from local.embedded import EmbeddedServer
from local.errors import LocalError
from local.postgres import Database, database_at
from local.source import Source, elsewhere, stand_in
from local.state import PROJECT, State, put_back, take_away, typed

DATABASE_NAME: Final = "ev_population"
DATABASE_OWNER: Final = "ev_admin"
# Which function's answers say how many rows a state dealt with, and by which name.
_ROWS: Final = {"Extract": ("extract", "rows"), "LoadParts": ("stage", "rows"), "Publish": ("publish", "loaded")}


@dataclass(frozen=True, slots=True, kw_only=True)
class Options:
    """What the command line asked for."""

    stack: str = "dev"
    data: Path | None = None
    source: str | None = None
    dataset_id: str
    rows_updated_at: int | None = None
    database_url: str | None = None
    force: bool = False
    fresh: bool = False


@dataclass(slots=True, kw_only=True)
class Report:
    """What came of a run; `as_dict` is what --json writes."""

    status: str = "FAILED"
    error: str | None = None
    cause: str | None = None
    states: list[dict[str, Any]] = field(default_factory=list)
    counts: dict[str, int] = field(default_factory=dict)
    notifications: list[dict[str, str]] = field(default_factory=list)
    outputs: dict[str, Any] = field(default_factory=dict)
    seconds: dict[str, float] = field(default_factory=dict)
    memory: dict[str, float] = field(default_factory=dict)
    message: str = ""
    facts: list[str] = field(default_factory=list)
    psql: str = ""
    published: str | None = None  # how publishing ended, if it came to that
    advice: str = ""
    page: Path | None = None
    note: str = ""

    def as_dict(self) -> dict[str, Any]:
        """Contract 1's report: `memory` is each function's peak of resident memory, in MB."""
        names = ("status", "error", "cause", "states", "counts", "notifications", "outputs", "seconds", "memory")
        return {name: getattr(self, name) for name in names}


def run(options: Options, display: Display) -> Report:
    """Do it. LocalError, or the program's own SettingsError, when it cannot be begun."""
    if platform.system() != "Linux":
        raise LocalError(
            "The local run runs Lambda's own archives, which are for Linux: use Linux, WSL or a container."
        )
    started = time.monotonic()
    report = Report()
    with ExitStack() as stack:
        _run(options, display, report, stack)
    report.seconds["total"] = round(time.monotonic() - started, 3)
    return report


def _run(options: Options, display: Display, report: Report, stack: ExitStack) -> None:
    # Imported late: usage errors and --help need not wait for Pulumi and moto.
    from components import packaging  # noqa: PLC0415
    from components.settings import Settings  # noqa: PLC0415
    from components.stack_config import load_stack_config  # noqa: PLC0415

    clock = _Clock(report.seconds)
    state = State(options.stack)

    with clock("source"), display.step("Source") as step:
        source = _source(options, stack)
        step.detail = source.description

    config = load_stack_config(PROJECT, options.stack, _overrides(options, source))
    region = Settings.parse(config).region
    given = None if options.database_url is None else database_at(options.database_url)

    stack.enter_context(state.locked(waiting=display.line))
    with clock("packages"), display.step("Lambda archives") as step:
        packages = packaging.build(_architecture())
        step.detail = ", ".join(
            f"{path.name.rsplit('-', 1)[0]} {path.stat().st_size / 1e6:.1f} MB"
            for path in (packages.handlers, packages.extract_layer, packages.load_layer)
        )
    with clock("database"), display.step("PostgreSQL") as step:
        database, mark = _database(given, options, state, stack)
        report.psql = _way_in(options, database)
        step.detail = _describe(database)

    from local.cloud import functions_run_by  # noqa: PLC0415
    from local.execution import collect_notifications, notifications  # noqa: PLC0415
    from local.runtime import Runtime  # noqa: PLC0415

    with clock("deploy"), display.step("Deploy") as step:
        cloud = stack.enter_context(_cloud(region, state))
        step.detail = _deploy(cloud, database, report, options.stack, config)

    replaces = _replaces(source, state, mark)
    if replaces:
        display.line(
            "The file has the date of the version in the table and other content: it takes that version's place."
        )
    bucket, folder = report.outputs["bucketName"], state.bucket(mark)
    put_back(cloud.client("s3"), bucket, folder)
    collect_notifications(cloud, report.outputs["topicArn"])
    for log in state.logs.glob("*-*.log"):
        log.unlink()
    runtime = Runtime(
        home=state.functions, logs=state.logs, environment=cloud.environment | _tls(options, database) | _note(source)
    )
    stack.callback(runtime.close)
    stack.enter_context(functions_run_by(runtime.invoke))
    try:
        with clock("execution"):
            _execute(cloud, runtime, report, display, force=options.force or replaces)
    finally:
        runtime.close()
        take_away(cloud.client("s3"), bucket, folder)
    _collect(report, notifications(cloud), runtime)
    _remember(report, state, mark, source, options)
    if report.status == "SUCCEEDED":
        from local.facts import facts  # noqa: PLC0415

        report.note = source.note
        report.facts, report.page = facts(database), state.keep_report(folder)


def _cloud(region: str, state: State) -> Any:
    from local.cloud import Cloud  # noqa: PLC0415

    return Cloud(region=region, log=state.logs / "cloud.log")


def _deploy(cloud: Any, database: Database, report: Report, stack: str, config: dict[str, str]) -> str:
    """Deploy the program; return in words what came of it."""
    from local.deploy import deploy  # noqa: PLC0415

    deployment = deploy(cloud, database, stack=stack, config=config)
    report.outputs = dict(deployment.outputs)
    return f"{deployment.resources} resources of __main__.py, stack {stack}, region {cloud.region}"


def _collect(report: Report, sent: list[dict[str, str]], runtime: Any) -> None:
    report.notifications = sent
    for invocation in runtime.invocations:
        name = invocation.function.rpartition("-")[2]
        report.memory[name] = max(report.memory.get(name, 0.0), invocation.peak_mb or 0.0)


def _execute(cloud: Any, runtime: Any, report: Report, display: Display, *, force: bool) -> None:
    """Run the state machine, showing each state as it ends."""
    from local.execution import Execution  # noqa: PLC0415

    execution = Execution(cloud, schedule=report.outputs["scheduleName"], force=force)
    shown = 0
    with display.waiting("Execution") as status:
        for states in execution.follow():
            ended = [state for state in states if state.status != "RUNNING"]
            for state in ended[shown:]:
                detail = _throughput(state.name, state.seconds, runtime)
                display.done(state.name, detail, state.seconds, failed=state.status == "FAILED")
            shown = len(ended)
            if status is not None and states:
                status.update(f"{states[-1].name} {_throughput(states[-1].name, 0, runtime)}")
    outcome = execution.outcome()
    report.status, report.error, report.cause = outcome.status, outcome.error, outcome.cause
    report.states = [{"name": state.name, "status": state.status, "seconds": state.seconds} for state in outcome.states]
    report.counts = outcome.counts
    report.published = outcome.published.get("status")
    answers = [outcome.published] if outcome.published else [outcome.extracted, outcome.checked]
    report.message = "\n".join(answer["message"] for answer in answers if answer)


def _throughput(state: str, seconds: float, runtime: Any) -> str:
    """How many rows a state has dealt with, and how fast."""
    function, count = _ROWS.get(state, ("", ""))
    answers = [
        json.loads(invocation.payload)
        for invocation in runtime.invocations
        if function and invocation.function.endswith(f"-{function}") and not invocation.failed
    ]
    rows = sum({answer.get("part"): answer.get(count, 0) for answer in answers}.values())
    if not rows or answers[-1].get("status") == "unchanged":
        return ""
    parts = f" in {len(answers)} part{'s' if len(answers) > 1 else ''}" if function == "stage" else ""
    return f"{rows:,} rows{parts}" + (f", {rows / seconds:,.0f} rows/s" if seconds else "")


def _source(options: Options, stack: ExitStack) -> Source:
    if options.source is not None:
        return elsewhere(options.source, dataset_id=options.dataset_id)
    return stack.enter_context(
        stand_in(options.data, dataset_id=options.dataset_id, rows_updated_at=options.rows_updated_at)
    )


def _remember(report: Report, state: State, mark: str, source: Source, options: Options) -> None:
    """Write down which content stands in the table now, or say what to do about one that came too late."""
    if report.published == "published":
        state.remember_digest(mark, source.digest)
    if report.published == "superseded":
        report.advice = _older(options)


def _note(source: Source) -> dict[str, str]:
    return {"DATA_NOTE": source.note} if source.note else {}


def _replaces(source: Source, state: State, mark: str) -> bool:
    """Whether the served file has the date of the published version and content that is not known to be the same."""
    if source.version is None or source.digest is None:
        return False
    version = datetime.fromtimestamp(source.version, UTC)
    published = state.published_version(mark)
    if published is None or datetime.fromisoformat(published) != version:
        return False
    return state.published_digest(mark) != source.digest


def _older(options: Options) -> str:
    """What to do about a file that is older than the table."""
    date = (
        "" if options.rows_updated_at is not None else " (its date is the file's own; --rows-updated-at gives another)"
    )
    return (
        f"Nothing was loaded: the table holds a newer version{date}. To load this one, start empty with --fresh, or "
        "name another database with --database-url."
    )


def _overrides(options: Options, source: Source) -> dict[str, str]:
    return {
        "ev-population:lambdaArchitecture": _architecture(),
        "ev-population:sourceUrl": source.url,
        "ev-population:datasetId": options.dataset_id,
    }


def _architecture() -> Any:
    from local.deploy import architecture  # noqa: PLC0415

    return architecture()


def _database(given: Database | None, options: Options, state: State, stack: ExitStack) -> tuple[Database, str]:
    """The database, empty if asked for, and the mark that tells it from others."""
    if given is not None:
        mark = f"other-{given.fingerprint()}"
        if options.fresh:
            _drop_ours(given)
            state.forget(mark)
        return given, mark
    if options.fresh:
        state.forget()
    server = stack.enter_context(EmbeddedServer(state.postgres, fresh=options.fresh))
    database = server.database(DATABASE_NAME, owner=DATABASE_OWNER)
    return database, f"embedded-{database.fingerprint()}"


def _drop_ours(database: Database) -> None:
    """Take the pipeline's own objects out of a database that may hold others."""
    from evdata.errors import PipelineError  # noqa: PLC0415
    from evdata.warehouse import drop_everything, translated  # noqa: PLC0415

    connection = database.session()
    try:
        with translated():
            drop_everything(connection)
    except PipelineError as error:
        raise LocalError(f"--fresh: {error}") from None
    finally:
        connection.close()


def _tls(options: Options, database: Database) -> dict[str, str]:
    """What libpq must hear in the functions: RDS's certificates are not those of another server."""
    if options.database_url is None:
        return {}
    return {"PGSSLMODE": database.sslmode or "prefer", "PGSSLROOTCERT": database.sslrootcert or ""}


def _describe(database: Database) -> str:
    connection = database.connect()
    try:
        number = (connection.info.parameter_status("server_version") or "").partition(" ")[0]
    finally:
        connection.close()
    where = "on a socket" if database.host.startswith("/") else f"at {database.host}:{database.port}"
    return f"PostgreSQL {number} {where}, database {database.name}"


def _way_in(options: Options, database: Database) -> str:
    """The command that opens the database; it shows no password."""
    if options.database_url is not None:
        return f'psql "host={database.host} port={database.port} dbname={database.name} user={database.user}"'
    return typed("psql" + (f" --stack {options.stack}" if options.stack != "dev" else ""))


class _Clock:
    """Times phases by name."""

    def __init__(self, seconds: dict[str, float]) -> None:
        self._seconds = seconds

    @contextmanager
    def __call__(self, name: str) -> Iterator[None]:
        started = time.monotonic()
        try:
            yield
        finally:
            self._seconds[name] = round(time.monotonic() - started, 3)
