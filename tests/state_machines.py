"""Checks a state machine's definition: its grammar, its paths, and the parameters of its tasks."""

import functools
import json
import re
from collections.abc import Iterator, Mapping
from typing import Any

from botocore.exceptions import UnknownServiceError
from botocore.model import OperationNotFoundError
from jsonpath_ng.exceptions import JSONPathError
from jsonpath_ng.parser import parse
from moto.stepfunctions.parser.asl.parse.asl_parser import AmazonStateLanguageParser, ASLParserException

from tests.aws_models import input_shape, violations

_INTEGRATION = re.compile(r"arn:aws:states:::(?:aws-sdk:)?(?P<service>[a-z0-9]+):(?P<operation>[A-Za-z0-9]+)(\.\w+)*")
_QUOTED = re.compile(r"'(\\.|[^'\\])*'", re.DOTALL)


def faults(definition: Mapping[str, Any]) -> list[str]:
    """Return each fault with where it stands, as `States.Extract.ResultPath: ...`."""
    return [*_grammar(json.dumps(definition)), *(f"{at}: {rule}" for at, rule in _walk(definition, ""))]


@functools.cache
def _grammar(definition: str) -> tuple[str, ...]:
    # moto's grammar takes any string that begins like a path for one, which is why paths are parsed below.
    try:
        AmazonStateLanguageParser.parse(definition)
    except (ASLParserException, ValueError) as error:
        return (f"definition: {error}",)
    return ()


def _walk(node: Any, at: str) -> Iterator[tuple[str, str]]:
    if isinstance(node, list):
        for number, item in enumerate(node):
            yield from _walk(item, f"{at}[{number}]")
    if not isinstance(node, dict):
        return
    yield from _parameters(node, at)
    for key, item in node.items():
        here = f"{at}.{key}" if at else key
        is_path = key.endswith((".$", "Path")) or key == "Variable"
        if is_path and isinstance(item, str) and (rule := _path_fault(item)):
            yield here, f"{item!r} {rule}"
        yield from _walk(item, here)


def _path_fault(text: str) -> str:
    """Return why a text is neither a path nor an intrinsic function; nothing when it is one.

    https://docs.aws.amazon.com/step-functions/latest/dg/amazon-states-language-paths.html
    """
    if text.startswith("States."):
        bare = _QUOTED.sub("", text)
        if "'" in bare or bare.count("(") != bare.count(")") or not bare.endswith(")"):
            return "has a quote or a parenthesis that is not closed"
        # '$.a.b' and '$$.c' among the arguments; what is quoted is no path
        paths = re.findall(r"\$[^,()\s]*", bare)
    elif text.startswith("$"):
        paths = [text]
    else:
        return "is no path: one begins with $"
    for path in paths:
        try:
            parse(path.replace("$$", "$", 1))
        except JSONPathError as error:
            return f"is no JSONPath: {str(error).splitlines()[0]}"
    return ""


def _parameters(state: Mapping[str, Any], at: str) -> Iterator[tuple[str, str]]:
    """Yield what the API that a task calls does not know or take.

    https://docs.aws.amazon.com/step-functions/latest/dg/integrate-services.html
    """
    integration = _INTEGRATION.fullmatch(str(state.get("Resource", "")))
    parameters = state.get("Parameters")
    if not integration or not isinstance(parameters, dict):
        return
    operation = integration["operation"][0].upper() + integration["operation"][1:]
    try:
        shape = input_shape(f"{integration['service']}:{operation}")
    except (UnknownServiceError, OperationNotFoundError):
        yield f"{at}.Resource", f"there is no {integration['service']}:{operation}"
        return
    for key, value in parameters.items():
        name = key.removesuffix(".$")
        if name not in shape.members:
            yield f"{at}.Parameters.{key}", f"{integration['service']}:{operation} takes no {name}"
        elif name == key:
            for _, wrong, rule in violations(value, shape.members[name]):
                yield f"{at}.Parameters.{key}", f"{wrong!r}: {rule}"
