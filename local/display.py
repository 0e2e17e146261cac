"""What a person sees of a local run: steps as they end, with their time; a spinner only where there is a terminal."""

import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass

from rich.console import Console
from rich.markup import escape
from rich.status import Status

NAME_WIDTH = 20


@dataclass(slots=True)
class Step:
    """One step that is going on: what to say about it when it is done."""

    detail: str = ""


class Display:
    """Writes to `console`, line by line."""

    def __init__(self, console: Console) -> None:
        self._console = console

    def headline(self, text: str) -> None:
        """The first line."""
        self._console.print(f"\n[bold]{escape(text)}[/]\n")

    def heading(self, text: str) -> None:
        """The line above some others."""
        self._console.print(f"\n[bold]{escape(text)}[/]")

    def line(self, text: str) -> None:
        """One of several lines."""
        self._console.print(f"  {escape(text)}")

    def message(self, subject: str, text: str) -> None:
        """A notification, without its link: that leads to a console where this run is not."""
        self._console.print(f"  [bold]{escape(subject)}[/]")
        for line in text.splitlines():
            if line.strip() and not line.startswith("Execution: "):
                self._console.print(f"    [dim]{escape(line)}[/]")

    def pairs(self, values: Sequence[tuple[str, object]]) -> None:
        """Names and numbers, in one line."""
        self._console.print("  " + "   ".join(f"{escape(name)} [bold]{value:,}[/]" for name, value in values))

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
        with self._console.status(escape(name)) if self._console.is_terminal else nullcontext() as status:
            yield status

    def done(self, name: str, detail: str, seconds: float, *, failed: bool = False) -> None:
        """A step that has ended."""
        mark = "[red]✗[/]" if failed else "[green]✓[/]"
        padded = escape(f"{name:<{NAME_WIDTH}}")
        self._console.print(f"  {mark} {padded} {seconds:6.1f} s  [dim]{escape(detail)}[/]".rstrip())

    def outcome(self, text: str, *, failed: bool = False) -> None:
        """How it all ended."""
        self._console.print(f"\n[bold {'red' if failed else 'green'}]{escape(text)}[/]")

    def error(self, text: str) -> None:
        """Why it cannot go on."""
        self._console.print(f"[bold red]error:[/] {escape(text)}")
