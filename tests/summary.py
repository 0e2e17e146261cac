"""One screen at the end of a test run: what was proven, what was skipped and why. Every test's line goes to a file."""

from collections import Counter
from typing import TextIO

import pytest

from local.state import PROJECT


class Log:
    """Writes a line for each test as it ends: outcome, seconds, name."""

    def __init__(self, name: str) -> None:
        self.path = PROJECT / ".build" / f"{name}.log"
        self.path.parent.mkdir(exist_ok=True)
        self._file: TextIO = self.path.open("w", encoding="utf-8")

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        if report.when == "call" or report.outcome != "passed":
            self._file.write(f"{report.outcome:8}{report.duration:8.2f} s  {report.nodeid}\n")
            self._file.flush()

    def pytest_unconfigure(self) -> None:
        self._file.close()


def pytest_configure(config: pytest.Config) -> None:
    if not hasattr(config, "workerinput"):
        name = "test-exhaustive" if config.option.markexpr == "exhaustive" else "test"
        config.pluginmanager.register(Log(name), "every-test-in-a-file")


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter, config: pytest.Config) -> None:
    """Print what tests recorded as "proved", with numbers where a dot says too little, and every reason to skip."""
    passed = terminalreporter.stats.get("passed", [])
    proved = [value for report in passed for name, value in report.user_properties if name == "proved"]
    terminalreporter.section("proved")
    files = len({report.nodeid.partition("::")[0] for report in passed})
    for line in (*proved, f"{len(passed):,} tests of {files} files passed; each has a line in {_log(config)}"):
        terminalreporter.write_line(line)
    reasons = Counter(_reason(report) for report in terminalreporter.stats.get("skipped", []))
    if reasons:
        terminalreporter.section("skipped")
        for reason, count in sorted(reasons.items()):
            terminalreporter.write_line(f"{count:4} {reason}")


def _log(config: pytest.Config) -> str:
    log = config.pluginmanager.get_plugin("every-test-in-a-file")
    return str(log.path.relative_to(PROJECT)) if isinstance(log, Log) else ""


def _reason(report: pytest.TestReport | pytest.CollectReport) -> str:
    text = report.longrepr[2] if isinstance(report.longrepr, tuple) else str(report.longrepr)
    return text.removeprefix("Skipped: ")
