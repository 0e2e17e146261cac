"""What the documents say: links lead somewhere, sums are right, every alarm and error has its place in the runbook."""

import ast
import inspect
import math
import re
from pathlib import Path

import pytest
import yaml

from components import settings, workflow
from docs.generate import PIECES, Piece
from evdata import errors
from tests.pulumi_mocks import PROJECT, STACK_VARIANTS, record_stack

DOCUMENTS = sorted(
    path
    for path in (*PROJECT.glob("*.md"), *(PROJECT / "docs").glob("**/*.md"), *(PROJECT / ".github").glob("**/*.md"))
)
COST = PROJECT / "docs" / "cost.md"
RUNBOOK = PROJECT / settings.RUNBOOK

type Row = tuple[str, ...]


def without_code(text: str) -> str:
    """Return Markdown without its code, in which neither links nor headings are what they look like."""
    return re.sub(r"`[^`\n]*`", "", re.sub(r"^```.*?^```", "", text, flags=re.DOTALL | re.MULTILINE))


def anchors(path: Path) -> set[str]:
    """Return the anchors of a document's headings, as GitHub makes them."""
    text = re.sub(r"^```.*?^```", "", path.read_text(), flags=re.DOTALL | re.MULTILINE)
    headings = re.findall(r"^#+ (.+)$", text, re.MULTILINE)
    return {re.sub(r"[^\w -]", "", heading.lower()).replace(" ", "-") for heading in headings}


def tables(path: Path) -> list[list[Row]]:
    """Return a document's tables as rows of cells, without the line below the header."""
    found = re.findall(r"(?:^\|.*\|\n)+", path.read_text(), re.MULTILINE)
    return [
        [tuple(cell.strip() for cell in line.strip("|").split("|")) for line in table.splitlines() if "---" not in line]
        for table in found
    ]


def first_number(text: str) -> float:
    """Return the first number in a cell."""
    found = re.search(r"\d[\d.]*", text)
    assert found, f"no number in {text!r}"
    return float(found[0])


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: str(path.relative_to(PROJECT)))
def test_every_relative_link_leads_somewhere(document: Path) -> None:
    for target in re.findall(r"\]\(([^)\s]+)\)", without_code(document.read_text())):
        if re.match(r"[a-z]+:", target):
            continue
        name, _, anchor = target.partition("#")
        path = (document.parent / name).resolve() if name else document
        assert path.exists(), f"{document.name} links to {target}, which is not there"
        if anchor and path.suffix == ".md":
            assert anchor in anchors(path), f"{document.name} links to {target}: {path.name} has no such heading"


MAY_IMPORT = {
    "handlers": {"evdata", "extract", "load"},
    "components": {"components", "pulumi", "pulumi_aws"},
    "policy": {"policy", "pulumi", "pulumi_policy"},
    "local": {"local", "components", "evdata", "pulumi"},
    "docs": {"docs", "components", "evdata"},
}


@pytest.mark.parametrize("folder", MAY_IMPORT)
def test_imports_go_the_way_that_the_drawing_shows(folder: str) -> None:
    ours = {"benchmarks", "tests", "__main__"}.union(*MAY_IMPORT.values(), MAY_IMPORT)
    for path in (PROJECT / folder).rglob("*.py"):
        if ".venv" in path.parts:
            continue
        for node in ast.walk(ast.parse(path.read_text())):
            names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
            names += [node.module or ""] if isinstance(node, ast.ImportFrom) else []
            for name in names:
                top = name.partition(".")[0]
                assert top not in ours or top in MAY_IMPORT[folder], f"{path.relative_to(PROJECT)} imports {name}"


@pytest.mark.parametrize("piece", PIECES, ids=lambda piece: piece.name)
def test_what_is_made_from_the_program_is_as_the_program_says(piece: Piece) -> None:
    text = (PROJECT / piece.document).read_text()
    assert piece.put_into(text) == text, f"{piece.document} is out of date: make docs"


def test_a_piece_without_its_marks_is_refused_by_name() -> None:
    with pytest.raises(ValueError, match=r"README\.md must have the lines <!-- config"):
        PIECES[0].put_into("no marks here")


