"""Checks the inputs of recorded resources against what AWS publishes: botocore's API models, and documented rules.

moto accepts much that AWS rejects; this is what notices, long before a deployment does.
"""

import functools
import hashlib
import json
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import botocore.session
import regex
from botocore.model import Shape, StructureShape

from tests.aws_shapes import Document, Path
from tests.aws_table import AUTONAMED, DOCUMENTED, IDS, MODELS, UNCOVERED, Model
from tests.pulumi_mocks import Resource


@dataclass(frozen=True, slots=True)
class Fault:
    """An input that AWS would reject, and the rule it breaks."""

    resource: str
    input: str
    value: Any
    rule: str

    def __str__(self) -> str:
        return f"{self.resource}: {self.input} = {self.value!r}\n    {self.rule}"


@dataclass(slots=True)
class Verdict:
    """What was found; `used` is which models (type, ""), documented rules and exceptions (type, input) that took."""

    faults: list[Fault] = field(default_factory=list)
    uncovered: set[tuple[str, str]] = field(default_factory=set)
    used: set[tuple[str, str]] = field(default_factory=set)


def judge(resources: Iterable[Resource]) -> Verdict:
    """Return the verdict on every resource; components have no inputs of AWS's and are passed over."""
    verdict = Verdict()
    for resource in resources:
        if resource.custom:
            _judge_one(resource, verdict)
    return verdict


def inputs_as_sent(resource: Resource) -> dict[str, Any]:
    """Return the inputs as AWS would get them.

    With the name that Pulumi makes up where the program gives none, and with ids of the form that EC2 gives, where
    the recording's are made of names.
    """
    inputs = {key: _with_real_ids(key, value) for key, value in resource.inputs.items()}
    if (key := AUTONAMED.get(resource.typ)) and key not in inputs:
        inputs[key] = f"{resource.name}-1a2b3c4"
    return inputs


def _with_real_ids(name: str, value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _with_real_ids(key, item) for key, item in value.items()}
    if isinstance(value, list):
        return [_with_real_ids(name, item) for item in value]
    prefix = next((prefix for end, prefix in IDS.items() if name.lower().removesuffix("s").endswith(end)), None)
    if prefix and isinstance(value, str):
        return f"{prefix}-{hashlib.sha256(value.encode()).hexdigest()[:17]}"
    return value


def _judge_one(resource: Resource, verdict: Verdict) -> None:
    inputs = inputs_as_sent(resource)
    excepted = {name for name in inputs if (resource.typ, name) in UNCOVERED}
    verdict.used.update((resource.typ, name) for name in excepted)
    unplaced = _judge_by_models(resource, {name: inputs[name] for name in inputs if name not in excepted}, verdict)
    ruled = _judge_by_rules(resource, inputs, verdict)
    verdict.uncovered.update((resource.typ, name) for name in unplaced - ruled)


def _judge_by_models(resource: Resource, inputs: Mapping[str, Any], verdict: Verdict) -> set[str]:
    """Add what the API models say; return the inputs that they say nothing about."""
    model = MODELS.get(resource.typ)
    if model is None:
        return set(inputs)
    verdict.used.add((resource.typ, ""))
    documents: dict[str, Document] = {}
    for name, value in inputs.items():
        operation, place = _destination(model, name)
        if operation not in documents:
            documents[operation] = Document(input_shape(operation), model.names)
        documents[operation].add(name, value, place=place)
    for operation, document in documents.items():
        for path, value, rule in violations(document.content, input_shape(operation)):
            verdict.faults.append(Fault(resource.urn, document.origin(path), value, f"{operation}: {rule}"))
    return {name for document in documents.values() for name in document.unplaced}


def _judge_by_rules(resource: Resource, inputs: Mapping[str, Any], verdict: Verdict) -> set[str]:
    """Add what the documented rules say; return the inputs that they are about."""
    ruled = set()
    for documented in DOCUMENTED:
        if not regex.fullmatch(documented.types, resource.typ):
            continue
        for name, value in _with_default_tags(inputs):
            if regex.fullmatch(documented.input, name):
                ruled |= {name, name.partition(".")[0]}
                verdict.used.add((documented.types, documented.input))
                if not documented.holds(value):
                    verdict.faults.append(Fault(resource.urn, name, value, f"{documented.rule} ({documented.source})"))
    return ruled


def _destination(model: Model, name: str) -> tuple[str, str | None]:
    """Return the operation that takes an input, and its place there if another operation than usual takes it."""
    place = model.names.get(name, "")
    if " " not in place:
        return model.operation, None
    operation, place = place.split(" ")
    return operation, place


def _with_default_tags(inputs: Mapping[str, Any]) -> Iterator[tuple[str, Any]]:
    yield from inputs.items()
    if "defaultTags" in inputs:  # the provider's, in JSON
        yield "defaultTags.tags", json.loads(inputs["defaultTags"])["tags"]


@functools.cache
def _service(name: str) -> Any:
    return botocore.session.get_session().get_service_model(name)


@functools.cache
def input_shape(operation: str) -> StructureShape:
    """Return the shape of what an operation takes, `rds:CreateDBInstance`."""
    service, _, name = operation.partition(":")
    shape: StructureShape = _service(service).operation_model(name).input_shape
    return shape


@functools.cache
def _compiled(pattern: str) -> regex.Pattern[str]:
    # Java writes what lies beyond 16 bits as a range of surrogates.
    return regex.compile(pattern.replace(r"\uD800\uDC00-\uDBFF\uDFFF", r"\U00010000-\U0010FFFF"))


_TYPES: Mapping[str, type | tuple[type, ...]] = {
    "structure": dict,
    "map": dict,
    "list": list,
    "string": str,
    "boolean": bool,
    "integer": int,
    "long": int,
    "float": (int, float),
    "double": (int, float),
}


def violations(value: Any, shape: Shape, path: Path = ()) -> Iterator[tuple[Path, Any, str]]:
    """Yield path, value and rule of every constraint that a request breaks: type, length, range, enum and pattern.

    A pattern is one for the whole value, as the services read it: https://smithy.io/2.0/spec/constraint-traits.html
    """
    kind = shape.type_name
    expected = _TYPES.get(kind)
    if expected and (not isinstance(value, expected) or (isinstance(value, bool) and kind != "boolean")):
        yield path, value, f"{shape.name} is of type {kind}"
        return
    size = len(value) if isinstance(value, str | list | dict) else value
    if not isinstance(size, bool) and isinstance(size, int | float) and kind != "structure":
        low, high = shape.metadata.get("min"), shape.metadata.get("max")
        if (low is not None and size < float(low)) or (high is not None and size > float(high)):
            yield (
                path,
                value,
                f"{shape.name} has {'length' if size is not value else 'value'} {low} to {high}, not {size}",
            )
    if kind == "structure":
        for key, item in value.items():
            yield from violations(item, shape.members[key], (*path, key))  # type: ignore[attr-defined]
    elif kind == "list":
        for number, item in enumerate(value):
            yield from violations(item, shape.member, (*path, number))  # type: ignore[attr-defined]
    elif kind == "map":
        for key, item in value.items():
            yield from violations(key, shape.key, (*path, key))  # type: ignore[attr-defined]
            yield from violations(item, shape.value, (*path, key))  # type: ignore[attr-defined]
    elif kind == "string":
        if (allowed := getattr(shape, "enum", None)) and value not in allowed:
            yield path, value, f"{shape.name} is one of {', '.join(allowed)}"
        pattern = shape.metadata.get("pattern")
        if pattern and not _compiled(pattern).fullmatch(value):
            yield path, value, f"{shape.name} matches {pattern}"
