"""Which small changes to a module do its tests notice?

    EV_TEST_DATABASE_URL=postgresql://... .venv/bin/python -m tests.mutation handlers/evdata/row_ids.py \
        --tests tests/test_row_ids.py [--sample 60 --seed 1] [--lines 10-20]

Each mutant (`tests/mutants.py`) is written to a copy of the tree, and only the tests that run the changed line run, the
quickest first. A fork of this process runs them, so pandas, boto3 and moto are imported once. A line that runs only in
a process that a test starts counts as not run. A survivor is a missing test, or a change that changes nothing:
docs/mutations.md lists the latter. EV_TEST_DATABASE_URL names a server (a superuser's URL) for tests with a database.
"""

import argparse
import ast
import contextlib
import gc
import importlib
import itertools
import json
import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from tests.mutants import Mutant, mutants

ROOT: Final = Path(__file__).parents[1]
# What takes long to import and holds no code of ours. No plugin of pytest: it wants to import those itself.
HEAVY: Final = "pandas psycopg2 boto3 moto moto.server sqlalchemy alembic.command aws_lambda_powertools requests"
IMPORTED_WITH: Final = {
    "OPENBLAS_NUM_THREADS": "1",
    "POWERTOOLS_SERVICE_NAME": "test",
    "POWERTOOLS_METRICS_NAMESPACE": "ev-population-test",
}
TOOL: Final = sys.monitoring.COVERAGE_ID


@dataclass(frozen=True, slots=True)
class Result:
    """What came of one mutant: `killed` (by a test or a timeout) or `survived`."""

    mutant: Mutant
    outcome: str
    why: str


class Recorder:
    """A pytest plugin: which lines of one file each test runs, and how long the test takes."""

    def __init__(self, file: Path) -> None:
        self._file = str(file)
        self._lines: set[int] = set()
        self.tests: dict[str, dict[str, Any]] = {}
        sys.monitoring.use_tool_id(TOOL, "mutation")
        sys.monitoring.register_callback(TOOL, sys.monitoring.events.LINE, self._line)
        sys.monitoring.set_events(TOOL, sys.monitoring.events.LINE)

    def _line(self, code: Any, line: int) -> Any:
        if code.co_filename != self._file:
            return sys.monitoring.DISABLE
        self._lines.add(line)
        return sys.monitoring.DISABLE  # until the next test

    def pytest_runtest_logstart(self, nodeid: str) -> None:
        self._lines.clear()
        sys.monitoring.restart_events()
        self.tests[nodeid] = {"lines": [], "seconds": time.monotonic()}

    def pytest_runtest_logfinish(self, nodeid: str) -> None:
        test = self.tests[nodeid]
        test["seconds"] = time.monotonic() - test["seconds"]
        test["lines"] = sorted(self._lines)


