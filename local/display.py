"""What a person sees of a local run: steps as they end, with their time; a spinner only where there is a terminal."""

import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass

from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.markup import escape
from rich.measure import Measurement
from rich.status import Status
from rich.table import Table
from rich.text import Text

from evdata.visible import visible, visible_lines

NAME_WIDTH = 20
_WIDEST = 1_000_000


@dataclass(slots=True)
class Step:
    """One step that is going on: what to say about it when it is done."""

    detail: str = ""


class Display:
    """Writes to `console`, line by line. Whatever it is given, no character of it is an order to the terminal."""

    def __init__(self, console: Console) -> None:
        self._console = console

    @property
    def is_terminal(self) -> bool:
        """Whether somebody is looking; otherwise it goes to a file or another program."""
        return self._console.is_terminal

    def flush(self) -> None:
        """Write out what is buffered, before a long wait."""
        self._console.file.flush()

    def headline(self, text: str) -> None:
        """The first line."""
        self._console.print(f"\n[bold]{_safe(text)}[/]\n")

    def heading(self, text: str) -> None:
        """The line above some others."""
        self._console.print(f"\n[bold]{_safe(text)}[/]")

    def line(self, text: str) -> None:
        """One of several lines."""
        self._console.print(f"  {_safe(text)}")

    def message(self, subject: str, text: str) -> None:
        """A notification, without what leads to AWS: this run is not there, and its report is named at the end."""
        self._console.print(f"  [bold]{_safe(subject)}[/]")
        for line in text.split("\n"):
            if line.strip() and not line.startswith(("Execution: ", "Report: aws s3")):
                self._console.print(f"    [dim]{_safe(line)}[/]")

    def pairs(self, values: Sequence[tuple[str, object]]) -> None:
        """Names and numbers, in one line."""
        self._console.print("  " + "   ".join(f"{_safe(name)} [bold]{value:,}[/]" for name, value in values))

    @contextmanager
    def step(self, name: str) -> Iterator[Step]:
        """Something that takes a while: shown while it goes on, and with its time when it is done."""
        step = Step()
        started = time.monotonic()
        with self.waiting(name):
            yield step
        self.done(name, step.detail, time.monotonic() - started)

    @contextmanager
    def waiting(self, name: str) -> Iterator[Status | None]:
        """A spinner while the body runs, where there is a terminal."""
        with self._console.status(_safe(name)) if self._console.is_terminal else nullcontext() as status:
            yield status

    def done(self, name: str, detail: str, seconds: float, *, failed: bool = False) -> None:
        """A step that has ended."""
        mark = "[red]✗[/]" if failed else "[green]✓[/]"
        padded = _safe(f"{name:<{NAME_WIDTH}}")
        self._console.print(f"  {mark} {padded} {seconds:6.1f} s  [dim]{_safe(detail)}[/]".rstrip())

    def table(self, columns: Sequence[str], rows: Sequence[Sequence[str | None]], *, numeric: Sequence[bool]) -> None:
        """Rows as a table, numbers flush right; where a terminal is too narrow for it, row by row, a value a line.

        Nothing is cut short, and NULL is told from a text.
        """
        table = Table(box=SIMPLE_HEAD, show_edge=False, pad_edge=False)
        for name, right in zip(columns, numeric, strict=True):
            table.add_column(_cell(name), justify="right" if right else "left", no_wrap=True)
        for row in rows:
            table.add_row(*map(_cell, row))
        width = Measurement.get(self._console, self._console.options.update(max_width=_WIDEST), table).maximum
        if not self.is_terminal:
            # A console cuts what it prints to its own width, and a file has none.
            Console(file=self._console.file, width=width, highlight=False).print(table)
            return
        if width <= self._console.width:
            self._console.print(table, width=width)
            return
        for number, row in enumerate(rows, start=1):
            self._console.print(f"[dim]row {number}[/]")
            for name, value in zip(columns, row, strict=True):
                self._console.print(Text.assemble(f"  {visible(name):<{NAME_WIDTH}} ", _cell(value)))

    def outcome(self, text: str, *, failed: bool = False) -> None:
        """How it all ended."""
        self._console.print(f"\n[bold {'red' if failed else 'green'}]{_safe_lines(text)}[/]")

    def error(self, text: str) -> None:
        """Why it cannot go on."""
        self._console.print(f"[bold red]error:[/] {_safe_lines(text)}")


def _safe(text: str) -> str:
    """One line of text, neither markup to rich nor an order to the terminal."""
    return escape(visible(text))


def _safe_lines(text: str) -> str:
    """The same of a text that may have several lines."""
    return escape(visible_lines(text))


def _cell(value: str | None) -> Text:
    return Text("NULL", style="dim italic") if value is None else Text(visible(value))
