"""The mutants of a Python module: every small change that its tests should notice.

Left out is what no test can or should judge: docstrings, annotations, imports, and calls of a logger.
"""

import ast
import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

COMPARISONS: Final[dict[type[ast.cmpop], tuple[str, ...]]] = {
    ast.Lt: ("<=", ">="),
    ast.LtE: ("<", ">"),
    ast.Gt: (">=", "<="),
    ast.GtE: (">", "<"),
    ast.Eq: ("!=",),
    ast.NotEq: ("==",),
    ast.Is: ("is not",),
    ast.IsNot: ("is",),
    ast.In: ("not in",),
    ast.NotIn: ("in",),
}
OPERATORS: Final[dict[type[ast.operator], ast.operator]] = {
    ast.Add: ast.Sub(),
    ast.Sub: ast.Add(),
    ast.Mult: ast.Div(),
    ast.Div: ast.Mult(),
    ast.FloorDiv: ast.Div(),
    ast.Mod: ast.FloorDiv(),
    ast.BitAnd: ast.BitOr(),
    ast.BitOr: ast.BitAnd(),
    ast.BitXor: ast.BitOr(),
    ast.LShift: ast.RShift(),
    ast.Pow: ast.Mult(),
}
SQL: Final = re.compile(r"\b(SELECT|INSERT INTO|UPDATE|DELETE FROM|WHERE|CREATE|DROP|ALTER|LOCK|JOIN|COPY)\b")
# What changes in SQL: the pattern, and what stands in its place.
SQL_CHANGES: Final = tuple(
    (re.compile(pattern), replacement)
    for pattern, replacement in (
        (r" <= ", " < "),
        (r" >= ", " > "),
        (r" < ", " <= "),
        (r" > ", " >= "),
        (r" = ", " <> "),
        (r" <> ", " = "),
        (r" \+ ", " - "),
        (r" - ", " + "),
        (r"\bAND\b", "OR"),
        (r"\bOR\b(?! REPLACE)", "AND"),
        (r"\bIS DISTINCT FROM\b", "IS NOT DISTINCT FROM"),
        (r"\bIS NOT DISTINCT FROM\b", "="),
        (r"\bIS NULL\b", "IS NOT NULL"),
        (r"\bIS NOT NULL\b", "IS NULL"),
        (r"\bNOT EXISTS\b(?! \{)", "EXISTS"),
        (r"\bLEFT JOIN\b", "JOIN"),
        (r"\bFULL JOIN\b", "JOIN"),
        (r"\bUNION ALL\b", "UNION"),
        (r"\bSELECT DISTINCT\b", "SELECT"),
        (r"\bcount\(DISTINCT ", "count("),
        (r"\bDESC\b", "ASC"),
        (r"\bmin\(", "max("),
        (r"\bmax\(", "min("),
        (r"\bCASCADE\b", ""),
    )
)


@dataclass(frozen=True, slots=True)
class Mutant:
    """One change. `source` is the whole module; `first` to `last` are the lines whose execution can show it."""

    line: int
    change: str
    source: str
    first: int
    last: int


def mutants(source: str) -> list[Mutant]:
    """Return a module's mutants in the order of its lines."""
    module = ast.parse(source)
    lines = source.encode().splitlines(keepends=True)
    starts = [0]
    for line in lines:
        starts.append(starts[-1] + len(line))
    content = source.encode()
    found: dict[str, Mutant] = {}
    for statement, node, replacement in _changes(module, source):
        start, end = starts[node.lineno - 1] + node.col_offset, starts[node.end_lineno - 1] + node.end_col_offset  # type: ignore[attr-defined]
        if replacement == "@":  # a decorator goes with its @
            start = starts[node.lineno - 1]  # type: ignore[attr-defined]
        text = replacement.removeprefix("@")
        changed = (content[:start] + text.encode() + content[end:]).decode()
        try:
            same = ast.dump(ast.parse(changed)) == ast.dump(module)
        except SyntaxError:
            continue
        if not same:
            was = " ".join(content[start:end].decode().split())
            first, last = _span(statement)
            line = node.lineno  # type: ignore[attr-defined]
            mutant = Mutant(line, _difference(was, text), changed, first, last)
            found.setdefault(changed, mutant)
    return sorted(found.values(), key=lambda mutant: mutant.line)


def _difference(was: str, now: str) -> str:
    """Return in one short line what changed, without what both have in common at either end."""
    now = " ".join(now.split())
    if len(was) <= 70:
        return f"{was} -> {now or 'nothing'}"
    start = next((i for i, (a, b) in enumerate(zip(was, now, strict=False)) if a != b), 0)
    start = max(0, start - 20)
    return f"{was[start : start + 60]} -> {now[start : start + 60] or 'nothing'}"


def _span(statement: ast.stmt) -> tuple[int, int]:
    """Return the lines that a statement runs by itself: of a compound one, only its head."""
    body = getattr(statement, "body", None)
    last = statement.end_lineno or statement.lineno
    return statement.lineno, max(statement.lineno, body[0].lineno - 1) if body else last