def copy_tree(root: Path, copy: Path) -> None:
    """Copy what git knows or would add, and share the environment."""
    listed = subprocess.run(
        ["git", "ls-files", "-co", "--exclude-standard", "-z"], cwd=root, capture_output=True, check=True, text=True
    )
    for name in filter(None, listed.stdout.split("\0")):
        if (root / name).is_file() and not (copy / name).is_symlink():
            (copy / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(root / name, copy / name)
    if (root / ".venv").exists() and not (copy / ".venv").exists():
        (copy / ".venv").symlink_to((root / ".venv").resolve())


def run_forked(copy: Path, arguments: Sequence[str], timeout: float, record: tuple[Path, Path] | None = None) -> int:
    """Run pytest on the copy in a fork; return its exit code, or -1 after a timeout. Its output goes to `copy`.log."""
    sys.stdout.flush()
    child = os.fork()
    if child == 0:
        code = 70
        try:
            code = _in_child(copy, arguments, record)
        finally:
            os._exit(code)
    deadline = time.monotonic() + timeout
    try:
        while time.monotonic() < deadline:
            ended, status = os.waitpid(child, os.WNOHANG)
            if ended:
                return os.waitstatus_to_exitcode(status)
            time.sleep(0.01)
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(child, signal.SIGKILL)  # and whatever a test left behind
    os.waitpid(child, 0)
    return -1


def _in_child(copy: Path, arguments: Sequence[str], record: tuple[Path, Path] | None) -> int:
    os.setsid()
    log = os.open(f"{copy}.log", os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
    for stream in (0, 1, 2):
        os.dup2(os.open(os.devnull, os.O_RDONLY) if stream == 0 else log, stream)
    os.chdir(copy)
    for name in [name for name in sys.modules if name.partition(".")[0] in ("tests", "handlers", "local")]:
        del sys.modules[name]
    sys.path[:] = [str(copy), str(copy / "handlers"), *(path for path in sys.path if path not in ("", str(ROOT)))]
    import pytest

    recorder = Recorder(record[0]) if record else None
    fixed = ["-q", "-n", "0", "-p", "no:cacheprovider"]
    code = int(pytest.main([*fixed, *arguments], plugins=[recorder] if recorder else []))
    if record and recorder:
        sys.monitoring.set_events(TOOL, 0)
        record[1].write_text(json.dumps(recorder.tests))
    return code


def judge(root: Path, copy: Path, module: str, tests: Sequence[str], chosen: Sequence[Mutant]) -> Iterator[Result]:
    """Yield what comes of each mutant. Raises `SystemExit` unless the tests pass without any."""
    copy_tree(root, copy)
    target = copy / module
    original = target.read_text()
    recorded = Path(f"{copy}.json")
    if code := run_forked(copy, [*tests], 3600, (target, recorded)):
        raise SystemExit(
            f"the tests fail without any mutant (exit {code}):\n" + Path(f"{copy}.log").read_text()[-3000:]
        )
    ran: dict[str, dict[str, Any]] = json.loads(recorded.read_text())
    when = target.stat().st_mtime
    try:
        for number, mutant in enumerate(chosen, start=1):
            lines = _showing(original, mutant)
            covering = [name for name, test in ran.items() if lines is None or lines & set(test["lines"])]
            covering.sort(key=lambda name: float(ran[name]["seconds"]))
            if not covering:
                yield Result(mutant, "survived", "no test runs it")
                continue
            target.write_text(mutant.source)
            # Bytecode is judged by size and whole second: each mutant has a second of its own.
            os.utime(target, (when + number, when + number))
            code = run_forked(copy, ["-x", *covering], 30 + 5 * sum(ran[name]["seconds"] for name in covering))
            if code == 0:
                yield Result(mutant, "survived", f"{len(covering)} tests run it")
            else:
                yield Result(mutant, "killed", "timeout" if code == -1 else _killer(Path(f"{copy}.log"), code))
    finally:
        target.write_text(original)


def _showing(source: str, mutant: Mutant) -> set[int] | None:
    """Return the lines whose execution can show a mutant, or None where any test may: the line runs at import."""
    lines = set(range(mutant.first, mutant.last + 1))
    module = ast.parse(source)
    for statement in module.body:
        if not statement.lineno <= mutant.line <= (statement.end_lineno or 0):
            continue
        match statement:
            case ast.Assign(targets=[ast.Name(id=name)]) | ast.AnnAssign(target=ast.Name(id=name)):
                used = {
                    node.lineno for node in ast.walk(module) if isinstance(node, ast.Name) and node.id == name
                } - lines
                return used if used and used <= _within_functions(module) else None
            case ast.FunctionDef() | ast.ClassDef():
                for inner in ast.walk(statement):
                    if isinstance(inner, ast.FunctionDef) and inner.lineno == mutant.first:
                        return set(range(inner.body[0].lineno, (inner.end_lineno or 0) + 1))
                return lines if lines <= _within_functions(module) else None
    return None


def _within_functions(module: ast.Module) -> set[int]:
    return {
        line
        for node in ast.walk(module)
        if isinstance(node, ast.FunctionDef | ast.Lambda)
        for line in range(
            node.body[0].lineno if isinstance(node, ast.FunctionDef) else node.lineno, (node.end_lineno or 0) + 1
        )
    }


def _killer(log: Path, code: int) -> str:
    said = [
        line
        for line in log.read_text(errors="replace").splitlines()
        if line.startswith(("FAILED tests", "ERROR tests"))
    ]
    return said[0].split(" - ")[0].split(" ", 1)[1] if said else f"exit {code}"


def sample(found: Sequence[Mutant], size: int | None, seed: int) -> list[Mutant]:
    """Return `size` mutants spread evenly over the module: one of each stretch of it, or all."""
    if size is None or size >= len(found):
        return list(found)
    chance = random.Random(seed)
    bounds = [round(number * len(found) / size) for number in range(size + 1)]
    return [found[chance.randrange(start, end)] for start, end in itertools.pairwise(bounds)]


def main(arguments: Sequence[str] | None = None, environment: Mapping[str, str] = os.environ) -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.mutation", description="Which changes do the tests notice?")
    parser.add_argument("module", help="the file to change, say handlers/evdata/merging.py")
    parser.add_argument("--tests", nargs="+", required=True, help="test files or ids that should notice")
    parser.add_argument("--sample", type=int, help="how many mutants, spread evenly over the module; default: all")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--lines", help="only mutants of these lines: 10-20")
    parser.add_argument("--root", type=Path, default=ROOT, help=argparse.SUPPRESS)
    options = parser.parse_args(arguments)
    os.environ.update({name: value for name, value in IMPORTED_WITH.items() if name not in environment})
    for name in HEAVY.split():
        importlib.import_module(name)
    gc.freeze()
    module = str(Path(options.module))
    found = mutants((options.root / module).read_text())
    if options.lines:
        first, _, last = options.lines.partition("-")
        found = [mutant for mutant in found if int(first) <= mutant.line <= int(last or first)]
    chosen = sample(found, options.sample, options.seed)
    started, outcomes = time.monotonic(), Counter[str]()
    with tempfile.TemporaryDirectory(prefix="ev-mutation-") as scratch:
        for result in judge(options.root.resolve(), Path(scratch, "tree"), module, options.tests, chosen):
            outcomes[result.outcome] += 1
            mutant = result.mutant
            print(f"{result.outcome:8} {module}:{mutant.line}: {mutant.change}  [{result.why}]", flush=True)  # noqa: T201
    print(  # noqa: T201
        f"{module}: {len(chosen)} of {len(found)} mutants, {outcomes['killed']} killed, {outcomes['survived']} "
        f"survived, {time.monotonic() - started:.0f} s"
    )
    return 0


if __name__ == "__main__":
    sys.exit(main())
