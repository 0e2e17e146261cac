"""Writes what documents say of the program from the program itself: `make docs`. A test holds what is committed to it.

Each piece stands in its document between two marks, and all around it is written by hand:

    <!-- config: written by `make docs` -->
    ...
    <!-- end of config -->
"""

import json
import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import yaml

from components import workflow
from docs import dictionary

PROJECT: Final = Path(__file__).resolve().parent.parent


@dataclass(frozen=True, slots=True, kw_only=True)
class Piece:
    """A part of a document that is made: `make` gives its Markdown, without the marks."""

    document: str
    name: str
    make: Callable[[], str]

    def put_into(self, text: str) -> str:
        """Return the document's text with the piece as it is now. Raises ValueError where its marks are not."""
        begin, end = f"<!-- {self.name}: written by `make docs` -->", f"<!-- end of {self.name} -->"
        marked = re.compile(f"{re.escape(begin)}\n.*?{re.escape(end)}", re.DOTALL)
        if len(marked.findall(text)) != 1:
            raise ValueError(f"{self.document} must have the lines {begin} and {end} once, in this order")
        return marked.sub(lambda _: f"{begin}\n\n{self.make().strip()}\n\n{end}", text)


def configuration() -> str:
    """Return the table of the stack's config keys, from Pulumi.yaml: what a key means is its first sentence there."""
    declared: dict[str, dict[str, Any]] = yaml.safe_load((PROJECT / "Pulumi.yaml").read_text())["config"]
    lines = ["| key | type | default | meaning |", "|---|---|---|---|"]
    for key, entry in declared.items():
        kind = f"list of {entry['items']['type']}s" if entry["type"] == "array" else entry["type"]
        default = entry["default"] if isinstance(entry["default"], str) else json.dumps(entry["default"])
        meaning = re.split(r"(?<=\.) (?=[A-Z])", entry["description"])[0]
        lines.append(f"| `{key}` | {kind} | {f'`{default}`' if default else ''} | {meaning.replace('|', '/')} |")
    return "\n".join(lines)


def state_machine() -> str:
    """Return the state machine as a Mermaid diagram, from its definition."""
    arn = "arn:aws:lambda:ap-northeast-1:123456789012:function"
    definition = workflow.definition(
        stack="dev",
        extract_function_arn=f"{arn}:extract",
        stage_function_arn=f"{arn}:stage",
        publish_function_arn=f"{arn}:publish",
        topic_arn="arn:aws:sns:ap-northeast-1:123456789012:ev-population-dev",
        load_concurrency=4,
        notify_on="changes",
        runbook_url="",
    )
    return "\n".join(["```mermaid", "stateDiagram-v2", *_machine(definition, "  "), "```"])


def _machine(machine: Mapping[str, Any], indent: str) -> Iterator[str]:
    def label(name: str) -> str:
        return re.sub(r"\W", "", name)

    yield f"{indent}[*] --> {label(machine['StartAt'])}"
    for name, state in machine["States"].items():
        here = label(name)
        if here != name:
            yield f'{indent}state "{name}" as {here}'
        if state["Type"] == "Map":
            yield f"{indent}state {here} {{"
            yield from _machine(state["ItemProcessor"], indent + "  ")
            yield f"{indent}}}"
        for choice in state.get("Choices", []):
            first = choice.get("And", [choice])[0]
            yield f"{indent}{here} --> {label(choice['Next'])}: {first['StringEquals']}"
        ways = {"Default": "else" if state["Type"] == "Choice" else "", "Next": ""}
        for key, why in ways.items():
            if key in state:
                yield f"{indent}{here} --> {label(state[key])}{f': {why}' if why else ''}"
        for catch in state.get("Catch", []):
            if catch["Next"] != state["Next"]:  # a message that could not be sent changes nothing
                why = {"States.ALL": "any other", "States.Timeout": "no answer"}.get(
                    catch["ErrorEquals"][0], "in words"
                )
                yield f"{indent}{here} --> {label(catch['Next'])}: {why}"
        if state["Type"] in ("Succeed", "Fail") or state.get("End"):
            yield f"{indent}{here} --> [*]"


PIECES: Final = (
    Piece(document="README.md", name="config", make=configuration),
    Piece(document="docs/architecture.md", name="state machine", make=state_machine),
    Piece(document="docs/data-dictionary.md", name="tables", make=dictionary.tables),
    Piece(document="docs/data-dictionary.md", name="runs", make=dictionary.runs),
    Piece(document="docs/data-dictionary.md", name="views", make=dictionary.views),
    Piece(document="docs/data-dictionary.md", name="grants", make=dictionary.grants),
)


def main() -> None:
    """Write every piece into its document."""
    for piece in PIECES:
        path = PROJECT / piece.document
        path.write_text(piece.put_into(path.read_text()))


if __name__ == "__main__":
    main()
