"""What a rule is, and what it looks at.

Pure, and nothing but the standard library here and in the rules: the policy pack runs in an environment of its own.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Final

# Stacks whose data must outlive a mistake.
DURABLE_STACKS: Final = ("prod",)

type Props = Mapping[str, Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class Resource:
    """One resource as a rule sees it."""

    typ: str
    name: str
    props: Props
    stack: str
    protect: bool = False

    @property
    def durable(self) -> bool:
        """Whether the resource is part of a stack whose data must outlive a mistake."""
        return self.stack in DURABLE_STACKS


@dataclass(frozen=True, slots=True, kw_only=True)
class Rule:
    """What must hold for a resource of `types`. `says` is the rule in words."""

    name: str
    says: str
    types: tuple[str, ...]
    check: Callable[[Resource], Iterable[str]]

    def violations(self, resource: Resource) -> Iterator[str]:
        """Yield a sentence for each way in which `resource` breaks the rule."""
        if resource.typ in self.types:
            yield from self.check(resource)


@dataclass(frozen=True, slots=True, kw_only=True)
class StackRule:
    """Every resource of type `typ` needs one of each type in `beside` under its own logical name."""

    name: str
    says: str
    typ: str
    beside: tuple[str, ...]

    def violations(self, resources: Iterable[tuple[str, str]]) -> Iterator[str]:
        """Yield a sentence for each resource that lacks its companion; `resources` are types and logical names."""
        present = set(resources)
        for typ, name in sorted(present):
            for companion in self.beside:
                if typ == self.typ and (companion, name) not in present:
                    yield f"{name} has no {companion} beside it (of the same logical name)."
