"""The commands that look and never write: `python -m local query`, `history` and `status`."""

import argparse
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Final

from rich.console import Console

from local.display import Display
from local.state import typed

if TYPE_CHECKING:
    from local.reading import Cursor

_HIGHEST_KEY: Final = 2**63 - 1


def add_commands(commands: "argparse._SubParsersAction[argparse.ArgumentParser]", stack: Mapping[str, Any]) -> None:
    """Add the three commands; `stack` is how --stack is declared."""

    def command(name: str, does: Callable[[argparse.Namespace, Display], int], text: str) -> argparse.ArgumentParser:
        parser = commands.add_parser(name, help=text)
        parser.set_defaults(command=does, parser=parser)
        parser.add_argument("--stack", **stack)
        parser.add_argument("--database-url", metavar="postgresql://…", help="another server than the embedded one")
        return parser

    query = command("query", _query, "ask the database one question in SQL; it cannot write")
    query.add_argument("sql", type=_statement, metavar="SQL", help="such as 'SELECT * FROM ev_by_county'")
    shape = query.add_mutually_exclusive_group()
    shape.add_argument("--csv", action="store_true", help="write every row as CSV to standard output")
    shape.add_argument("--json", action="store_true", help="write every row as a JSON array to standard output")
    shape.add_argument("--all", action="store_true", help="show every row of a long answer on a terminal")

    history = command("history", _history, "show every version of one vehicle (or row of another dataset)")
    history.add_argument("key", metavar="KEY", help="its DOL Vehicle ID (or the dataset's key), such as 244137120")

    command("status", _status, "tell what stands in the database and what the runs came to")


def _query(options: argparse.Namespace, display: Display) -> int:
    from local.answers import show, write_csv, write_json  # noqa: PLC0415 - --help need not wait for it
    from local.reading import Answer  # noqa: PLC0415

    instead = typed("psql") if options.database_url is None else "psql with the same URL"
    with _reading(options, anything=True) as cursor:
        answer = Answer(cursor, options.sql, instead=instead)
        if options.csv:
            write_csv(answer)
        elif options.json:
            write_json(answer)
        else:
            show(answer, display, every_row=options.all)
    return 0


def _history(options: argparse.Namespace, display: Display) -> int:
    from local.history import print_history  # noqa: PLC0415
    from local.reading import contract  # noqa: PLC0415

    dataset = contract()
    numeric = any(column.name == dataset.key and column.sql_type == "bigint" for column in dataset.columns)
    if numeric and not _is_number(options.key):
        options.parser.error(f"argument KEY: {options.key!r} is not a {dataset.key}, such as 244137120")
    with _reading(options) as cursor:
        print_history(cursor, options.key, display)
    return 0


def _status(options: argparse.Namespace, display: Display) -> int:
    from local.status import tell_status  # noqa: PLC0415

    with _reading(options) as cursor:
        tell_status(cursor, display, now=datetime.now(UTC))
    return 0


@contextmanager
def _reading(options: argparse.Namespace, *, anything: bool = False) -> "Iterator[Cursor]":
    from local.reading import reading  # noqa: PLC0415

    # Standard output is the answer's alone.
    aside = Display(Console(stderr=True, highlight=False, soft_wrap=True))
    with reading(options.stack, options.database_url, waiting=aside.line, anything=anything) as cursor:
        yield cursor


def _statement(text: str) -> str:
    if not text.strip():
        raise argparse.ArgumentTypeError("is blank; ask something, such as 'SELECT * FROM ev_by_county'")
    return text


def _is_number(text: str) -> bool:
    return text.isascii() and text.isdecimal() and 0 < int(text) <= _HIGHEST_KEY