class TestRunbook:
    @pytest.mark.parametrize(("stack", "egress"), STACK_VARIANTS)
    def test_every_alarm_leads_to_a_place_in_it(self, stack: str, egress: str) -> None:
        there = anchors(RUNBOOK)
        for item in record_stack(stack, egress=egress).of("aws:cloudwatch/metricAlarm:MetricAlarm"):
            anchor = item.inputs["alarmDescription"].rsplit(f"{settings.RUNBOOK}#", 1)[1]
            assert anchor in there, f"{item.name} leads to #{anchor}"

    def test_so_does_every_other_mention_of_it_in_the_program(self) -> None:
        there = anchors(RUNBOOK)
        for path in (PROJECT / "components").glob("*.py"):
            for anchor in re.findall(r"(?:docs/operate\.md|runbook}|runbook_url})#([a-z-]+)", path.read_text()):
                assert anchor in there, f"{path.name} leads to #{anchor}"

    def test_every_error_of_the_handlers_has_a_place_in_it(self) -> None:
        kinds = {
            name
            for name, kind in inspect.getmembers(errors, inspect.isclass)
            if issubclass(kind, errors.PipelineError) and kind is not errors.PipelineError
        }
        assert kinds, "the errors have moved"
        assert {kind.lower() for kind in kinds} <= anchors(RUNBOOK)

    def test_every_alarm_is_a_heading_or_named_under_one(self) -> None:
        there = anchors(RUNBOOK)
        for stack, egress in STACK_VARIANTS:
            for item in record_stack(stack, egress=egress).of("aws:cloudwatch/metricAlarm:MetricAlarm"):
                role = item.name.removeprefix(f"ev-population-{stack}-")
                function = re.sub(r"^(extract|stage|publish)-", "function-", role)
                assert function in there or (role.startswith("nat-") and "nat-instance" in there), role

    @pytest.mark.parametrize("kind", workflow.HANDLER_ERRORS)
    def test_every_message_of_an_error_stands_there_with_what_to_do_and_no_other_does(self, kind: str) -> None:
        section = RUNBOOK.read_text().split(f"## {kind}\n", 1)[1].split("\n## ", 1)[0]
        entries = [
            message
            for line in section.splitlines()
            if line.startswith("| `")
            for message in re.findall(r"`([^`]+)`", line.split("|")[1])
        ]
        raised = raised_by_handlers(kind)
        assert raised, f"{kind} is never raised"
        for text in raised:
            assert any(matches(entry, text) for entry in entries), f"nothing in the runbook on: {text}"
        for entry in entries:
            assert any(matches(entry, text) for text in raised), f"nothing raises: {entry}"


def raised_by_handlers(kind: str) -> list[str]:
    """Return the messages with which the handlers make errors of a kind, `…` where a value stands."""
    found = []
    for path in (PROJECT / "handlers").rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == kind:
                text = node.args[0]
                if isinstance(text, ast.Constant):
                    found.append(str(text.value))
                elif isinstance(text, ast.JoinedStr):
                    found.append(
                        "".join(str(piece.value) if isinstance(piece, ast.Constant) else "…" for piece in text.values)
                    )
    return found


def matches(entry: str, message: str) -> bool:
    """Return whether a message reads as an entry does, whatever stands for its `…`."""
    return re.search(".*".join(re.escape(piece) for piece in entry.split("…")), message) is not None


class TestCost:
    def test_every_line_is_its_quantity_times_its_price_and_every_sum_is_right(self) -> None:
        summed = [table for table in tables(COST) if table[-1][0] == "**together**"]
        assert len(summed) == 9
        for header, *lines, total in summed:
            for what, quantity, price, amount in lines:
                digits = len(amount.partition(".")[2])
                expected = math.prod(float(number) for number in re.findall(r"\d[\d.]*", quantity)) * first_number(
                    price
                )
                assert abs(float(amount) - expected) <= 0.51 * 10**-digits, f"{header[0]}: {what} is {expected}"
            together = sum(float(line[3]) for line in lines)
            assert together == pytest.approx(first_number(total[3]), abs=1e-9), header[0]

    def test_the_overview_adds_each_way_out_to_its_stack(self) -> None:
        overview, *rest = tables(COST)
        sums = {table[0][0]: first_number(table[-1][3]) for table in rest if table[-1][0] == "**together**"}
        for egress, dev, prod in overview[1:]:
            for stack, shown in (("dev", dev), ("prod", prod)):
                way_out = sums.get(f"{stack}: {egress.strip('`')}", 0.0)
                assert float(shown) == pytest.approx(sums[f"{stack}, without its way out"] + way_out), (stack, egress)

    @pytest.mark.parametrize(("stack", "egress"), STACK_VARIANTS)
    def test_what_is_counted_is_what_the_program_makes(self, stack: str, egress: str) -> None:
        recording = record_stack(stack, egress=egress)
        lines = {
            line[0]: line
            for table in tables(COST)
            if table[0][0] in (f"{stack}, without its way out", f"{stack}: {egress}")
            for line in table[1:]
        }

        def counted(start: str) -> float:
            return sum(first_number(line[1]) for what, line in lines.items() if what.startswith(start))

        database = recording.one("aws:rds/instance:Instance").inputs
        endpoints = recording.of("aws:ec2/vpcEndpoint:VpcEndpoint")
        watched = [
            max(1, sum("metric" in query for query in alarm.inputs.get("metricQueries", [])))
            for alarm in recording.of("aws:cloudwatch/metricAlarm:MetricAlarm")
        ]
        instances = recording.of("aws:ec2/instance:Instance")
        assert any(what.startswith(f"RDS {database['instanceClass']}") for what in lines)
        assert ("with a standby" in " ".join(lines)) == database["multiAz"]
        assert counted("RDS storage") == database["allocatedStorage"]
        assert counted("Secrets Manager endpoint") == sum(len(item.inputs.get("subnetIds", [])) for item in endpoints)
        assert counted("secrets") == len(recording.of("aws:secretsmanager/secret:Secret")) + 1, "and RDS' own"
        assert counted("alarms") + counted("its alarms") == sum(watched)
        assert counted("dashboard") == len(recording.of("aws:cloudwatch/dashboard:Dashboard"))
        assert counted("KMS key") == len(recording.of("aws:kms/key:Key"))
        assert counted("NAT gateway") == len(recording.of("aws:ec2/natGateway:NatGateway"))
        assert counted("t4g.nano") == len(instances)
        assert {item.inputs["instanceType"] for item in instances} <= {"t4g.nano"}
        assert counted("its public address") == len(instances) + len(recording.of("aws:ec2/eip:Eip"))