def _changes(module: ast.Module, source: str) -> Iterator[tuple[ast.stmt, ast.AST, str]]:
    """Yield the statement, the node within it, and the text that takes the node's place."""

    def visit(node: ast.AST, statement: ast.stmt) -> Iterator[tuple[ast.stmt, ast.AST, str]]:
        if isinstance(node, ast.stmt):
            statement = node
            if _is_left_out(node):
                return
            for replacement in _of_statement(node):
                yield statement, node, replacement
        elif isinstance(node, ast.expr):
            for replacement in _of_expression(node, source):
                yield statement, node, replacement
            if isinstance(node, ast.Constant):
                return
        for name, child in _children(node):
            if name == "decorator_list":
                # Run at import, so that the whole file's tests may see it.
                yield statement, child, "@"
            if name == "test" and not isinstance(child, ast.Compare | ast.BoolOp | ast.Constant):
                negated = isinstance(child, ast.UnaryOp) and isinstance(child.op, ast.Not)
                yield statement, child, ast.unparse(child.operand if negated else _not(child))  # type: ignore[attr-defined]
            if not (isinstance(node, ast.JoinedStr | ast.FormattedValue) and isinstance(child, ast.Constant)):
                yield from visit(child, statement)

    for node in module.body:
        yield from visit(node, node)


def _children(node: ast.AST) -> Iterator[tuple[str, ast.AST]]:
    for name, value in ast.iter_fields(node):
        if name in ("annotation", "returns", "type_params", "format_spec"):
            continue
        for child in value if isinstance(value, list) else [value]:
            if isinstance(child, ast.AST):
                yield name, child


def _not(node: ast.AST) -> ast.UnaryOp:
    assert isinstance(node, ast.expr)
    return ast.UnaryOp(ast.Not(), node)


def _is_left_out(node: ast.stmt) -> bool:
    if isinstance(node, ast.Import | ast.ImportFrom | ast.TypeAlias):
        return True
    if isinstance(node, ast.If) and isinstance(node.test, ast.Name) and node.test.id == "TYPE_CHECKING":
        return True
    if not isinstance(node, ast.Expr):
        return False
    value = node.value
    if isinstance(value, ast.Constant):
        return True  # a docstring, or ...
    called = ast.unparse(value.func) if isinstance(value, ast.Call) else ""
    return called.startswith(("logger.", "_log."))


def _of_statement(node: ast.stmt) -> Iterator[str]:
    match node:
        case ast.Expr() | ast.Raise() | ast.AugAssign() | ast.Delete() | ast.Assert():
            yield "pass"
        case ast.Assign(targets=[ast.Attribute() | ast.Subscript()]):
            yield "pass"
        case ast.Return(value=ast.expr() as value) if not (isinstance(value, ast.Constant) and value.value is None):
            yield "return None"
        case ast.Continue():
            yield "break"
        case ast.Break():
            yield "continue"


def _of_expression(node: ast.expr, source: str) -> Iterator[str]:
    match node:
        case ast.Compare(ops=operators):
            operands = [ast.unparse(part) for part in (node.left, *node.comparators)]
            texts = [COMPARISONS_TEXT[type(operator)] for operator in operators]
            for at, operator in enumerate(operators):
                for other in COMPARISONS[type(operator)]:
                    changed = [*texts[:at], other, *texts[at + 1 :]]
                    pairs = zip(changed, operands[1:], strict=True)
                    yield "(" + operands[0] + "".join(f" {operator_} {operand}" for operator_, operand in pairs) + ")"
        case ast.BoolOp(op=operator_, values=values):
            word = " or " if isinstance(operator_, ast.And) else " and "
            yield "(" + word.join(f"({ast.unparse(value)})" for value in values) + ")"
        case ast.UnaryOp(op=ast.Not() | ast.USub() | ast.Invert(), operand=operand):
            yield f"({ast.unparse(operand)})"
        case ast.BinOp(op=operator, left=left, right=right) if type(operator) in OPERATORS:
            other_operator = OPERATORS[type(operator)]
            yield f"({ast.unparse(ast.BinOp(left, other_operator, right))})"
        case ast.IfExp(body=body, orelse=orelse):
            del body, orelse  # its test is negated where the fields are visited
        case ast.Constant(value=bool() as value):
            yield str(not value)
        case ast.Constant(value=int() | float() as number):
            yield f"({number + 1!r})"
            yield f"({number - 1!r})"
        case ast.Constant(value=None):
            return
        case ast.Constant(value=str() | bytes()) | ast.JoinedStr():
            yield from _of_text(node, source)


def _of_text(node: ast.Constant | ast.JoinedStr, source: str) -> Iterator[str]:
    text = ast.get_source_segment(source, node) or ""
    if SQL.search(text):
        for pattern, replacement in SQL_CHANGES:
            for match in pattern.finditer(text):
                yield text[: match.start()] + replacement + text[match.end() :]
    elif isinstance(node, ast.Constant) and isinstance(node.value, bytes):
        yield 'b"mutated"'
    elif isinstance(node, ast.Constant) and not node.value:
        yield '"mutated"'
    else:
        yield '"mutated"' if not isinstance(node, ast.Constant) or node.value != "mutated" else '""'


COMPARISONS_TEXT: Final[dict[type[ast.cmpop], str]] = {
    ast.Lt: "<",
    ast.LtE: "<=",
    ast.Gt: ">",
    ast.GtE: ">=",
    ast.Eq: "==",
    ast.NotEq: "!=",
    ast.Is: "is",
    ast.IsNot: "is not",
    ast.In: "in",
    ast.NotIn: "not in",
}
