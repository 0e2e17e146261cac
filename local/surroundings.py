"""What the terminal and the environment bring along, made harmless: streams that are closed or of another encoding, and
variables that would lead PostgreSQL's client elsewhere."""

import io
import os
import sys
from typing import Final, TextIO

# How to log in and how to encrypt are the user's to say, beside --database-url. Where to go is the URL's alone.
# https://www.postgresql.org/docs/current/libpq-envars.html
_KEPT: Final = (
    "PGPASSWORD",
    "PGPASSFILE",
    "PGSSL",
    "PGCHANNELBINDING",
    "PGREQUIREAUTH",
    "PGREQUIREPEER",
    "PGKRB",
    "PGGSS",
)


def settle() -> None:
    """Prepare this process's streams and environment; call it first."""
    elsewhere = any(argument.startswith("--database-url") for argument in sys.argv)
    for name in [name for name in os.environ if name.startswith("PG")]:
        if not (elsewhere and name.startswith(_KEPT)):
            del os.environ[name]
    columns = os.environ.get("COLUMNS", "")
    if columns and not (columns.isdecimal() and int(columns) >= 20):
        del os.environ["COLUMNS"]  # nothing could be shown in it
    sys.stdout = _writable(sys.stdout)
    sys.stderr = _writable(sys.stderr)


def flush() -> None:
    """Write out what is buffered; a reader that has gone away, as `head` does, is no error."""
    for stream in (sys.stdout, sys.stderr):
        try:
            stream.flush()
        except (OSError, ValueError):
            continue


def _writable(stream: TextIO | None) -> TextIO:
    """Return `stream`, or nowhere if it is closed; a character that its encoding lacks is shown as `?`."""
    if stream is None:  # `>&-`
        return open(os.devnull, "w", encoding="utf-8")  # noqa: PTH123 - for as long as the process runs
    if isinstance(stream, io.TextIOWrapper):
        stream.reconfigure(errors="replace")
    return stream
