"""Code and commands in the documents: they parse, and the targets, options, keys and outputs they name exist."""

import argparse
import ast
import json
import re
import subprocess
from contextlib import closing
from dataclasses import dataclass

import psycopg2
import pytest
import yaml

from evdata.warehouse import migrate
from local.cli import _parser
from local.postgres import Database
from tests.pulumi_mocks import PROJECT, record_stack
from tests.test_docs import DOCUMENTS


@dataclass(frozen=True, kw_only=True)
class Block:
    """A fenced block of a document: its language, its text and where it begins."""

    place: str
    language: str
    text: str


def _blocks() -> list[Block]:
    found = []
    for document in DOCUMENTS:
        content = document.read_text()
        for match in re.finditer(r"^( *)```(\w*)\n(.*?)^\1```$", content, re.DOTALL | re.MULTILINE):
            line = content.count("\n", 0, match.start()) + 1
            place = f"{document.relative_to(PROJECT)}:{line}"
            found.append(Block(place=place, language=match[2], text=match[3]))
    return found


BLOCKS = _blocks()


def commands() -> list[tuple[str, str]]:
    """Return every command of every console block with its place; one that goes on over lines is one."""
    return [
        (block.place, command)
        for block in of_language("console")
        for command in re.findall(r"^\$ ((?:.*\\\n)*.*)$", block.text, re.MULTILINE)
    ]


def spoken() -> list[tuple[str, str]]:
    """Return every command and every piece of code within a sentence, with its place."""
    found = commands()
    for document in DOCUMENTS:
        prose = re.sub(r"^```.*?^```", "", document.read_text(), flags=re.DOTALL | re.MULTILINE)
        found += [(document.name, " ".join(code.split())) for code in re.findall(r"`([^`]+)`", prose)]
    return found


def of_language(*languages: str) -> list[Block]:
    return [block for block in BLOCKS if block.language in languages]


def test_every_block_says_its_language() -> None:
    known = {"console", "json", "yaml", "python", "sql", "mermaid", "text"}
    assert [block.place for block in BLOCKS if block.language not in known] == []


def test_every_command_is_one_to_a_shell() -> None:
    assert len(commands()) > 50
    for place, command in commands():
        done = subprocess.run(["bash", "-n"], input=command, capture_output=True, text=True, check=False)
        assert done.returncode == 0, f"{place}: {command}\n{done.stderr}"


@pytest.mark.parametrize("block", of_language("json", "yaml", "python"), ids=lambda block: block.place)
def test_data_and_python_parse(block: Block) -> None:
    match block.language:
        case "json":
            whole = block.text.lstrip().startswith(("{", "["))
            json.loads(block.text if whole else f"{{{block.text}}}")  # some show but one key of a document
        case "yaml":
            assert yaml.safe_load(block.text)
        case _:
            ast.parse(block.text)


def test_every_piece_of_sql_is_understood_by_postgresql(database: Database) -> None:
    pieces = [(block.place, block.text) for block in of_language("sql")]
    pieces += [
        (place, match[1])
        for place, code in spoken()
        for match in re.finditer(r"(?:local query|psql -c) [\"']([^\"']+)[\"']", code)
        if "library" not in match[1] and "…" not in match[1]  # of the other dataset, whose page is followed by a test
    ]
    assert len(pieces) > 2
    with closing(database.connect()) as connection:
        migrate(connection)
        for place, piece in pieces:
            for statement in filter(str.strip, piece.split(";")):
                try:
                    with connection.cursor() as cursor:
                        cursor.execute(statement)
                except (psycopg2.errors.SyntaxError, psycopg2.errors.UndefinedTable) as error:
                    pytest.fail(f"{place}: {statement}: {error}")
                except psycopg2.Error:
                    pass  # a name that stands for one of the reader's own
                finally:
                    connection.rollback()


@pytest.mark.parametrize("block", of_language("mermaid"), ids=lambda block: block.place)
def test_drawings_are_of_a_kind_and_closed(block: Block) -> None:
    assert block.text.split()[0] in {"flowchart", "stateDiagram-v2"}
    words = re.sub(r"\"[^\"]*\"", "", block.text)
    if words.startswith("flowchart"):
        assert len(re.findall(r"^\s*subgraph\b", words, re.MULTILINE)) == len(
            re.findall(r"^\s*end$", words, re.MULTILINE)
        )
    for opening, closing_ in ("[]", "()", "{}"):
        if block.text.startswith("flowchart") or opening == "{":
            assert words.count(opening) == words.count(closing_)


def test_every_target_of_make_exists() -> None:
    makefile = (PROJECT / "Makefile").read_text()
    variables = dict(re.findall(r"^(\w+)\s*[?:]?=\s*(\S+)$", makefile, re.MULTILINE))
    variables["BIN"] = variables["BIN"].replace("$(VENV)", variables["VENV"])
    for name, value in variables.items():
        makefile = makefile.replace(f"$({name})", value)
    targets = set(re.findall(r"^([\w./-]+):", makefile, re.MULTILINE))
    named = {
        (place, target) for place, code in spoken() for target in re.findall(r"(?:^|&& |; )make ([a-z.][\w./-]*)", code)
    }
    assert len({target for _, target in named}) > 5
    assert {(place, target) for place, target in named if target not in targets} == set()


def test_every_command_of_the_local_run_exists_with_its_options() -> None:
    (kinds,) = (action for action in _parser()._actions if isinstance(action, argparse._SubParsersAction))
    used = set()
    for place, code in spoken():
        for match in re.finditer(r"python -m local ([a-z]+)([^\n#|]*)", code):
            assert match[1] in kinds.choices, f"{place}: there is no {match[1]!r}"
            used.add(match[1])
            taken = {option for action in kinds.choices[match[1]]._actions for option in action.option_strings}
            if match[1] != "psql":  # which takes psql's own too
                given = set(re.findall(r"(?<=\s)--[a-z-]+", re.sub(r"\"[^\"]*\"", "", match[2])))
                assert given <= taken, f"{place}: {match[1]} takes no {given - taken}"
    assert {"run", "psql", "query"} <= used


def test_every_config_key_that_is_set_exists() -> None:
    keys = set(yaml.safe_load((PROJECT / "Pulumi.yaml").read_text())["config"])
    named = {
        (place, key)
        for place, code in spoken()
        for key in re.findall(r"pulumi config set (?:--secret |--path ')?([a-zA-Z]+)", code)
    }
    assert len(named) > 5
    assert {(place, key) for place, key in named if key not in keys and key != "KEY"} == set()


def test_every_output_that_is_read_exists() -> None:
    outputs = set(record_stack("dev", analystAccess="ssm").outputs)
    named = {(place, name) for place, code in spoken() for name in re.findall(r"pulumi stack output (\w+)", code)}
    assert len(named) > 5
    assert {(place, name) for place, name in named if name not in outputs} == set()


def test_every_file_that_is_named_in_code_is_there() -> None:
    folders = "components|docs|handlers|local|policy|tests|benchmarks"
    named = {
        (place, path)
        for place, code in spoken()
        for path in re.findall(rf"(?<![\w/.])((?:{folders})/[\w./-]+\.\w+)", code)
    }
    assert len(named) > 15
    made = {"policy/.venv/.ready"}  # by make, when it is asked
    assert {(place, path) for place, path in named if not (PROJECT / path).exists() and path not in made} == set()
