"""The inputs of a Pulumi resource as a document of another shape: an AWS API request, or CloudFormation properties.

Names match without regard to case; a table names the rest. A shape is one of botocore's, or anything with the same
`type_name` and `members` (structure), `member` (list) or `value` (map).
"""

import itertools
import json
from collections.abc import Mapping
from typing import Any, NamedTuple

type Names = Mapping[str, str]
type Path = tuple[str | int, ...]


class _At(NamedTuple):
    """A structure that is being filled: its shape, its content so far and its path."""

    shape: Any
    content: dict[str, Any]
    path: Path


class Document:
    """What `add` has put together so far, on top of `content`, and where each part of it comes from.

    `names` says where an input goes that is called otherwise: `"ami": "ImageId"`. An input inside another is called by
    both, `"metricQueries.metric": ...`, and goes to a place relative to that of the outer one. `A.B` is a member of a
    member, `A[].B` a member of the list's first item, and `.` stands for the outer place itself.
    """

    def __init__(self, shape: Any, names: Names, content: dict[str, Any] | None = None) -> None:
        self.content: dict[str, Any] = {} if content is None else content
        self.unplaced: list[str] = []
        self._root = _At(shape, self.content, ())
        self._names = names
        self._origins: dict[Path, str] = {}

    def add(self, name: str, value: Any, *, place: str | None = None) -> None:
        """Put the input `name` at `place`, or where the names say; into `unplaced` when the shape has no such place."""
        self._place(name, value, self._root, place)

    def origin(self, path: Path) -> str:
        """Return which input the content at `path` comes from."""
        for end in range(len(path), 0, -1):
            if path[:end] in self._origins:
                return ".".join([self._origins[path[:end]], *map(str, path[end:])])
        return ".".join(map(str, path))

    def _place(self, name: str, value: Any, at: _At, place: str | None = None) -> None:
        place = place or self._names.get(name, name.rpartition(".")[2])
        if place == ".":
            self._members(name, value, at)
            return
        steps, shape = _way(at.shape, place)
        if not steps:
            self.unplaced.append(name)
            return
        holder: Any = at.content
        for step, following in itertools.pairwise(steps):
            empty: Any = [{}] if isinstance(following, int) else {}
            holder = holder[step] if isinstance(step, int) else holder.setdefault(step, empty)
        last = steps[-1]
        made = self._value(name, value, shape, (*at.path, *steps))
        before = holder[last] if isinstance(last, int) else holder.get(last)
        if isinstance(made, dict) and isinstance(before, dict):
            before.update(made)
        else:
            holder[last] = made

    def _members(self, name: str, value: Mapping[str, Any], at: _At) -> None:
        for key, item in value.items():
            self._place(f"{name}.{key}", item, at)

    def _value(self, name: str, value: Any, shape: Any, path: Path) -> Any:
        self._origins[path] = name
        if shape.type_name in ("structure", "map", "list") and isinstance(value, str) and value[:1] in ("{", "["):
            value = json.loads(value)
        if shape.type_name == "structure" and isinstance(value, dict):
            content: dict[str, Any] = {}
            self._members(name, value, _At(shape, content, path))
            return content
        if shape.type_name == "list":
            items = _items(value, shape.member)
            return [self._value(name, item, shape.member, (*path, number)) for number, item in enumerate(items)]
        if shape.type_name == "map" and isinstance(value, list):
            return {pair["name"]: pair["value"] for pair in value}
        return self.scalar(value, shape)

    def scalar(self, value: Any, shape: Any) -> Any:
        """Return a value that has nothing in it; Pulumi's numbers are all floats."""
        return int(value) if isinstance(value, float) and value.is_integer() else value


def _way(shape: Any, place: str) -> tuple[Path, Any]:
    """Return the steps to `place` and the shape there; no steps at all when one is missing."""
    steps: list[str | int] = []
    for part in place.split("."):
        members = shape.members if shape.type_name == "structure" else {}
        key = next((key for key in members if key.lower() == part.removesuffix("[]").lower()), None)
        if key is None:
            return (), shape
        shape = members[key]
        steps.append(key)
        if part.endswith("[]"):
            shape = shape.member
            steps.append(0)
    return tuple(steps), shape


def _items(value: Any, member: Any) -> list[Any]:
    """Return what a list should hold: a list as it is, a mapping as its pairs where the list is one of pairs."""
    if isinstance(value, list):
        return value
    if isinstance(value, dict) and member.type_name == "structure":
        for key in ("Key", "Name"):
            if set(member.members) == {key, "Value"}:
                return [{key: name, "Value": item} for name, item in value.items()]
    return [value]
