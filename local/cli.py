"""The command line: `python -m local run`, `psql`, `report`, `serve`, and the commands of `asking`."""

import argparse
import json
import os
import re
import signal
import subprocess
import sys
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final, NoReturn

from rich.console import Console

from local.asking import add_commands
from local.display import Display
from local.errors import LocalError
from local.mishaps import explain
from local.report import add_command as add_report
from local.report import shown
from local.serve import add_command as add_serve
from local.snapshot import DATASET_ID
from local.state import PROJECT, State

_STOPPING: Final = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


def main(arguments: Sequence[str] | None = None) -> int:
    """Do what the arguments say; return the exit code: 0 succeeded, 1 failed or refused, 2 wrong usage."""
    options, more = _parser().parse_known_args(arguments)
    if more and options.command is not _psql:
        # The rest of a URL that the shell took apart at a blank may be the rest of its password.
        shown = ("…" if "@" in argument else argument for argument in more)
        options.parser.error(f"unrecognized arguments: {' '.join(shown)}")
    options.arguments = more
    for signum in _STOPPING:
        if signal.getsignal(signum) is not signal.SIG_IGN:  # as for a job in the background
            signal.signal(signum, _stop)
    console = Console(highlight=False, soft_wrap=True)
    errors = Console(stderr=True, highlight=False, soft_wrap=True)
    try:
        code: int = options.command(options, Display(console))
    except LocalError as error:
        Display(errors).error(str(error))
        return 1
    except KeyboardInterrupt:
        Display(errors).error("stopped; what was published before stands, nothing half done does.")
        return 130
    except BrokenPipeError:
        return 141  # as a shell counts it: whoever read has gone, like `head`
    except Exception as error:  # noqa: BLE001 - nobody at a terminal is helped by a traceback
        Display(errors).error(explain(error))
        return 1
    return code


def _stop(signum: int, _: object) -> NoReturn:
    """End by an exception, so that everything started is stopped; another signal meanwhile changes nothing."""
    for other in _STOPPING:
        signal.signal(other, signal.SIG_IGN)
    if signum == signal.SIGINT:
        raise KeyboardInterrupt
    sys.exit(128 + signum)


def _run(options: argparse.Namespace, display: Display) -> int:
    from local.run import Options, run  # noqa: PLC0415 - --help need not wait for it

    if options.source is not None and options.rows_updated_at is not None:
        options.parser.error(
            "argument --rows-updated-at: not allowed with argument --source, which has a version itself"
        )
    if options.json is not None:
        _writable(options.json)
    display.headline(f"Electric Vehicle Population → PostgreSQL, all on this machine (stack {options.stack})")
    report = run(
        Options(
            stack=options.stack,
            data=options.data,
            source=options.source,
            dataset_id=options.dataset_id,
            rows_updated_at=options.rows_updated_at,
            database_url=options.database_url,
            force=options.force,
            fresh=options.fresh,
        ),
        display,
    )
    if options.json is not None:
        options.json.write_text(json.dumps(report.as_dict(), indent=2, default=str) + "\n")
    failed = report.status != "SUCCEEDED"
    display.heading("Messages sent")
    for notification in report.notifications:
        display.message(notification["subject"], notification["message"])
    if report.counts:
        display.heading("Rows")
        display.pairs(list(report.counts.items()))
    if report.facts:
        display.heading("In the table now" + (f". {report.note}" if report.note else ""))
        for fact in report.facts:
            display.line(fact)
        display.line("Source: Washington State Department of Licensing, Open Database License 1.0 (see NOTICE).")
    if failed:
        display.outcome(f"{report.status}: {report.error}: {report.cause}", failed=True)
        display.line(f"The functions' logs: {State(options.stack).logs}")
    else:
        if report.advice:
            display.line(report.advice)
        display.outcome(f"SUCCEEDED in {report.seconds['total']:.1f} s. Look at the table:  {report.psql}")
        if report.page:
            display.line(f"The report, one page for any browser: {shown(report.page)}")
    return 1 if failed else 0


def _psql(options: argparse.Namespace, display: Display) -> int:
    """psql on the embedded database, as its superuser; the server runs as long as psql does."""
    from local.embedded import psql  # noqa: PLC0415
    from local.reading import embedded  # noqa: PLC0415
    from local.run import DATABASE_NAME  # noqa: PLC0415

    with embedded(State(options.stack), waiting=display.line) as admin:
        place = ["-h", admin.host, "-p", str(admin.port), "-U", admin.user, "-d", DATABASE_NAME]
        signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is psql's
        return subprocess.run([psql(), *place, *options.arguments], check=False).returncode


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m local", description="The whole pipeline on this machine.")
    commands = parser.add_subparsers(title="commands", required=True, metavar="COMMAND")
    stack: dict[str, Any] = {"default": "dev", "choices": _stacks(), "help": "the stack's config to use (default: dev)"}

    run = commands.add_parser("run", help="deploy, run the state machine once, show what it did")
    run.set_defaults(command=_run, parser=run)
    run.add_argument("--stack", **stack)
    where = run.add_mutually_exclusive_group()
    where.add_argument("--data", type=Path, metavar="FILE.csv[.gz]", help="serve this export instead of the sample")
    where.add_argument("--source", metavar="URL", help="a Socrata server instead, such as https://data.wa.gov")
    run.add_argument("--dataset-id", type=_dataset_id, default=DATASET_ID, metavar="ID", help=f"default: {DATASET_ID}")
    run.add_argument(
        "--rows-updated-at",
        type=_moment,
        metavar="ISO8601",
        help="the version that the served rows are (default: the file's date)",
    )
    run.add_argument("--database-url", metavar="postgresql://…", help="another server than the embedded one")
    run.add_argument("--force", action="store_true", help="extract and publish although the source is unchanged")
    run.add_argument("--fresh", action="store_true", help="start with an empty bucket and database")
    run.add_argument("--json", type=Path, metavar="FILE", help="write what came of it to FILE")

    psql = commands.add_parser("psql", help="open the embedded database with psql; psql's own options may follow")
    psql.set_defaults(command=_psql)
    psql.add_argument("--stack", **stack)

    add_commands(commands, stack)
    add_report(commands, stack)
    add_serve(commands, stack)
    return parser


def _stacks() -> list[str]:
    return sorted(path.name.split(".")[1] for path in PROJECT.glob("Pulumi.*.yaml"))


def _dataset_id(text: str) -> str:
    if not re.fullmatch(r"[a-z0-9]{4}-[a-z0-9]{4}", text):
        raise argparse.ArgumentTypeError(f"{text!r} is not a dataset's identifier, such as {DATASET_ID}")
    return text


def _moment(text: str) -> int:
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        raise argparse.ArgumentTypeError(f"{text!r} is not a moment, such as 2023-10-15T00:00:00Z") from None
    return int((moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp())


def _writable(path: Path) -> None:
    """Find out now, not after the run, whether the report can be written."""
    if path.is_dir() or not os.access(path.parent, os.W_OK) or (path.exists() and not os.access(path, os.W_OK)):
        raise LocalError(f"--json {path} cannot be written; name a file in a folder that exists.")