@pytest.mark.parametrize(("stack", "egress"), STACK_VARIANTS)
def test_a_way_in_for_people_costs_what_the_program_adds_for_it(stack: str, egress: str) -> None:
    where = "with lambda-managed" if egress == "lambda-managed" else "behind a NAT"
    (table,) = (table for table in tables(COST) if table[0][0] == f"analystAccess ssm, {where}")
    without, with_it = (record_stack(stack, egress=egress, analystAccess=access) for access in ("none", "ssm"))

    def added(typ: str) -> int:
        return len(with_it.of(typ)) - len(without.of(typ))

    quantities = {line[0].partition(",")[0]: first_number(line[1]) for line in table[1:-1]}
    assert quantities.pop("t4g.nano") == added("aws:ec2/instance:Instance") == 1
    assert quantities.pop("its volume") == 1
    assert quantities.pop("its alarm") == added("aws:cloudwatch/metricAlarm:MetricAlarm") == 1
    endpoints = added("aws:ec2/vpcEndpoint:VpcEndpoint")
    assert quantities == ({"Systems Manager endpoints": endpoints} if endpoints else {})
    for typ in ("ec2/eip:Eip", "secretsmanager/secret:Secret"):
        assert added(f"aws:{typ}") == 0


def test_people_pay_less_behind_a_nat_instance_than_behind_endpoints() -> None:
    overview, *rest = tables(COST)
    dev = {row[0].strip("`"): float(row[1]) for row in overview[1:]}
    nat, endpoints = (first_number(table[-1][3]) for table in rest if table[0][0].startswith("analystAccess ssm, "))
    told = f"(dev: {dev['nat-instance'] + nat:.2f} against {dev['lambda-managed'] + endpoints:.2f})"
    assert told in COST.read_text()
    assert dev["nat-instance"] + nat < dev["lambda-managed"] + endpoints


def test_every_guarantee_names_tests_that_exist_and_no_promise_is_without_one() -> None:
    tests = "\n".join(path.read_text() for path in (PROJECT / "tests").glob("test_*.py"))
    promises = [line for line in (PROJECT / "docs" / "guarantees.md").read_text().splitlines() if line.startswith("| ")]
    for promise in promises:
        if promise == "| promise | proven by |":
            continue
        named = re.findall(r"`(test_\w+)`", promise)
        assert named, f"nothing proves: {promise}"
        for name in named:
            assert f"def {name}(" in tests, f"{name} does not exist"


def test_every_key_says_what_a_change_does_to_a_live_stack() -> None:
    page = (PROJECT / "docs" / "deploy.md").read_text()
    section = page.split("## What can change on a live stack\n", 1)[1].split("\n## ", 1)[0]
    rows = [line.split("|")[1] for line in section.splitlines() if line.startswith("| `")]
    named = [key for row in rows for key in re.findall(r"`([\w:]+)`", row)]
    assert len(named) == len(set(named)), "a key has one row"
    declared = set(yaml.safe_load((PROJECT / "Pulumi.yaml").read_text())["config"])
    assert declared | {"aws:region"} == set(named)


@pytest.mark.parametrize(
    ("key", "says"),
    [
        ("vpcCidr", "cannot change"),
        ("availabilityZones", "refuses to remove"),
        ("postgresVersion", "cannot go down"),
        ("databaseStorageGb", "never shrinks"),
    ],
)
def test_a_key_says_itself_which_change_aws_refuses_halfway(key: str, says: str) -> None:
    assert says in yaml.safe_load((PROJECT / "Pulumi.yaml").read_text())["config"][key]["description"]


def test_every_file_that_pins_the_region_is_named_where_another_is_described() -> None:
    page = (PROJECT / "docs" / "deploy.md").read_text()
    section = page.split("## Another region\n", 1)[1].split("\n## ", 1)[0]
    files = [*PROJECT.glob("Pulumi.*.yaml"), *(PROJECT / ".github").rglob("*.yml"), *(PROJECT / "policy").glob("*.py")]
    pinned = {str(path.relative_to(PROJECT)) for path in files if "ap-northeast-1" in path.read_text()}
    assert pinned
    assert {path for path in pinned if f"`{path}`" not in section} == set()
    assert "`docs/policies`" in section
