"""The mutation runner: what it changes, and that it tells a change that the tests notice from one that they do not."""

import subprocess
import sys
from pathlib import Path

import pytest

from tests.mutants import mutants
from tests.mutation import ROOT, sample

MODULE = '''"""A module with one test that looks, and one that does not."""


def is_adult(age: int) -> bool:
    """Return whether `age` is 18 or more."""
    return age >= 18


def greeting(name: str) -> str:
    return "Dear " + name
'''
TESTS = """
from greeter import greeting, is_adult


def test_who_is_adult() -> None:
    assert is_adult(18)
    assert not is_adult(17)


def test_the_greeting() -> None:
    greeting("Ada")
"""


def test_a_planted_survivor_is_found_and_what_the_tests_notice_is_killed(tmp_path: Path) -> None:
    (tmp_path / "handlers").mkdir()
    (tmp_path / "tests").mkdir()
    (tmp_path / "handlers" / "greeter.py").write_text(MODULE)
    (tmp_path / "tests" / "test_greeter.py").write_text(TESTS)
    (tmp_path / "pyproject.toml").write_text('[tool.pytest.ini_options]\npythonpath = ["handlers"]\n')
    subprocess.run(["git", "init", "--quiet", tmp_path], check=True)
    program = "import sys; from tests import mutation; mutation.HEAVY = ''; sys.exit(mutation.main(sys.argv[1:]))"
    arguments = ["handlers/greeter.py", "--tests", "tests/test_greeter.py", "--root", str(tmp_path)]
    ended = subprocess.run(
        [sys.executable, "-c", program, *arguments], cwd=ROOT, capture_output=True, text=True, check=False, timeout=120
    )
    assert ended.returncode == 0, ended.stdout + ended.stderr
    said = ended.stdout.splitlines()
    assert "killed   handlers/greeter.py:6: age >= 18 -> (age > 18)  [tests/test_greeter.py::test_who_is_adult]" in said
    assert 'survived handlers/greeter.py:10: "Dear " -> "mutated"  [1 tests run it]' in said
    killed, survived = (sum(line.startswith(word) for line in said) for word in ("killed ", "survived "))
    assert f"{killed + survived} of {killed + survived} mutants, {killed} killed, {survived} survived" in said[-1]
    assert (tmp_path / "handlers" / "greeter.py").read_text() == MODULE, "only a copy is ever changed"


@pytest.mark.parametrize(
    ("code", "change"),
    [
        ("x = a < b", "a < b -> (a <= b)"),
        ("x = a == b", "a == b -> (a != b)"),
        ("x = a and b", "a and b -> ((a) or (b))"),
        ("if not a:\n    b()", "not a -> (a)"),
        ("if a:\n    b()", "a -> not a"),
        ("x = 5", "5 -> (6)"),
        ("x = a + b", "a + b -> (a - b)"),
        ("x = True", "True -> False"),
        ("def f():\n    raise E()", "raise E() -> pass"),
        ("a.b(c)", "a.b(c) -> pass"),
        ("@d\ndef f(): pass", "@d -> nothing"),
        ("def f(x=1): pass", "1 -> (0)"),
        ("q = 'SELECT 1 WHERE a < b AND c'", "'SELECT 1 WHERE a < b AND c' -> 'SELECT 1 WHERE a <= b AND c'"),
        ("q = 'SELECT 1 WHERE a < b AND c'", "'SELECT 1 WHERE a < b AND c' -> 'SELECT 1 WHERE a < b OR c'"),
        (
            "q = f'SELECT 1 WHERE {a} IS DISTINCT FROM b'",
            "f'SELECT 1 WHERE {a} IS DISTINCT FROM b' -> f'SELECT 1 WHERE {a} IS NOT DISTINCT FROM b'",
        ),
    ],
)
def test_it_makes_the_changes_that_are_easy_to_miss(code: str, change: str) -> None:
    assert change in [mutant.change for mutant in mutants(code)]


@pytest.mark.parametrize("code", ['"""A docstring."""', "import os", "logger.info('hello')", "x: 'text'"])
def test_it_leaves_alone_what_no_test_should_judge(code: str) -> None:
    assert mutants(code) == []


def test_a_sample_is_spread_over_the_whole_module() -> None:
    found = mutants("\n".join(f"x{line} = {line}" for line in range(100)))
    chosen = sample(found, 20, seed=1)
    assert len(chosen) == 20
    assert {(mutant.line - 1) // 10 for mutant in chosen} == set(range(10))
    assert sample(found, 20, seed=1) == chosen
    assert sample(found, 1000, seed=1) == found
